"""``python -m avvp_pl.evaluate``: test a checkpoint, by one inference or by several."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def evaluate(cfg: DictConfig) -> None:
    """Write the scores and predictions of the test videos into the run folder, and print the scores.

    Each of several inferences has a folder of its own in it. With ``labeling=prototype``, the network is tested by
    prototypes that are first built from the training videos (PPL_Test).
    """
    from avvp_pl.commands.build import build_data, build_trainer, prepare_process
    from avvp_pl.commands.launching import as_one_process
    from avvp_pl.commands.restore import restore
    from avvp_pl.runs.folder import EvaluationFolder
    from avvp_pl.training.callbacks.needed import check_test
    from avvp_pl.training.callbacks.run_files import RunFiles

    prepare_process(cfg)
    config, videos, model, _ = restore(cfg, splits=("test",), truth_required=True)
    with EvaluationFolder(cfg, list(model.inferences)) as folder:
        files = RunFiles(cfg.paths.run_dir, f"{cfg.checkpoint}, test split", lambda: folder.replace(config))
        trainer, data = build_trainer(cfg, files), build_data(config, videos)
        check_test(trainer, model)
        with as_one_process(trainer):
            trainer.test(model, data, verbose=False)
    if trainer.is_global_zero:
        print(f"run folder: {cfg.paths.run_dir}")


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
