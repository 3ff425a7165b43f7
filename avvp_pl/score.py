"""``python -m avvp_pl.score``: score the predictions of any system, given as tables in LLP format."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from avvp_pl.commands.command import command

log = logging.getLogger(__name__)


def score(cfg: DictConfig) -> None:
    """Score every listed video, print the scores, and write them to ``cfg.output`` if it is given.

    A video without predictions counts as empty. Videos may have different lengths: ``cfg.segments`` is that of the
    longest one, and segments without truth and prediction change no score.
    """
    from pathlib import Path

    import torch

    from avvp_pl.commands.tables import given_tables
    from avvp_pl.data.annotations import Oddities, Timelines, read_names, read_timelines, stack_timelines
    from avvp_pl.data.llp import vocabulary
    from avvp_pl.metrics import score_timelines
    from avvp_pl.tasks.parsing import print_scores, write_scores

    names, tables = read_names(Path(cfg.videos)), given_tables(cfg)
    events = vocabulary(cfg.classes, Path(cfg.videos), list(tables.truth.values()), list(tables.predicted.values()))
    oddities = Oddities()

    def timelines(path: Path) -> Timelines:
        table = read_timelines(path, events, cfg.segments, oddities, cfg.segment_seconds)
        oddities[f"{path.name}: videos that are not listed (ignored)"] += len(set(table) - set(names))
        return table

    truth, prediction = (
        torch.from_numpy(
            stack_timelines(names, {m: timelines(path) for m, path in paths.items()}, cfg.segments, len(events))
        )
        for paths in tables
    )
    oddities.report(log)
    scores = score_timelines(prediction, truth, modalities=list(tables.truth))
    if cfg.output is not None:
        write_scores(Path(cfg.output), scores, events, "common")
    print_scores(scores, ", ".join(map(str, tables.predicted.values())))
    if scores.with_predictions < scores.listed:
        print(f"{scores.listed - scores.with_predictions} listed videos have no predictions; they count as empty")


main = command("score", score)

if __name__ == "__main__":
    main()
