"""A video file as features: what its extractors are given, and what is said of what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from avvp_pl.errors import InputError
from avvp_pl.video.clip import extract_clip
from avvp_pl.video.extractor import Extractor, Pictures, Sound
from tests.video.clips import number_of, write_clip


class Loudness(Extractor):
    """Twice a second, the loudest sample."""

    name, modality, dim, rows_per_segment, input = "loudness", "audio", 1, 2, Sound(16_000)

    def rows(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        loudest: npt.NDArray[np.float32] = np.abs(block).reshape(-1, 8_000).max(axis=1, keepdims=True)
        return loudest


class Number(Extractor):
    """The number of the frame, and the second in the block."""

    name, modality, dim, input = "number", "visual", 2, Pictures(1)

    def rows(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.array([[number_of(one[0]), second] for second, one in enumerate(block)], dtype=np.float32)


class Wrong(Number):
    """What does not keep the contract."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def rows(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(self.value, dtype=np.float32)


def test_features_of_all_streams_with_one_length(tmp_path: Path) -> None:
    clip = extract_clip(write_clip(tmp_path / "a.mkv", 12), [Loudness(), Number()])
    assert (clip.segments, clip.seconds, clip.missing, clip.problems) == (12, 12.0, (), ())
    loud = clip.features["loudness"]
    assert loud.shape == (24, 1)
    np.testing.assert_allclose(loud[::2, 0], (np.arange(12) + 1) / 16, atol=0.01)
    assert not loud[1::2].any()
    assert clip.features["number"][:, 0].tolist() == [(10 * second + 5) % 45 for second in range(12)]
    assert clip.features["number"][:, 1].tolist() == [*range(10), 0, 1]  # in blocks
    assert clip.features["number"].dtype == np.float32


def test_a_missing_track_is_refused_or_masked(tmp_path: Path) -> None:
    mute = write_clip(tmp_path / "mute.mkv", sounds=[])
    said = f"{mute}: it has no sound; missing_track=mask uses the rest of such videos"
    with pytest.raises(InputError) as caught:
        extract_clip(mute, [Loudness(), Number()])
    assert str(caught.value) == said
    masked = extract_clip(mute, [Loudness(), Number()], missing_track="mask")
    assert masked.missing == ("audio",)
    assert masked.features["loudness"].tolist() == [[0.0]] * 8
    assert masked.features["number"][:, 0].tolist() == [5, 15, 25, 35]
    blind = write_clip(tmp_path / "blind.mkv", pictures=None)
    masked = extract_clip(blind, [Loudness(), Number()], missing_track="mask")
    assert masked.missing == ("visual",)
    assert masked.features["number"].tolist() == [[0.0, 0.0]] * 4
    with pytest.raises(InputError, match=r"it has no sound$"):
        extract_clip(mute, [Loudness()], missing_track="mask")  # nothing would be left
    assert extract_clip(mute, [Number()]).missing == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((3, 2)), "the extractor number returned rows of shape (3, 2); it must be (4, 2)"),
        (np.full((4, 2), np.nan), "the extractor number returned values that are not finite numbers"),
    ],
)
def test_an_extractor_that_breaks_its_contract_is_named(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        extract_clip(write_clip(tmp_path / "a.mkv"), [Wrong(value)])
    assert str(caught.value) == said


def test_extractors_that_need_the_same_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is given to all of them, and made once."""
    other = Number()
    other.name = "other"
    seen: list[int] = []

    def rows(block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        seen.append(id(block))
        return np.zeros((len(block), 2), dtype=np.float32)

    for one in (first := Number(), other):
        monkeypatch.setattr(one, "rows", rows)
    clip = extract_clip(write_clip(tmp_path / "a.mkv"), [first, other])
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert set(clip.features) == {"number", "other"}
