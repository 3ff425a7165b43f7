"""``python -m avvp_pl.recipe``: run all stages of a method."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def recipe(cfg: DictConfig) -> float | None:
    """Run the stages that have not ended yet; return the validation score of the last one, as ``train`` does."""
    from pathlib import Path

    from avvp_pl.commands.stages import Stages
    from avvp_pl.runs.reading import read_run

    folder = Path(cfg.paths.run_dir)
    stages = Stages.of_job(cfg, folder)
    stages.check()
    stages.run()
    for page in stages.pages():
        print(f"page of the parsed videos: {page}")
    tested = read_run(folder).tested
    return None if tested is None else tested.score


main = command("recipe", recipe)

if __name__ == "__main__":
    main()
