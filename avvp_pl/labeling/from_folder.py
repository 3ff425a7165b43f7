"""Labels or logits as they are published: a folder for each modality, with one .npy file for each video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float32

from avvp_pl.data.products import Missing
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError, brief, nearest, quote
from avvp_pl.labeling.from_file import labels_from
from avvp_pl.parts import Conversion, Converted


class FromFolder(Conversion):
    """Published labels as they are: ``folders`` has the folder of each modality (:func:`read_folders`).

    ``note`` is what is to be known about them.
    """

    kind = "labels"

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        folders: Mapping[str, str],
        missing: Missing,
        note: str | None = None,
    ) -> None:
        self.modalities, self.events = tuple(modalities), tuple(events)
        self.folders, self.missing, self.note = paths_of(folders, modalities), missing, note

    def __call__(self, splits: Mapping[str, VideoSet]) -> Converted:
        """Read the labels of the training videos."""
        videos = splits["train"]
        values, known = read_folders(self.folders, videos, self.events, self.missing)
        where = next(iter(self.folders.values())).parent
        made = labels_from(values, known, videos, self.modalities, self.events, where)
        return Converted(torch.from_numpy(made), self.note)


def paths_of(folders: Mapping[str, str], modalities: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each modality, in the order of the data; it must have one for each, and no other."""
    for name in [*folders, *modalities]:
        if name not in modalities or name not in folders:
            raise InputError(
                f"give a folder for each of the modalities {', '.join(modalities)}, but there are folders of "
                f"{', '.join(map(str, folders)) or 'none'}.{nearest(str(name), modalities)}"
            )
    return {name: Path(folders[name]) for name in modalities}


def read_folders(
    folders: Mapping[str, Path],
    videos: VideoSet,
    events: Sequence[str],
    missing: Missing = "error",
    split: str = "training",
) -> tuple[Float32[np.ndarray, "S M C"], Bool[np.ndarray, " N"]]:
    """Read KEY.npy [T, C] of each video from the folder of each modality, and return which videos are there.

    The columns are the events in the order of the data, and KEY is the name of the video's feature files. Values of
    videos that are in no folder are 0. Raises :class:`InputError` if a file is not what it should be, if a video is in
    one folder and not in another, if no video is there, or, with ``missing="error"``, if one is not. Nothing is
    unpickled. Messages say of which ``split`` the videos are.
    """
    values = np.zeros((videos.num_segments, len(folders), len(events)), dtype=np.float32)
    known = np.zeros(len(videos), dtype=bool)
    rows = zip(videos.file_stems, videos.names, videos.starts.tolist(), videos.lengths.tolist(), strict=True)
    for row, (key, name, start, length) in enumerate(rows):
        paths = [folder / f"{key}.npy" for folder in folders.values()]
        there = [path for path in paths if path.is_file()]
        if there and len(there) < len(paths):
            absent = next(path for path in paths if path not in there)
            raise InputError(f"{absent}: no such file, but there is {there[0]}; a video needs all modalities")
        if not there and missing == "error":
            advice = ", or give missing=weak to take the weak label instead" if split == "training" else ""
            raise InputError(
                f"{paths[0]}: no such file, so the {split} video {quote(name)} has no labels; add it{advice}"
            )
        for m, path in enumerate(there):
            values[start : start + length, m] = _read(path, (length, len(events)))
        known[row] = bool(there)
    if len(known) and not known.any():
        raise InputError(f"{next(iter(folders.values()))}: has a file of none of the {len(known)} videos")
    return values, known


def _read(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Read an array of numbers of this shape."""
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy raises many kinds on a damaged file
        if "allow_pickle" in str(error):
            raise InputError(f"{path}: has Python objects, which are not read; write numbers") from None
        raise InputError(f"{path}: cannot be read ({brief(error)}); write it again with numpy.save") from None
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: has shape {brief(list(array.shape))} and type {brief(array.dtype)}; needed are numbers of shape "
            f"{list(shape)}, for the segments of the video and the events of the data"
        )
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(np.float32)
