"""What an extractor is to the rest: what it hears or sees of a video, and the rows of features it makes of that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, UInt8

# Extractors are given at most this many seconds at a time, so that memory does not grow with the length of a video.
# Networks that look at a whole clip were made for clips of ten seconds, as those of LLP are
BLOCK_SECONDS = 10


class Sound(NamedTuple):
    """The sound track at ``rate`` samples a second: the mean of the channels, from -1 to 1."""

    rate: int


class Pictures(NamedTuple):
    """Pictures at their natural size, upright: ``per_second`` of each second.

    ``middle`` takes, for each of the equal parts of a second, the frame that is on the screen at its middle. ``llp``
    takes the frames that the features of LLP were made of: a list of 8 frames a second, as ``ffmpeg -r 8`` writes it,
    and those of its frames that are nearest to evenly spaced positions.
    """

    per_second: int
    choice: Literal["middle", "llp"] = "middle"


Input: TypeAlias = Sound | Pictures
Block: TypeAlias = Float32[np.ndarray, "T rate"] | UInt8[np.ndarray, "T n H W 3"]


class Extractor(ABC):
    """One stream of features. A subclass is one file in ``video/extractors``, with its settings in ``conf/extractors``.

    ``name`` is that of the stream and of its folder, ``feats/NAME``; ``modality`` is the one to which the stream
    belongs, ``dim`` the number of columns, and ``rows_per_segment`` the number of rows for every second. ``input`` says
    what :meth:`rows` is given. ``version`` grows whenever the same file would get other rows.
    """

    name: str
    modality: Literal["audio", "visual"]
    dim: int
    rows_per_segment: int = 1
    input: Input
    version: int = 1

    @abstractmethod
    def rows(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R dim"]:
        """Return the rows of some consecutive seconds: R is ``rows_per_segment`` times their number.

        ``block`` is float32 [T, rate] for an extractor of sound, and uint8 [T, per_second, height, width, 3] (red,
        green, blue) for one of pictures. T is at most :data:`BLOCK_SECONDS`, and less where pictures are large: their
        rows must not depend on how the seconds are put into blocks.
        """

    def identity(self) -> dict[str, Any]:
        """Return what decides its rows: two extractors with the same identity have the same rows for the same file.

        It stands in the manifest beside the features and in checkpoints, so it has only text, numbers and None. A
        subclass adds its settings, and the SHA-256 of its weights if it has some.
        """
        return {"extractor": self.name, "version": self.version, "dim": self.dim, "rows": self.rows_per_segment}
