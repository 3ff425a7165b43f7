"""The scores of any system's predictions, from tables of timelines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from avvp_pl.commands.tables import OF_TWO, given_tables, read_compared
from avvp_pl.data.annotations import Oddities
from avvp_pl.errors import InputError
from avvp_pl.library.results import Scores
from avvp_pl.metrics import score_timelines
from avvp_pl.settings.check import check_value
from avvp_pl.settings.limits import PATH, TOP_LEVEL

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
    given = {"videos": _plain(videos), "truth": _plain(truth), "predicted": _plain(predicted)}
    given |= {"classes": _plain(classes), "segments": _plain(segments), "segment_seconds": _plain(segment_seconds)}
    if given["truth"] == given["predicted"] == {}:
        raise InputError("truth and predicted are empty; give a table for each modality")
    for name, value in given.items():
        if value != {}:  # the other of the two says what is missing
            check_value(name, value, PATH if name == "videos" else TOP_LEVEL[name])
    unused = {name: None for names in OF_TWO for name in names.values()}
    tables = given_tables(OmegaConf.create({**unused, "truth": given["truth"], "predicted": given["predicted"]}))
    oddities = Oddities()
    of_events = None if classes is None else str(classes)
    compared = read_compared(Path(videos), tables, of_events, segments, segment_seconds, oddities)
    oddities.report(log)
    return Scores(score_timelines(compared.predicted, compared.truth, modalities=list(tables.truth)), compared.events)


def _plain(given: object) -> object:
    """Return paths, also those in a mapping, as strings, and numbers of NumPy as Python's: as settings are."""
    if isinstance(given, Mapping):
        return {name: _plain(path) for name, path in given.items()}
    if isinstance(given, np.generic):
        return given.item()
    return str(given) if isinstance(given, Path) else given
