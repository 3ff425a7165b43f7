"""The tables that ``score`` compares, from its two ways to name them, and their timelines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from avvp_pl.data.annotations import Oddities, Timelines, read_names, read_timelines, stack_timelines
from avvp_pl.data.joins import check_annotated, check_grid, check_list, check_names
from avvp_pl.data.llp import vocabulary
from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.limits import TABLES

# for the two modalities of LLP there is a setting for each table
OF_TWO = {"audio": "audio", "visual": "visual"}, {"audio": "predicted_audio", "visual": "predicted_visual"}
SHORT = "audio=, visual=, predicted_audio= and predicted_visual="


class Tables(NamedTuple):
    """Tables of annotation and of predictions, by modality and in the order of the annotation."""

    truth: dict[str, Path]
    predicted: dict[str, Path]


def given_tables(cfg: DictConfig) -> Tables:
    """Return the tables of ``truth`` and ``predicted``, or those of the settings for audio and visual tables.

    Raises :class:`InputError` unless exactly one of the two ways is used, and completely.
    """
    long = [name for name in ("truth", "predicted") if cfg[name] is not None]
    short = [name for names in OF_TWO for name in names.values() if cfg[name] is not None]
    if cfg["truth"] is not None and not isinstance(cfg["truth"], Mapping):
        given = list(cfg["truth"]) if isinstance(cfg["truth"], ListConfig) else cfg["truth"]
        raise InputError(f"truth={given}: it must be {TABLES}; a JSON file is for task=localization")
    if long and short:
        raise InputError(f"{short[0]} and {long[0]}: give either truth= and predicted=, or {SHORT}")
    if not long and not short:
        raise InputError(
            "there is nothing to compare: give truth={audio: CSV, visual: CSV} and predicted={audio: CSV, visual: CSV} "
            f"with a table for each modality, or {SHORT}"
        )
    if short:
        needed = [name for names in OF_TWO for name in names.values()]
        truth, predicted = ({modality: cfg[name] for modality, name in names.items()} for names in OF_TWO)
    else:
        needed = ["truth", "predicted"]
        truth, predicted = (dict(cfg[name] or {}) for name in needed)
    for name in needed:
        if cfg[name] is None:
            raise InputError(f"{name} must be given: {name}=...")
    for modality in {**truth, **predicted}:
        for name, tables, others in (("predicted", predicted, truth), ("truth", truth, predicted)):
            if modality not in tables:
                raise InputError(f"{name} has no table for {modality!r}.{nearest(modality, set(tables) - set(others))}")
    return Tables(
        {str(modality): Path(path) for modality, path in truth.items()},
        {str(modality): Path(predicted[modality]) for modality in truth},
    )


class Compared(NamedTuple):
    """The listed videos, the events, and both timelines of each video."""

    names: list[str]
    events: tuple[str, ...]
    truth: Bool[Tensor, "N T M C"]
    predicted: Bool[Tensor, "N T M C"]


def read_compared(
    videos: Path, tables: Tables, classes: str | None, segments: int, segment_seconds: float, oddities: Oddities
) -> Compared:
    """Read the timelines of the videos that the table ``videos`` lists, of ``segments`` segments each.

    Raises :class:`InputError` where a table and the list have no video in common, no listed video is annotated, or an
    event of a listed video does not fit the segments.
    """
    names = read_names(videos)
    events = vocabulary(classes, videos, list(tables.truth.values()), list(tables.predicted.values()))
    check_grid([*tables.truth.values(), *tables.predicted.values()], names, segments, segment_seconds)

    @cache  # one table may be given for several modalities
    def timelines(path: Path) -> Timelines:
        table = read_timelines(path, events, segments, oddities, segment_seconds)
        check_names(path, table, dict.fromkeys(names, videos), oddities)
        return table

    truth, predicted = ({modality: timelines(path) for modality, path in paths.items()} for paths in tables)
    check_annotated(videos, names, {path: timelines(path) for path in tables.truth.values()}, oddities)
    check_list(videos, names, [timelines(path) for paths in tables for path in paths.values()], events)
    stacked = (torch.from_numpy(stack_timelines(names, of, segments, len(events))) for of in (truth, predicted))
    return Compared(names, events, *stacked)
