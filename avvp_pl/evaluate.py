"""``python -m avvp_pl.evaluate``: test a checkpoint, by the classifier or by prototypes."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def evaluate(cfg: DictConfig) -> None:
    """Write scores and predictions of the test videos into the run folder, and print the scores.

    Several inferences have each a folder in it. With ``method=ppl``, the checkpoint's network is tested by prototypes
    that are built from the training videos first (PPL_Test).
    """
    from avvp_pl.commands.build import build_data, build_trainer, prepare_process, restore
    from avvp_pl.commands.launching import as_one_process
    from avvp_pl.runs.folder import begin_evaluations
    from avvp_pl.training.callbacks.run_files import RunFiles

    prepare_process(cfg)
    config, videos, method, inferences = restore(cfg, splits=("test",), truth_required=True, several=True)
    folders = begin_evaluations(cfg, config, inferences)
    files = RunFiles(cfg.paths.run_dir, cfg.checkpoint)
    trainer, data = build_trainer(cfg, files), build_data(config, videos)
    with as_one_process(trainer):
        for inference, folder in folders.items():
            method.inference = inference
            files.directory, files.title = folder, f"{cfg.checkpoint} by {inference}, test split"
            trainer.test(method, data, verbose=False)
    if trainer.is_global_zero:
        print(f"run folder: {cfg.paths.run_dir}")


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
