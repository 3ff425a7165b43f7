"""``python -m avvp_pl.train``: train a model and test its best epoch."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def train(cfg: DictConfig) -> float | None:
    """Train, test, and return the best validation score, which a sweeper can maximize."""
    from avvp_pl.commands.build import (
        build_data,
        build_model,
        build_trainer,
        build_videos,
        prepare_process,
        refuse_search_without_score,
        selected_epoch,
        speed_up,
    )
    from avvp_pl.commands.launching import as_one_process
    from avvp_pl.runs.folder import RunFolder, log_packages
    from avvp_pl.runs.loggers import logging_to
    from avvp_pl.runs.wandb_run import name_run
    from avvp_pl.runs.wandb_server import check_online
    from avvp_pl.training.callbacks.checkpoint_contents import CheckpointContents
    from avvp_pl.training.callbacks.needed import check_training

    refuse_search_without_score(cfg)
    prepare_process(cfg)
    check_online(cfg)
    name_run(cfg)
    with RunFolder(cfg) as folder:
        folder.begin(cfg)
        videos = build_videos(cfg)
        data = build_data(cfg, videos)
        model = build_model(cfg, videos)
        trainer = build_trainer(cfg, CheckpointContents(cfg, videos))
        check_training(trainer, model, cfg.protocol.selection.monitor)
        log_packages(cfg)
        folder.check(model, videos)
        speed_up(cfg, model)
        with logging_to(trainer.loggers, cfg, model.num_trained), as_one_process(trainer):
            trainer.fit(model, data, ckpt_path=folder.checkpoint)
            selected = selected_epoch(trainer)
            trainer.test(model, data, ckpt_path=selected.path, verbose=False)
    if trainer.is_global_zero:
        print(f"run folder: {folder.path}")
    return selected.score


main = command("train", train)

if __name__ == "__main__":
    main()
