"""``python -m avvp_pl.score``: score the predictions of any system: tables in LLP format, or detections as JSON."""

from __future__ import annotations

import logging
import sys

from omegaconf import DictConfig

from avvp_pl.commands.command import command
from avvp_pl.errors import InputError
from avvp_pl.processes.surroundings import is_output_lost

log = logging.getLogger(__name__)


def score(cfg: DictConfig) -> None:
    """Score predictions for the task ``cfg.task``. Raises :class:`InputError` for a setting of another task."""
    from hydra.core.hydra_config import HydraConfig

    from avvp_pl.commands.scored import check_task

    check_task(cfg.task, [line.partition("=")[0] for line in HydraConfig.get().overrides.task])
    if cfg.task == "localization":
        from avvp_pl.commands.localization import score_localization

        score_localization(cfg)
    else:
        _score_parsing(cfg)
    if cfg.output is None and is_output_lost():  # what was printed is all that there is
        sys.exit(1)


def _score_parsing(cfg: DictConfig) -> None:
    """Score every listed video, print the scores, and write them to ``cfg.output`` if it is given.

    A video without predictions counts as empty. Videos may have different lengths: ``cfg.segments`` is that of the
    longest one, and segments without truth and prediction change no score. Raises :class:`InputError` where a table
    names none of the videos, or has events that do not fit the segments.
    """
    from pathlib import Path

    from avvp_pl.commands.tables import given_tables, read_compared
    from avvp_pl.data.annotations import Oddities, found_at
    from avvp_pl.metrics import score_timelines
    from avvp_pl.tasks.parsing import print_scores, write_scores

    if cfg.videos is None:
        raise InputError("videos must be given: videos=...")
    videos, tables, oddities = Path(cfg.videos), given_tables(cfg), Oddities()
    compared = read_compared(videos, tables, cfg.classes, cfg.segments, cfg.segment_seconds, oddities)
    oddities.report(log)
    scores = score_timelines(compared.predicted, compared.truth, modalities=list(tables.truth))
    if cfg.output is not None:
        write_scores(Path(cfg.output), scores, compared.events, "common")
    print_scores(scores, ", ".join(map(str, tables.predicted.values())))
    counts = dict(zip(tables.predicted, compared.predicted.any((1, 3)).sum(0).tolist(), strict=True))
    if len(set(counts.values())) > 1:
        print(", ".join(f"{modality}: {count} of {scores.listed}" for modality, count in counts.items()))
    if scores.with_predictions < scores.listed:
        first = next(name for name, found in zip(compared.names, compared.predicted, strict=True) if not found.any())
        place, count = found_at(videos, first), scores.listed - scores.with_predictions
        print(f"{count} listed videos have no predictions; they count as empty, such as {place}")


main = command("score", score)

if __name__ == "__main__":
    main()
