"""``python -m avvp_pl.train``: train a method, then test its best epoch."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.cli import command


def train(cfg: DictConfig) -> float | None:
    """Train, test, and return the selected validation score, so that a sweeper can maximize it."""
    from pathlib import Path

    from lightning.pytorch.callbacks import ModelCheckpoint
    from omegaconf import OmegaConf

    from avvp_pl.assemble import (
        build_data,
        build_method,
        build_trainer,
        build_videos,
        describe_streams,
        prepare_process,
        resume_from,
        speed_up,
    )
    from avvp_pl.callbacks.checkpoint_contents import CheckpointContents
    from avvp_pl.callbacks.interruption import resumable
    from avvp_pl.files import atomic_write
    from avvp_pl.loggers import logging_to

    prepare_process(cfg)
    resume = resume_from(cfg)
    run_dir = Path(cfg.paths.run_dir)
    with atomic_write(run_dir / "config.yaml") as file:
        file.write(OmegaConf.to_yaml(cfg, resolve=True))
    videos = build_videos(cfg)
    data = build_data(cfg, videos)
    method = build_method(cfg, videos)
    speed_up(cfg, method)
    trainer = build_trainer(cfg, CheckpointContents(cfg, videos.events, describe_streams(videos)))
    with logging_to(trainer.loggers, cfg), resumable(trainer):
        trainer.fit(method, data, ckpt_path=resume)
        best = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
        trainer.test(method, data, ckpt_path=best.best_model_path, verbose=False)
    if trainer.is_global_zero:
        print(f"run folder: {run_dir}")
    return None if best.best_model_score is None else float(best.best_model_score)


main = command("train", train)

if __name__ == "__main__":
    main()
