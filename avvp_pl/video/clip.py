"""A video file as features: one pass through the file for all extractors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from avvp_pl.errors import InputError
from avvp_pl.video.decode import CALLED, Damaged, Decoding
from avvp_pl.video.extractor import Extractor


class Clip(NamedTuple):
    """What was made of a video: the features of each stream, and what must be known about them.

    ``segments`` is T, the number of seconds as features have them, and ``seconds`` the duration. A modality in
    ``missing`` is not in the file: its features are 0, which does not mean that nothing was heard or seen.
    ``problems`` are sentences about what else is wrong with the file.
    """

    features: dict[str, Float32[np.ndarray, "R dim"]]
    seconds: float
    segments: int
    missing: tuple[str, ...]
    problems: tuple[str, ...]


def extract_clip(
    path: Path,
    extractors: Sequence[Extractor],
    missing_track: Literal["refuse", "mask"] = "refuse",
    damaged: Damaged = "refuse",
) -> Clip:
    """Decode a video once and return the features of all ``extractors`` for it.

    ``missing_track`` says what happens to a video without sound or without pictures, if an extractor needs them, and
    ``damaged`` what happens to one that is cut off or badly damaged (:class:`~avvp_pl.video.decode.Decoding`). Memory
    does not grow with the length of the video, apart from the features themselves.

    Raises :class:`InputError`, which begins with the path, for a video that cannot be used.
    """
    decoding = Decoding(path, [one.input for one in extractors], damaged)
    rows: dict[str, list[npt.NDArray[np.float32]]] = {one.name: [] for one in extractors}
    for wanted, block in decoding.blocks():
        for extractor in extractors:
            if extractor.input == wanted:
                rows[extractor.name].append(_checked(extractor, block))
    missing = decoding.missing
    if missing and (missing_track == "refuse" or len(missing) == len(decoding.wanted)):
        absent = " and no ".join(CALLED[modality] for modality in missing)
        mask = "" if len(missing) == len(decoding.wanted) else "; missing_track=mask uses the rest of such videos"
        raise InputError(f"{path}: it has no {absent}{mask}")
    features = {}
    for one in extractors:
        zeros = np.zeros((decoding.segments * one.rows_per_segment, one.dim), dtype=np.float32)
        features[one.name] = zeros if one.modality in missing else np.concatenate(rows[one.name])
    return Clip(features, decoding.seconds, decoding.segments, missing, tuple(decoding.problems))


def _checked(extractor: Extractor, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows of a block. Raises :class:`InputError` for an extractor that does not keep its contract."""
    rows = np.asarray(extractor.rows(block))
    needed = (len(block) * extractor.rows_per_segment, extractor.dim)
    if rows.shape != needed:
        raise InputError(f"the extractor {extractor.name} returned rows of shape {rows.shape}; it must be {needed}")
    if not np.isfinite(rows).all():
        raise InputError(f"the extractor {extractor.name} returned values that are not finite numbers")
    return rows.astype(np.float32, copy=False)
