"""``python -m avvp_pl.evaluate``: test a checkpoint, by the classifier or by its prototypes."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.cli import command


def evaluate(cfg: DictConfig) -> None:
    """Write scores and predictions of the test videos into the run folder, and print the scores."""
    from avvp_pl.assemble import build_data, build_trainer, prepare_process, restore
    from avvp_pl.launching import as_one_process

    prepare_process(cfg)
    trained, videos, method = restore(cfg, splits=("test",), truth_required=True)
    trainer = build_trainer(trained)
    with as_one_process(trainer):
        trainer.test(method, build_data(trained, videos), verbose=False)
    if trainer.is_global_zero:
        print(f"run folder: {cfg.paths.run_dir}")


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
