"""``score task=localization``: the mAP of detections in ActivityNet's JSON layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from avvp_pl.commands.objects import build
from avvp_pl.data.activitynet import read_ambiguous, read_annotation, read_detections
from avvp_pl.errors import InputError
from avvp_pl.tasks.localization import print_scores, write_scores
from avvp_pl.tasks.scoring import Scored, Scoring

log = logging.getLogger(__name__)


def score_localization(cfg: DictConfig) -> None:
    """Score the file ``cfg.detections``, print the scores, and write them to ``cfg.output`` if it is given.

    A video without detections counts; detections in videos that are not scored are false positives.
    """
    for name in ("truth", "detections"):
        if cfg[name] is None:
            raise InputError(f"{name} must be given: {name}=FILE")
    if isinstance(cfg.truth, Mapping):
        raise InputError("truth: with task=localization it must be the path of a JSON file, or a list of several")
    truth = [Path(path) for path in (cfg.truth if isinstance(cfg.truth, ListConfig) else [cfg.truth])]
    detections = Path(cfg.detections)
    scoring = build("scoring", cfg.scoring, Scoring)
    if cfg.ambiguous is not None and not scoring.drop_ambiguous:
        raise InputError(f"ambiguous has no effect with scoring={scoring.name}, which ignores ambiguous time")
    ambiguous = None if cfg.ambiguous is None else read_ambiguous(Path(cfg.ambiguous))
    scored = scoring.score(read_annotation(truth, cfg.subset), read_detections(detections), detections, ambiguous)
    if warning := scoring.differs(scored):
        log.warning("%s", warning)
    _warn(scored, detections)
    if cfg.output is not None:
        write_scores(Path(cfg.output), scored)
    print_scores(scored, str(detections))
    reasons = {
        "excluded_videos": "in videos that do not count",
        "ambiguous": "over ambiguous time",
        "single_segment": "of one segment",
    }
    if said := ", ".join(f"{count} {reasons[name]}" for name, count in scored.dropped.items() if count):
        print(f"detections dropped by the protocol: {said}")


def _warn(scored: Scored, path: Path) -> None:
    if scored.unknown:
        video, count = next(iter(scored.unknown.items()))
        log.warning(
            "%s: %d detections are in %d videos that are not scored, so they are false positives, such as %d in %r",
            path, sum(scored.unknown.values()), len(scored.unknown), count, video,
        )  # fmt: skip
    if scored.silent:
        log.warning(
            "%s: %d scored videos have no detections, such as %r; their instances count as missed",
            path, len(scored.silent), scored.silent[0],
        )  # fmt: skip
