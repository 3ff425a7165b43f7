"""How many segments a feature file has, what its header says, and what is compared between files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.features import FeatureFiles, Shape, decode, read_header
from avvp_pl.errors import InputError


def files(folder: Path = Path("feats"), segments: int = 10, **rows_per_segment: int) -> FeatureFiles:
    return FeatureFiles(lambda stream, name: folder / f"{stream}_{name}.npy", segments, rows_per_segment, "float32")


@pytest.mark.parametrize(
    ("segments", "rows", "length"),
    [
        (10, 10, 10),
        (10, 80, 10),
        (10, 20, 10),
        (10, 9, 9),
        (10, 1, 1),
        (1, 7, 1),
        (40, 8, 8),
        (40, 39, 39),
        (40, 80, 40),
    ],
)
def test_the_length_of_a_file(segments: int, rows: int, length: int) -> None:
    assert files(segments=segments).length("sound", "a", Shape(rows, 3)) == length


@pytest.mark.parametrize(("rows", "length"), [(8, 1), (16, 2), (40, 5), (80, 10)])
def test_the_length_of_a_file_with_several_rows_a_segment(rows: int, length: int) -> None:
    assert files(frames=8).length("frames", "a", Shape(rows, 3)) == length
    assert files(frames=8).length("sound", "a", Shape(10, 3)) == 10


@pytest.mark.parametrize(
    ("of", "rows", "said"),
    [
        (files(), 11, r"feats/frames_a\.npy: has shape \[11, 3\]; it must have n x 10 rows .* fewer than 10 rows .*"),
        (files(), 25, r"segments=10$"),
        (files(frames=8), 4, r"has shape \[4, 3\]; it must have a multiple of 8 rows and at most 80, .*frames=8$"),
        (files(frames=8), 10, "a multiple of 8"),
        (files(frames=8), 88, "at most 80"),
        (files(frames=1), 20, "a multiple of 1 rows and at most 10"),
    ],
)
def test_numbers_of_rows_that_are_no_length(of: FeatureFiles, rows: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        of.length("frames", "a", Shape(rows, 3))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.none() | st.integers(1, 5), st.sampled_from(["<f4", ">f8", "<f2"]))
def test_a_file_is_averaged_over_the_rows_of_each_segment(segments: int, rows: int, n: int | None, kind: str) -> None:
    """Against a loop; whole numbers, so that sums are exact."""
    if n is not None:
        possible = rows % n == 0 and rows // n <= segments
        length, each = rows // n, n
    else:
        possible = rows < segments or rows % segments == 0
        length = min(rows, segments)
        each = rows // length
    of = FeatureFiles(lambda *_: Path("a.npy"), segments, {} if n is None else {"sound": n}, "float32")
    shape = Shape(rows, 2)
    if not possible:
        with pytest.raises(InputError, match="it must have"):
            of.length("sound", "a", shape)
        return
    values = np.arange(2 * rows).reshape(rows, 2).astype(kind)
    content = io.BytesIO()
    np.save(content, values)
    found = decode(Path("a.npy"), content.getvalue(), shape, of.length("sound", "a", shape), "float32")
    assert found.shape == (length, 2)
    for t in range(length):
        expected = sum(values[each * t + i].astype(float) for i in range(each)) / each
        np.testing.assert_allclose(found[t], expected, rtol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_header_has_the_shape_of_the_array(tmp_path: Path, order: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((7, 3), dtype=np.float16, order=order))
    assert read_header(path, "a").shape == Shape(7, 3) == np.load(path).shape
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.zeros((2, 5)), version=(2, 0))
    assert read_header(path, "a").shape == (2, 5)


def test_a_header_alone_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((7, 3)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="9 bytes are missing at its end"):
        read_header(path, "a")


def saved(folder: Path, **shapes: tuple[int, int]) -> None:
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.ones(shape))


def test_a_survey(tmp_path: Path) -> None:
    saved(tmp_path, sound_a=(5, 2), sound_b=(10, 2), frames_a=(15, 4), frames_b=(30, 4))
    survey = files(tmp_path, frames=3).survey(["sound", "frames"], ["a", "b"])
    assert survey.lengths == [5, 10]
    assert survey.starts == [0, 5]
    assert survey.dims == {"sound": 2, "frames": 4}
    assert survey.shapes == {(0, 0): (5, 2), (0, 1): (10, 2), (1, 0): (15, 4), (1, 1): (30, 4)}
    assert not survey.problems


def test_what_a_survey_finds(tmp_path: Path) -> None:
    """Most files of a stream decide its dimension, not the first."""
    saved(tmp_path, sound_a=(10, 3), sound_b=(10, 2), sound_c=(10, 2), sound_d=(10, 2))
    saved(tmp_path, frames_a=(10, 4), frames_b=(11, 4), frames_c=(7, 4))
    survey = files(tmp_path).survey(["sound", "frames"], ["a", "b", "c", "d"])
    found = [problem for _, problem in sorted(survey.problems.items())]
    assert list(survey.shapes) == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2)]
    expected = [
        "sound_a.npy: has 3 columns, but other files of this stream have 2",
        "frames_b.npy: has shape [11, 4]; it must have n x 10 rows",
        "frames_d.npy: no such file, but 'd' is listed",
        "'c': the streams of this video have different lengths: sound has 10 segments (10 rows), "
        "frames has 7 segments (7 rows)",
    ]
    assert len(found) == len(expected)
    for problem, words in zip(found, expected, strict=True):
        assert words in problem


def test_a_survey_does_not_read_what_is_kept(tmp_path: Path) -> None:
    saved(tmp_path, sound_b=(6, 2))
    survey = files(tmp_path).survey(["sound"], ["a", "b"], kept={"sound": {"a": 4}}, kept_dims={"sound": 2})
    assert (survey.lengths, survey.dims, survey.problems) == ([4, 6], {"sound": 2}, {})
    survey = files(tmp_path).survey(["sound"], ["a", "b"], kept={"sound": {"a": 4}}, kept_dims={"sound": 3})
    [problem] = survey.problems.values()
    assert "sound_b.npy: has 2 columns, but other files of this stream have 3" in problem
    survey = files(tmp_path).survey(["touch", "sound"], ["b"], kept={"touch": {"b": 5}}, kept_dims={"touch": 1})
    [problem] = survey.problems.values()
    assert "touch has 5 segments (packed), sound has 6 segments (6 rows)" in problem


def test_the_odd_file_is_named_also_if_only_the_store_has_it(tmp_path: Path) -> None:
    """All files but one were extracted again with another dimension, and only that one is kept."""
    saved(tmp_path, sound_b=(6, 2), sound_c=(6, 2))
    survey = files(tmp_path).survey(["sound"], ["a", "b", "c"], kept={"sound": {"a": 6}}, kept_dims={"sound": 3})
    [problem] = survey.problems.values()
    assert "sound_a.npy: has 3 columns, but other files of this stream have 2 (2 of 3)" in problem


def streams_of(folder: Path, **shapes: tuple[int, int]) -> FeatureFiles:
    """Twelve videos in streams of these shapes, each stream in a folder of its own."""
    for stream, shape in shapes.items():
        (folder / stream).mkdir()
        for number in range(12):
            np.save(folder / stream / f"v{number:02d}.npy", np.ones(shape, dtype=np.float32))
    return FeatureFiles(lambda stream, name: folder / stream / f"{name}.npy", 10, {}, "float32")


VIDEOS = [f"v{number:02d}" for number in range(12)]


def test_streams_that_are_not_there_are_one_problem(tmp_path: Path) -> None:
    of = streams_of(tmp_path, clip=(10, 3), clap=(10, 3))
    (tmp_path / "empty").mkdir()
    survey = of.survey(["vggish", "clap", "res152"], VIDEOS)
    [problem] = survey.problems.values()
    assert problem.startswith(f"{tmp_path}: has clap, clip, but not vggish, res152; set data.modalities")
    [problem] = of.survey(["clap"], ["w0", "w1"]).problems.values()
    assert problem.startswith(
        f"{tmp_path / 'clap'}: has 12 files, such as v00.npy, but none of the 2 listed videos, such as w0.npy for 'w0'"
    )
    [problem] = streams_of(tmp_path / "empty").survey(["a", "b"], VIDEOS).problems.values()
    assert problem.startswith(f"{tmp_path / 'empty'}: has no features; those of the first video are expected in")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.ones((10, 3)), r"v00\.npy: has float64 values, but 11 of the 12 files of this stream have float32 "),
        (np.ones((9, 3), np.float32), r"v00\.npy: has 9 rows, but 11 of the 12 files of this stream have 10 \(1 such"),
    ],
    ids=["type", "rows"],
)
def test_a_file_unlike_nearly_all_others_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: npt.NDArray[Any], says: str
) -> None:
    of = streams_of(tmp_path, clap=(10, 3), clip=(80, 3))
    of.survey(["clap", "clip"], VIDEOS)
    assert not caplog.messages
    np.save(tmp_path / "clap" / "v00.npy", rows)
    survey = of.survey(["clap"], VIDEOS)
    assert not survey.problems
    [message] = caplog.messages
    assert re.search(says, message)


def test_streams_of_other_lengths_name_the_file_that_is_unlike_its_stream(tmp_path: Path) -> None:
    of = streams_of(tmp_path, clap=(10, 3), clip=(80, 3))
    np.save(tmp_path / "clip" / "v03.npy", np.ones((8, 3), np.float32))
    [problem] = of.survey(["clap", "clip"], VIDEOS).problems.values()
    assert "clap has 10 segments (10 rows), clip has 8 segments (8 rows)" in problem
    assert problem.endswith(
        f"{tmp_path / 'clip' / 'v03.npy'} differs from most files of its stream, which have 80 rows"
    )


def test_a_file_that_changes_after_the_survey(tmp_path: Path) -> None:
    saved(tmp_path, sound_a=(10, 2))
    path = tmp_path / "sound_a.npy"
    shape = read_header(path, "a").shape
    saved(tmp_path, sound_a=(20, 2))
    with pytest.raises(InputError, match=r"has shape \[20, 2\], but had \[10, 2\] when the lengths were read"):
        decode(path, path.read_bytes(), shape, 10, "float32")


def test_no_file_is_half_read(tmp_path: Path) -> None:
    """Headers of many files are read in tasks of several."""
    names = [f"v{number}" for number in range(150)]
    saved(tmp_path, **{f"sound_{name}": (1 + number % 10, 2) for number, name in enumerate(names)})
    survey = files(tmp_path).survey(["sound"], names)
    assert survey.lengths == [1 + number % 10 for number in range(150)]
    assert survey.starts == torch.tensor([0, *survey.lengths]).cumsum(0)[:-1].tolist()
