"""``python -m avvp_pl.evaluate``: test a checkpoint, by the classifier or by its prototypes."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.cli import command


def evaluate(cfg: DictConfig) -> None:
    """Write scores and predictions of the test videos into the run folder, and print the scores."""
    from avvp_pl.assemble import build_data, build_trainer, prepare_process, restore
    from avvp_pl.scores import print_scores

    prepare_process(cfg)
    trained, videos, method = restore(cfg, splits=("test",), truth_required=True)
    build_trainer(trained).test(method, build_data(trained, videos), verbose=False)
    assert method.test_scores is not None
    inference = trained.method.get("inference", "classifier")
    print_scores(method.test_scores, f"{trained.name} on {trained.data.name}, test split, by {inference}")
    print(f"run folder: {cfg.paths.run_dir}")


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
