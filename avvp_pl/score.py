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

    from avvp_pl.commands.tables import given_tables, read_compared
    from avvp_pl.data.annotations import Oddities
    from avvp_pl.metrics import score_timelines
    from avvp_pl.tasks.parsing import print_scores, write_scores

    tables, oddities = given_tables(cfg), Oddities()
    compared = read_compared(Path(cfg.videos), tables, cfg.classes, cfg.segments, cfg.segment_seconds, oddities)
    oddities.report(log)
    scores = score_timelines(compared.predicted, compared.truth, modalities=list(tables.truth))
    if cfg.output is not None:
        write_scores(Path(cfg.output), scores, compared.events, "common")
    print_scores(scores, ", ".join(map(str, tables.predicted.values())))
    if scores.with_predictions < scores.listed:
        print(f"{scores.listed - scores.with_predictions} listed videos have no predictions; they count as empty")


main = command("score", score)

if __name__ == "__main__":
    main()
