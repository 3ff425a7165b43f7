"""THUMOS14's layouts: what is loaded, that features stay mapped, and every way in which a folder can be wrong."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.activitynet import Interval
from avvp_pl.data.features import is_pickled
from avvp_pl.data.known import THUMOS14_EVENTS
from avvp_pl.data.thumos import CONVERSION, ThumosFolder, covered, load_thumos, localized
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.types import Instances
from tests.conftest import Command
from tests.small import REPOSITORY

FUSED, APART = {"fused": ["rgb", "flow"]}, {"rgb": ["rgb"], "flow": ["flow"]}
LENGTHS = {"v1": 13, "v2": 4, "t1": 1, "t2": 200}
OF = {"v1": "train", "v2": "train", "t1": "test", "t2": "test"}
DIM = 3
ANNOTATED: dict[str, list[tuple[float, float, str]]] = {
    # segments of 1 s: 0 and 1 are covered, half of 2 is, and less than half of 5
    "v1": [(0.0, 2.5, "Diving"), (5.1, 5.5, "Diving"), (5.6, 5.65, "CliffDiving")],
    "v2": [(3.0, 9.0, "GolfSwing")],
    "t1": [(0.0, 0.4, "Diving")],
    "t2": [(100.0, 103.0, "Diving"), (102.0, 104.0, "Diving"), (300.0, 301.0, "GolfSwing")],
}


class Folder:
    """A small folder in one of the layouts, to be damaged."""

    def __init__(self, root: Path, layout: str = "features/{split}/{stream}", training: str = "train") -> None:
        self.root, self.layout = root, layout
        self.rng = np.random.default_rng(0)
        self.annotate({name: (training if OF[name] == "train" else "test", ANNOTATED[name]) for name in OF})
        for name, length in LENGTHS.items():
            self.save(name, length)

    @property
    def joint(self) -> bool:
        return "{stream}" not in self.layout

    def annotate(self, videos: Mapping[str, tuple[str, Sequence[tuple[float, float, str]]]], **more: Any) -> None:
        database = {
            name: {
                "subset": subset,
                "annotations": [{"segment": [str(start), end], "label": label} for start, end, label in intervals],
                **more,
            }
            for name, (subset, intervals) in videos.items()
        }
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "gt.json").write_text(json.dumps({"database": database}))

    def path(self, stream: str, name: str) -> Path:
        return self.root / self.layout.format(split=OF.get(name, "test"), stream=stream) / f"{name}.npy"

    def put(self, path: Path, rows: npt.NDArray[Any]) -> None:
        """Write a file that is surely newer, however coarse the clock of the file system."""
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        np.save(path, rows)
        later = max(path.stat().st_mtime_ns, before + 1_000_000_000)
        os.utime(path, ns=(later, later))

    def save(self, name: str, rgb: int, flow: int | None = None) -> None:
        """Write features with so many rows."""
        if self.joint:
            self.put(self.path("rgb", name), self.rng.standard_normal((rgb, 2 * DIM), dtype=np.float32))
            return
        for stream, length in (("rgb", rgb), ("flow", rgb if flow is None else flow)):
            self.put(self.path(stream, name), self.rng.standard_normal((length, DIM), dtype=np.float32))

    def expected(self, stream: str, name: str) -> npt.NDArray[Any]:
        rows: npt.NDArray[Any] = np.load(self.path(stream, name))
        return rows[:, ({"rgb": 0, "flow": DIM}[stream]) :][:, :DIM] if self.joint else rows

    def load(self, **options: Any) -> ParsingSet:
        arguments: dict[str, Any] = {
            "root": self.root,
            "modalities": FUSED,
            "segment_seconds": 1.0,
            "packed": self.root / "packed",
        }
        return load_thumos(**arguments | options)

    def said(self, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            self.load(**options)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def of(parsing: ParsingSet, split: str) -> VideoSet:
    return parsing.splits[split]


def mapped(stream: torch.Tensor) -> bool:
    """Whether a tensor lies in a file that this process has mapped."""
    address = stream.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        ends, *_, name = line.split(maxsplit=5)
        first, last = (int(end, 16) for end in ends.split("-"))
        if first <= address < last:
            return name.endswith(".bin")
    return False


LAYOUTS = [
    ("features/{split}/{stream}", "train"),
    ("{split}/{stream}", "validation"),
    ("features/{stream}", "train"),
    ("{stream}", "train"),
    ("{split}", "validation"),
    ("features/{split}", "train"),
    ("features", "train"),
    (".", "train"),
]


@pytest.mark.parametrize(("layout", "training"), LAYOUTS, ids=[layout for layout, _ in LAYOUTS])
@pytest.mark.parametrize("packed", [True, False])
def test_every_layout(
    tmp_path: Path, layout: str, training: str, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(tmp_path / "data", layout, training)
    if training == "validation" and layout == "{split}/{stream}":
        (folder.root / "train").rename(folder.root / "validation")
        folder.path = lambda stream, name: (  # type: ignore[method-assign]
            folder.root / ("test" if name[0] == "t" else "validation") / stream / f"{name}.npy"
        )
    with caplog.at_level(logging.WARNING):
        parsing = folder.load(packed=folder.root / "packed" if packed else None)
    assert [message for message in caplog.messages if "never found" not in message] == []
    assert parsing.events == THUMOS14_EVENTS
    assert parsing.modalities == {"fused": ("rgb", "flow")}
    assert parsing.stream_dims == {"rgb": DIM, "flow": DIM}
    assert parsing.segment_seconds == 1.0
    assert parsing.val is None
    assert of(parsing, "train").names == ("v1", "v2")
    assert of(parsing, "test").names == ("t1", "t2")
    for videos in parsing.splits.values():
        assert videos.lengths.tolist() == [LENGTHS[name] for name in videos.names]
        for stream, values in videos.streams.items():
            expected = np.concatenate([folder.expected(stream, name) for name in videos.names])
            assert np.array_equal(values.numpy(), expected)
            assert mapped(values) == packed


def test_labels_instances_and_truth(folder: Folder) -> None:
    parsing = folder.load(modalities=APART)
    diving, cliff, golf = (THUMOS14_EVENTS.index(event) for event in ("Diving", "CliffDiving", "GolfSwing"))
    train, test = of(parsing, "train"), of(parsing, "test")
    assert [row.nonzero().flatten().tolist() for row in train.weak_labels] == [sorted([diving, cliff]), [golf]]
    assert train.weak_labels.dtype == torch.float32
    assert train.instances is not None
    assert train.instances.videos.tolist() == [0, 0, 0, 1]
    assert train.instances.events.tolist() == [diving, diving, cliff, golf]
    assert train.instances.bounds.tolist() == [[0.0, 2.5], [5.1, 5.5], [5.6, 5.65], [3.0, 9.0]]
    assert train.instances.bounds.dtype == torch.float64
    assert train.truth is not None
    assert train.truth.shape == (17, 2, 20)
    assert torch.equal(train.truth[:, 0], train.truth[:, 1])
    # of the golf swing only the segment that the video still has, which is number 13 + 3
    assert train.truth[:, 0].nonzero().tolist() == [[0, diving], [1, diving], [2, diving], [16, golf]]
    assert test.truth is not None
    assert test.truth[:, 1].nonzero().tolist() == [[1 + t, diving] for t in range(100, 104)]
    assert [row.nonzero().flatten().tolist() for row in test.weak_labels] == [[diving], sorted([diving, golf])]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 60), st.integers(1, 40)), max_size=8),
    st.sampled_from([0.64, 1.0, 0.7]),
)
def test_a_segment_has_an_event_that_covers_half_of_it(
    lengths: list[int], drawn: list[tuple[int, int, int, int]], seconds: float
) -> None:
    """Against counting thousandths of a second, on which all bounds and all middles of segments lie."""
    drawn = [one for one in drawn if one[0] < len(lengths)]
    instances = Instances(
        torch.tensor([one[0] for one in drawn], dtype=torch.int64),
        torch.tensor([one[1] for one in drawn], dtype=torch.int64),
        torch.tensor([(start / 10, (start + size) / 10) for _, _, start, size in drawn], dtype=torch.float64).reshape(
            -1, 2
        ),
    )
    truth = covered(lengths, instances, 2, seconds)
    step = round(1000 * seconds)
    expected = []
    for row, length in enumerate(lengths):
        ticks = np.zeros((length * step, 2), dtype=bool)
        for video, event, start, size in drawn:
            if video == row:
                ticks[100 * start : 100 * (start + size), event] = True
        expected.append(2 * ticks.reshape(length, step, 2).sum(1) >= step)
    assert np.array_equal(truth.numpy(), np.concatenate(expected))


@pytest.mark.parametrize("packed", [True, False])
def test_streams_that_differ_by_a_row_are_cut_to_the_shorter(folder: Folder, packed: bool) -> None:
    folder.save("v1", 13, 14)
    folder.save("t1", 2, 1)
    parsing = folder.load(packed=folder.root / "packed" if packed else None)
    assert of(parsing, "train").lengths.tolist() == [13, 4]
    assert of(parsing, "test").lengths.tolist() == [1, 200]
    for videos in parsing.splits.values():
        for stream, values in videos.streams.items():
            parts = torch.split(values, videos.lengths.tolist())
            for name, part in zip(videos.names, parts, strict=True):
                assert np.array_equal(part.numpy(), folder.expected(stream, name)[: len(part)])


def test_streams_that_differ_by_more_are_refused(folder: Folder) -> None:
    folder.save("v1", 13, 15)
    rgb, flow = folder.path("rgb", "v1"), folder.path("flow", "v1")
    said = f"'v1': {rgb} (13 rows) and {flow} (15 rows) differ by more than 1 row; extract the features of this video"
    assert said in folder.said(packed=None)
    assert said in folder.said()


def test_the_store_is_renewed_when_files_change(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.save("v1", 13, 14)
    folder.load()
    first = (folder.root / "packed" / "index.json").read_bytes()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        folder.load()
    assert (folder.root / "packed" / "index.json").read_bytes() == first
    assert "files to read" not in caplog.text
    # now both have 14 rows: the segment that was cut off is back, although the file of flow is unchanged
    folder.put(folder.path("rgb", "v1"), folder.rng.standard_normal((14, DIM), dtype=np.float32))
    parsing = folder.load()
    assert of(parsing, "train").lengths.tolist() == [14, 4]
    streams = of(parsing, "train").streams
    for stream in ("rgb", "flow"):
        assert np.array_equal(streams[stream][:14].numpy(), folder.expected(stream, "v1"))
        assert np.array_equal(streams[stream][14:].numpy(), folder.expected(stream, "v2"))
    assert mapped(streams["rgb"])
    # of one stream alone, no row is cut off
    folder.put(folder.path("rgb", "v1"), folder.rng.standard_normal((15, DIM), dtype=np.float32))
    folder.load()
    assert of(folder.load(modalities={"rgb": ["rgb"]}), "train").lengths.tolist() == [15, 4]
    assert of(folder.load(modalities=APART), "train").lengths.tolist() == [14, 4]


def test_other_videos_in_the_annotation_renew_the_store(folder: Folder) -> None:
    folder.load()
    folder.annotate({name: (OF[name], ANNOTATED[name]) for name in ("v2", "t2", "t1")})
    parsing = folder.load(splits=["test"])
    assert parsing.train is None
    assert of(parsing, "test").names == ("t2", "t1")
    assert np.array_equal(of(parsing, "test").streams["flow"][:200].numpy(), folder.expected("flow", "t2"))


def test_a_store_that_cannot_be_written_is_no_error(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    (folder.root / "packed").write_text("a file")
    parsing = folder.load()
    assert "cannot be used or renewed, so the files are read" in caplog.text
    assert np.array_equal(of(parsing, "train").streams["rgb"][:13].numpy(), folder.expected("rgb", "v1"))


def test_types_of_stored_features(folder: Folder) -> None:
    streams = of(folder.load(dtype="float16"), "test").streams
    assert streams["rgb"].dtype == torch.float16
    assert np.array_equal(streams["rgb"][:1].numpy(), folder.expected("rgb", "t1").astype(np.float16))


def test_a_batch_of_very_different_lengths(folder: Folder) -> None:
    batch = of(folder.load(), "test")[torch.tensor([1, 0])]
    assert batch.mask.sum(1).tolist() == [200, 1]
    assert batch.features_in["rgb"].shape == (2, 200, DIM)
    assert not batch.features_in["rgb"][1, 1:].any()


# ---- pickled features


def pickled(path: Path) -> Path:
    features = np.empty(2, dtype=object)
    features[0], features[1] = np.ones((3, 2 * DIM)), 2 * np.ones((5, 2 * DIM), dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, features, allow_pickle=True)
    return path


def test_pickled_features_are_refused_and_can_be_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    path = pickled(root / "Thumos14reduced-I3D-JOINTFeatures.npy")
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("a pickled file was loaded"))
    for place in (root, path):
        with pytest.raises(InputError, match=re.escape(f"{path}: contains pickled objects")) as caught:
            load_thumos(place, FUSED)
        assert CONVERSION in str(caught.value)
    assert CONVERSION in (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    monkeypatch.undo()
    names = root / "Thumos14reduced-Annotations" / "videoname.npy"
    names.parent.mkdir()
    np.save(names, np.array([b"video_validation_0000051", b"video_test_0000004"]))
    subprocess.run([sys.executable, "-c", CONVERSION], cwd=root, check=True)
    subsets = {"video_validation_0000051": "validation", "video_test_0000004": "test"}
    database = {
        name: {"subset": subset, "annotations": [{"segment": [0, 1], "label": "Diving"}]}
        for name, subset in subsets.items()
    }
    (root / "gt.json").write_text(json.dumps({"database": database}))
    parsing = load_thumos(root, FUSED)  # beside the pickled file, which is no longer needed
    assert of(parsing, "train").streams["flow"].tolist() == [[1.0] * DIM] * 3
    assert of(parsing, "test").lengths.tolist() == [5]


def test_what_is_pickled(tmp_path: Path) -> None:
    assert is_pickled(pickled(tmp_path / "a.npy"))
    (tmp_path / "b.npy").write_bytes(b"\x80\x04K\x01.")
    assert is_pickled(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.ones((2, 3)))
    (tmp_path / "d.npy").write_bytes(b"")
    assert not any(is_pickled(tmp_path / name) for name in ("c.npy", "d.npy", "nowhere.npy"))


# ---- wrong input


def test_a_pickled_file_of_one_video(folder: Folder) -> None:
    pickled(folder.path("rgb", "v2"))
    assert f"{folder.path('rgb', 'v2')}: contains object values" in folder.said()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.full((4, DIM), np.nan, dtype=np.float32), "contains NaN or infinite values"),
        (np.ones((4, DIM + 1), dtype=np.float32), "has 4 columns, but other files of this stream have 3"),
        (np.ones((4, DIM), dtype=np.int64), "contains int64 values"),
        (np.ones(4, dtype=np.float32), "it must have two axes"),
        (np.ones((0, DIM), dtype=np.float32), "at least one row"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_files(folder: Folder, rows: npt.NDArray[Any], said: str, packed: bool) -> None:
    folder.put(folder.path("flow", "v2"), rows)
    message = folder.said(packed=folder.root / "packed" if packed else None)
    assert str(folder.path("flow", "v2")) in message
    assert said in message


def test_a_truncated_file(folder: Folder) -> None:
    path = folder.path("flow", "v2")
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{path}: not a complete .npy file of numbers (5 bytes are missing at its end)" in folder.said()


def test_damaged_files_with_both_streams(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data", "{split}")
    rows = np.ones((4, 2 * DIM), dtype=np.float32)
    rows[2, DIM + 1] = np.inf
    folder.put(folder.path("", "v2"), rows)
    place = (
        f"{folder.path('', 'v2')}, columns 3 to 5: contains NaN or infinite values (1, the first in row 2, column 1)"
    )
    assert place in folder.said()
    folder.put(folder.path("", "v2"), np.ones((4, 7), dtype=np.float32))
    assert "has 7 columns, which are not 2 streams of the same dimension" in folder.said()
    folder.put(folder.path("", "v2"), np.ones((4, 8), dtype=np.float32))
    assert "has 8 columns, but other files of this stream have 6" in folder.said()
    assert "data.modalities: 'sound' is not a stream of" in folder.said(modalities={"audio": ["sound"]})


def test_two_layouts_at_once(folder: Folder) -> None:
    folder.put(folder.root / "test" / "t1.npy", np.ones((1, 2 * DIM), dtype=np.float32))
    said = folder.said()
    assert f"{folder.root / 'features' / 'train'}" in said
    assert f"{folder.root / 'test'}; set data.root" in said


def test_no_features_at_all(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            InputError, match=r"there are no features; features are expected in features/\{train,test\}"
        ):
            load_thumos(root, FUSED)


def test_a_stream_that_is_not_there(folder: Folder) -> None:
    assert "has flow, rgb, but not sound; set data.modalities" in folder.said(modalities={"a": ["rgb"], "b": ["sound"]})


def test_a_video_in_two_splits(folder: Folder) -> None:
    for stream in ("rgb", "flow"):
        folder.put(folder.root / "features" / "test" / stream / "v1.npy", np.ones((13, DIM), dtype=np.float32))
    assert "is of the same video, which belongs to one split" in folder.said()


def test_annotated_videos_without_features(folder: Folder) -> None:
    for stream in ("rgb", "flow"):
        folder.path(stream, "v1").rename(folder.path(stream, "v1").with_name("V1.npy"))
    said = folder.said()
    assert f"{folder.root / 'gt.json'}: 1 of its 2 train videos have no features: there is no" in said
    assert str(folder.path("rgb", "v1")) in said
    assert f"and {folder.path('rgb', 'v1').with_name('V1.npy')} is of no annotated video" in said
    # the other split is not touched by that, and what is only parsed needs no more than features
    assert of(folder.load(splits=["test"]), "test").names == ("t1", "t2")
    assert of(folder.load(splits=["train"], truth_required=False), "train").names == ("v2",)


def test_a_video_that_lacks_one_stream(folder: Folder) -> None:
    folder.path("flow", "v1").unlink()
    assert f"{folder.path('flow', 'v1')}: no such file, but 'v1' is listed" in folder.said()


def test_features_without_annotation_are_counted(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("u1", "u2"):
        folder.save(name, 3)
    parsing = folder.load()
    assert of(parsing, "test").names == ("t1", "t2")
    assert f"2 x {folder.root}: features of videos that are not annotated (ignored), such as" in caplog.text


def test_the_videos_that_public_features_leave_out(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    videos = {name: (OF[name], ANNOTATED[name]) for name in OF}
    videos["video_test_0000270"] = ("test", [(1.0, 2.0, "HammerThrow")])
    folder.annotate(videos)
    parsing = folder.load()
    assert of(parsing, "test").names == ("t1", "t2")
    assert "1 x" in caplog.text
    assert "annotated test videos without features (left out), such as 'video_test_0000270'" in caplog.text
    assert "events of test videos that no training video has" in caplog.text
    folder.save("video_test_0000270", 3)
    assert of(folder.load(), "test").names == ("t1", "t2", "video_test_0000270")


def test_late_instances_and_videos_without_events_are_counted(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    videos = {name: (OF[name], ANNOTATED[name]) for name in OF}
    folder.annotate(videos | {"v1": ("train", [])})
    folder.load()
    assert "instances that begin after the last segment of their video (kept, and never found), such as" in caplog.text
    assert "training videos without any event, such as 'v1'" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "this is not JSON"),
        ("{}", "there is no 'database'"),
        ('{"database": {"v1": {"subset": "training", "annotations": []}}}', "as train videos are; the subsets are"),
        ('{"database": {"v1": {"subset": "train", "annotations": []}}}', "have no instances"),
        (
            '{"database": {"v1": {"subset": "train", "annotations": [{"segment": [2, 1], "label": "Diving"}]}}}',
            "must end after its start",
        ),
        (
            '{"database": {"../v": {"subset": "train", "annotations": [{"segment": [1, 2], "label": "Diving"}]}}}',
            "'../v' is not a possible name of a video",
        ),
    ],
)
def test_a_damaged_annotation(folder: Folder, content: str, said: str) -> None:
    (folder.root / "gt.json").write_text(content)
    message = folder.said(splits=["train"])
    assert said in message


def test_training_needs_an_annotation(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "gt.json").rename(tmp_path / "elsewhere.json")
    assert f"{folder.root / 'gt.json'}: there is no annotation; put it there" in folder.said()
    assert f"{tmp_path / 'no.json'}: there is no annotation" in folder.said(annotation=tmp_path / "no.json")
    assert of(folder.load(annotation=tmp_path / "elsewhere.json"), "train").names == ("v1", "v2")


def test_there_is_no_validation_split(folder: Folder) -> None:
    assert set(folder.load(splits=["train", "val", "test"]).splits) == {"train", "test"}
    assert "data=thumos14 has no val videos; its splits are train and test" in folder.said(splits=["val"])


def test_a_validation_subset_beside_training(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.annotate({"v1": ("train", ANNOTATED["v1"]), "v2": ("validation", []), "t1": ("test", ANNOTATED["t1"])})
    assert of(folder.load(), "train").names == ("v1",)
    assert "videos of the subset 'validation' beside 'train' (ignored)" in caplog.text


# ---- videos to parse


def test_videos_to_parse_need_no_annotation(folder: Folder) -> None:
    (folder.root / "gt.json").unlink()
    parsing = folder.load(splits=["test"], truth_required=False, events=["Diving", "Yoga"])
    test = of(parsing, "test")
    assert parsing.events == ("Diving", "Yoga")
    assert test.names == ("t1", "t2")
    assert test.truth is None
    assert test.instances is None
    assert test.weak_labels.shape == (2, 2)
    assert not test.weak_labels.any()
    assert mapped(test.streams["rgb"])
    (folder.root / "features" / "test").rename(folder.root / "features" / "gone")
    assert "there are no features of test videos" in folder.said(splits=["test"], truth_required=False)


def test_a_list_of_videos_to_parse(folder: Folder, tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("t2\nv2\n")
    parsing = folder.load(splits=["test"], truth_required=False, names=listed)
    test = of(parsing, "test")
    assert test.names == ("t2", "v2")
    assert test.truth is not None
    assert np.array_equal(test.streams["flow"][200:].numpy(), folder.expected("flow", "v2"))
    folder.save("new", 3)
    listed.write_text("new\nv2\n")
    test = of(folder.load(splits=["test"], truth_required=False, names=listed), "test")
    assert test.names == ("new", "v2")
    assert test.truth is None  # of one of them nothing is known
    listed.write_text("nobody\n")
    assert "none of the 1 listed videos, such as nobody.npy" in folder.said(
        splits=["test"], truth_required=False, names=listed
    )


def test_the_events(folder: Folder) -> None:
    assert folder.load(events=["GolfSwing", "Diving", "CliffDiving"]).events == ("GolfSwing", "Diving", "CliffDiving")
    assert folder.load(events=["Diving"]).events == THUMOS14_EVENTS
    folder.annotate({name: (OF[name], [(0.0, 1.0, "Yoga"), (0.0, 1.0, "Diving")]) for name in OF})
    assert folder.load(events=["Diving"]).events == ("Diving", "Yoga")


# ---- the command, and the real annotation


def test_prepare(command: Command, folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("prepare", "data=thumos14", f"data.root={folder.root}") == 0
    printed = capfd.readouterr()
    assert "2 train, 2 test videos, 20 events" in printed.err + printed.out
    assert "everything is in order: 4 videos of 1 to 200 segments, dimensions {'rgb': 3, 'flow': 3}" in printed.out
    before = (folder.root / "packed" / "index.json").read_bytes()
    folder.load()
    assert (folder.root / "packed" / "index.json").read_bytes() == before
    folder.put(folder.path("rgb", "v1"), np.full((13, DIM), np.nan))
    folder.put(folder.path("flow", "t1"), np.ones(3))
    assert command("prepare", "data=thumos14", f"data.root={folder.root}") == 2
    said = capfd.readouterr().err
    assert "2 problems" in said
    assert str(folder.path("rgb", "v1")) in said
    assert str(folder.path("flow", "t1")) in said


def test_the_real_annotation(shared: Path, tmp_path: Path) -> None:
    """Its counts and the action share of the audit, with the real lengths and features of one number."""
    with (shared / "thumos14" / "videos.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    root = tmp_path / "data"
    for row in rows:
        split = "test" if row["subset"] == "test" else "train"
        (root / split).mkdir(parents=True, exist_ok=True)
        np.save(root / split / f"{row['video']}.npy", np.ones((int(float(row["duration"]) / 0.64), 2), np.float32))
    parsing = load_thumos(
        root,
        FUSED,
        shared / "thumos14" / "gt.json",
        packed=root / "packed",
    )
    train, test = of(parsing, "train"), of(parsing, "test")
    assert parsing.events == tuple((shared / "thumos14" / "classes.txt").read_text().split())
    assert (len(train), len(test)) == (200, 210)
    assert (min(train.lengths.tolist()), train.longest) == (13, 2202)
    assert (min(test.lengths.tolist()), test.longest) == (23, 2614)
    assert train.instances is not None
    assert test.instances is not None
    assert (len(train.instances.videos), len(test.instances.videos)) == (3007, 3311)
    of_event = torch.bincount(train.instances.events, minlength=20)
    assert dict(zip(parsing.events, of_event.tolist(), strict=True))["BasketballDunk"] == 303
    assert train.weak_labels.sum(0).min() == 10
    assert train.weak_labels.sum(0).max() == 20
    assert train.truth is not None
    assert test.truth is not None
    assert train.truth.any(2).float().mean() == pytest.approx(0.28, abs=0.005)
    assert test.truth.any(2).float().mean() == pytest.approx(0.31, abs=0.005)
    cliff, diving = parsing.events.index("CliffDiving"), parsing.events.index("Diving")
    assert not (test.truth[:, 0, cliff] & ~test.truth[:, 0, diving]).any()


def test_localized_videos_of_nothing_known() -> None:
    videos = localized({"a": 2}, {"rgb": torch.ones(2, 1)}, None, ("Diving",), 1, 0.64)
    assert videos.truth is None
    assert videos.instances is None
    empty = localized({"a": 2}, {"rgb": torch.ones(2, 1)}, {"a": []}, ("Diving",), 1, 0.64)
    assert empty.truth is not None
    assert not empty.truth.any()
    late = localized({"a": 2}, {}, {"a": [Interval("a", "Diving", 5.0, 6.0, 1.0, "")]}, ("Diving",), 1, 0.64)
    assert late.weak_labels.tolist() == [[1.0]]


def test_names_that_are_spelled_in_two_ways(folder: Folder) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    folder.annotate(
        {composed: ("train", ANNOTATED["v1"]), "t1": ("test", ANNOTATED["t1"]), "t2": ("test", ANNOTATED["t2"])}
    )
    for stream in ("rgb", "flow"):
        folder.put(folder.root / "features" / "train" / stream / f"{decomposed}.npy", np.ones((3, DIM), np.float32))
    assert of(folder.load(), "train").names == (composed,)
    assert of(folder.load(), "train").lengths.tolist() == [3]
    made = ThumosFolder(folder.root, FUSED, None, "float32")
    assert made.feature_path("rgb", composed).stem == decomposed
    folder.put(folder.root / "features" / "train" / "rgb" / f"{composed}.npy", np.ones((3, DIM), np.float32))
    assert "one in composed and one in decomposed Unicode" in folder.said()
