"""The scores of any system's predictions, from tables of timelines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from avvp_pl.commands.tables import OF_TWO, given_tables, read_compared
from avvp_pl.data.annotations import Oddities
from avvp_pl.errors import InputError
from avvp_pl.library.results import Scores
from avvp_pl.metrics import score_timelines

log = logging.getLogger(__name__)


def score(
    *,
    videos: str | Path,
    truth: Mapping[str, str | Path],
    predicted: Mapping[str, str | Path],
    classes: str | Path | None = None,
    segments: int = 10,
    segment_seconds: float = 1.0,
) -> Scores:
    """Score predictions of any system, as ``python -m avvp_pl.score`` does.

    ``truth`` and ``predicted`` map the modalities to tables in the format of LLP's annotation. ``videos`` is the table
    of the videos to score; each of them counts, and a video without predictions counts as empty. ``classes`` is a file
    with one event on each line; None: ``classes.txt`` beside ``videos``, else LLP's events or those of the tables.
    ``segments`` is the number of segments of the longest video. Raises :class:`InputError` where the tables cannot be
    read or do not fit together.
    """
    if segments < 1 or not segment_seconds > 0:
        raise InputError(f"segments={segments}, segment_seconds={segment_seconds}: both must be above 0")
    if not truth and not predicted:
        raise InputError("truth and predicted are empty; give a table for each modality")
    true, found = ({name: str(path) for name, path in given.items()} for given in (truth, predicted))
    unused = {name: None for names in OF_TWO for name in names.values()}
    tables = given_tables(OmegaConf.create({**unused, "truth": true, "predicted": found}))
    oddities = Oddities()
    of_events = None if classes is None else str(classes)
    compared = read_compared(Path(videos), tables, of_events, segments, segment_seconds, oddities)
    oddities.report(log)
    return Scores(score_timelines(compared.predicted, compared.truth, modalities=list(tables.truth)), compared.events)
