"""Folders in LLP layout: what is loaded, and every way in which a folder can be wrong."""

from __future__ import annotations

import csv
import logging
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from avvp_pl.data.annotations import INCLUSIVE
from avvp_pl.data.llp import LLP_EVENTS, LLPFolder, load_llp, vocabulary
from avvp_pl.data.names import feature_key
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError

REAL_TABLES = Path(__file__).resolve().parents[3] / "shared" / "llp"
MODALITIES = {"audio": ["sound"], "visual": ["frames", "motion"]}
SHAPES = {"sound": (10, 5), "frames": (80, 4), "motion": (10, 3)}
WEAK, DENSE = "filename\tevent_labels", "filename\tonset\toffset\tevent_labels"
KEYS = {
    "AAAAAAAAAAA_0_10": "AAAAAAAAAAA",
    "holiday_video_1": "holiday_video_1",
    "BBBBBBBBBBB_101.8_111.8": "BBBBBBBBBBB",
    "CCCCCCCCCCC_5_15": "CCCCCCCCCCC",
}


class Folder:
    """A small LLP folder, to be damaged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir(parents=True)

    def table(self, name: str, *lines: str) -> Path:
        path = self.root / "data" / name
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    def feature(self, stream: str, key: str) -> Path:
        return self.root / "feats" / stream / f"{key}.npy"

    def save(self, stream: str, key: str, rows: npt.NDArray[Any]) -> None:
        path = self.feature(stream, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rows)

    def load(self, **options: Any) -> ParsingSet:
        arguments: dict[str, Any] = {"root": self.root, "modalities": MODALITIES}
        return load_llp(**arguments | options)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "llp")
    made.table("AVVP_train.csv", WEAK, "AAAAAAAAAAA_0_10\tSpeech,Dog", "holiday_video_1\tCat")
    made.table("AVVP_val_pd.csv", WEAK, "BBBBBBBBBBB_101.8_111.8\tDog")
    made.table("AVVP_test_pd.csv", WEAK, "CCCCCCCCCCC_5_15\tSpeech,Clapping")
    made.table("AVVP_eval_audio.csv", DENSE, "CCCCCCCCCCC_5_15\t2\t4\tClapping", "BBBBBBBBBBB_101.8_111.8\t0\t1\tDog")
    made.table("AVVP_eval_visual.csv", DENSE, "CCCCCCCCCCC_5_15\t3\t10\tSpeech")
    rng = np.random.default_rng(0)
    for stream, shape in SHAPES.items():
        for key in KEYS.values():
            made.save(stream, key, rng.standard_normal(shape).astype(np.float32))
    return made


def active(videos: VideoSet | None, video: int) -> set[tuple[int, int, str]]:
    assert videos is not None
    assert videos.truth is not None
    return {(t, m, LLP_EVENTS[c]) for t, m, c in videos.padded(videos.truth)[video].nonzero().tolist()}


def test_a_whole_folder(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parsing = folder.load()
    assert not caplog.messages
    assert parsing.events == LLP_EVENTS
    assert parsing.modalities == {"audio": ("sound",), "visual": ("frames", "motion")}
    assert parsing.stream_dims == {"sound": 5, "frames": 4, "motion": 3}
    assert {name: videos.names for name, videos in parsing.splits.items()} == {
        "train": ("AAAAAAAAAAA_0_10", "holiday_video_1"),
        "val": ("BBBBBBBBBBB_101.8_111.8",),
        "test": ("CCCCCCCCCCC_5_15",),
    }
    assert parsing.train is not None
    assert parsing.val is not None
    assert parsing.test is not None
    weak = parsing.train.weak_labels
    assert weak.dtype == torch.float32
    assert [[LLP_EVENTS[c] for c in row.nonzero().flatten().tolist()] for row in weak] == [["Speech", "Dog"], ["Cat"]]
    assert torch.equal(weak, weak.bool().float())
    assert parsing.train.truth is None
    assert active(parsing.val, 0) == {(0, 0, "Dog")}
    assert active(parsing.test, 0) == {(2, 0, "Clapping"), (3, 0, "Clapping")} | {
        (t, 1, "Speech") for t in range(3, 10)
    }
    assert all(videos.equal_length == 10 for videos in parsing.splits.values())
    assert parsing.train.keys == ("AAAAAAAAAAA", "holiday_video_1")


def test_features_are_those_of_the_files_averaged_over_the_rows_of_a_segment(folder: Folder) -> None:
    for videos in folder.load().splits.values():
        for stream, loaded in videos.streams.items():
            assert loaded.dtype == torch.float32
            for name, features in zip(videos.names, videos.padded(loaded).numpy(), strict=True):
                rows = np.load(folder.feature(stream, KEYS[name]))
                n = len(rows) // 10
                expected = [sum(rows[n * t + i].astype(float) for i in range(n)) / n for t in range(10)]
                np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
                if n == 1:
                    np.testing.assert_array_equal(features, rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_floating_point_layout_is_read(folder: Folder, dtype: npt.DTypeLike, order: Any) -> None:
    before = folder.load()
    path = folder.feature("frames", "AAAAAAAAAAA")
    np.save(path, np.asarray(np.load(path), dtype=dtype, order=order))
    after = folder.load()
    assert before.train is not None
    assert after.train is not None
    np.testing.assert_allclose(after.train.streams["frames"], before.train.streams["frames"], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("modalities", "dims"),
    [
        ({"audio": ["sound"]}, {"sound": 5}),
        ({"audio": ["sound"], "visual": ["frames"], "touch": ["motion"]}, {"sound": 5, "frames": 4, "motion": 3}),
    ],
)
def test_one_or_three_modalities(folder: Folder, modalities: dict[str, list[str]], dims: dict[str, int]) -> None:
    folder.table("AVVP_eval_touch.csv", DENSE, "CCCCCCCCCCC_5_15\t9\t10\tSpeech")
    parsing = folder.load(modalities=modalities)
    assert parsing.stream_dims == dims
    assert parsing.test is not None
    assert parsing.test.truth is not None
    assert parsing.test.truth.shape == (10, len(modalities), 25)
    assert parsing.test.truth.sum(dim=(0, 2)).tolist() == [2, 7, 1][: len(modalities)]


def test_other_numbers_and_lengths_of_segments(folder: Folder) -> None:
    parsing = folder.load(segments=5, segment_seconds=2.0, splits=["test"])
    assert parsing.segment_seconds == 2.0
    assert parsing.test is not None
    assert parsing.test.lengths.tolist() == [5]
    # 3-10 s of speech are cut to whole segments: 1.5 and 5 become 1 and 5
    assert active(parsing.test, 0) == {(1, 0, "Clapping")} | {(t, 1, "Speech") for t in range(1, 5)}
    rows = np.load(folder.feature("frames", "CCCCCCCCCCC"))
    np.testing.assert_allclose(parsing.test.streams["frames"][1], rows[16:32].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_own_classes(folder: Folder) -> None:
    folder.table("classes.txt", "Dog", "Clapping", "Speech", "Owl", "Cat")
    parsing = folder.load()
    assert parsing.events == ("Dog", "Clapping", "Speech", "Owl", "Cat")
    assert parsing.train is not None
    assert parsing.train.weak_labels.tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert parsing.test is not None
    assert parsing.test.truth is not None
    assert parsing.test.truth.sum(dim=(0, 1)).tolist() == [0, 2, 7, 0, 0]

    folder.table("classes.txt", "Dog", "Clapping", "Owl", "Cat")
    with pytest.raises(InputError, match=r"AVVP_train\.csv, line 2: 'Speech' is not among the 4 events"):
        folder.load()


def test_hidden_truth_of_training_videos(folder: Folder) -> None:
    folder.table("AVVP_train_hidden_audio.csv", DENSE, "holiday_video_1\t7\t9\tCat")
    parsing = folder.load()
    assert parsing.train is not None
    assert parsing.train.truth is None  # the visual table is not there
    folder.table("AVVP_train_hidden_visual.csv", DENSE, "AAAAAAAAAAA_0_10\t0\t1\tSpeech")
    train = folder.load(splits=["train"]).train
    assert train is not None
    assert active(train, 0) == {(0, 1, "Speech")}
    assert active(train, 1) == {(7, 0, "Cat"), (8, 0, "Cat")}


def test_truth_may_be_missing_only_where_it_is_not_required(folder: Folder) -> None:
    (folder.root / "data" / "AVVP_eval_visual.csv").unlink()
    with pytest.raises(InputError, match=r"AVVP_eval_visual\.csv: no such file"):
        folder.load()
    parsing = folder.load(truth_required=False)
    assert parsing.val is not None
    assert parsing.val.truth is None
    assert folder.load(splits=["train"]).train is not None


def test_truth_that_is_there_is_read_though_not_required(folder: Folder) -> None:
    parsing = folder.load(truth_required=False)
    assert active(parsing.val, 0) == {(0, 0, "Dog")}


def test_only_the_wanted_splits_are_needed(folder: Folder) -> None:
    for split in ("train", "val_pd"):
        (folder.root / "data" / f"AVVP_{split}.csv").unlink()
    folder.feature("sound", "AAAAAAAAAAA").unlink()
    parsing = folder.load(splits=("test",))
    assert list(parsing.splits) == ["test"]
    assert active(parsing.splits["test"], 0)
    with pytest.raises(InputError, match=r"AVVP_val_pd\.csv: no such file"):
        folder.load(splits=("val", "test"))


def test_oddities_of_all_tables_are_logged_once(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.table("AVVP_train.csv", WEAK, "AAAAAAAAAAA_0_10\tSpeech,Speech", "holiday_video_1")
    folder.table(
        "AVVP_eval_visual.csv",
        DENSE,
        "CCCCCCCCCCC_5_15\t3\t12\tSpeech",
        "BBBBBBBBBBB_101.8_111.8\t5\t6\tCar",
        "elsewhere\t1\t1\tSpeech",
    )
    with caplog.at_level(logging.WARNING):
        folder.load()
    assert caplog.messages == [
        f"1 x {folder.root}/data/AVVP_{message}"
        for message in (
            "eval_visual.csv: rows that reach past the end (cut off), such as 'CCCCCCCCCCC_5_15' in line 2",
            f"eval_visual.csv: rows that start where they end ({INCLUSIVE}), such as 'elsewhere' in line 4",
            "eval_visual.csv: videos that are not listed (ignored), such as 'elsewhere' in line 4",
            "train.csv: rows with an event named twice (counted once), such as 'AAAAAAAAAAA_0_10' in line 2",
            "train.csv: videos without any event, such as 'holiday_video_1' in line 3",
            "val_pd.csv: evaluated videos whose weak labels differ from their annotation (both kept), such as "
            "'BBBBBBBBBBB_101.8_111.8' in line 2",
        )
    ]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("BjCEufrlXm4_20_30", "BjCEufrlXm4"),
        ("AP0061o0Nvk_101.8_111.8", "AP0061o0Nvk"),
        ("-_a_b_c_d___0_10", "-_a_b_c_d__"),
        ("holiday_video_1", "holiday_video_1"),
        ("twelve_chars_20_30", "twelve_chars_20_30"),
        ("ten_chars__20_30", "ten_chars__20_30"),
        ("BjCEufrlXm4", "BjCEufrlXm4"),
        ("BjCEufrlXm4_20", "BjCEufrlXm4_20"),
        ("BjCEufrlXm4_20_30_40", "BjCEufrlXm4_20_30_40"),
        ("BjCEufrlXm4_20_30.mp4", "BjCEufrlXm4_20_30.mp4"),
        ("...", "..."),
        ("ein Föhn", "ein Föhn"),
    ],
)
def test_feature_keys(name: str, key: str) -> None:
    assert feature_key(name) == key


@pytest.mark.parametrize("name", ["../../x", "a/b", "/etc/passwd", "a\\b", ".", "..", "a\0b", "../aaaaaaaa_20_30"])
def test_names_must_not_lead_out_of_the_folder(folder: Folder, name: str) -> None:
    with pytest.raises(InputError, match="must not contain a path"):
        feature_key(name)
    folder.table("AVVP_val_pd.csv", WEAK, f"{name}\tDog")
    with pytest.raises(InputError, match=r"must not contain a path|is no name of a video"):
        folder.load()


def test_two_names_of_one_key_in_one_split(folder: Folder) -> None:
    folder.table("AVVP_val_pd.csv", WEAK, "BBBBBBBBBBB_0_10\tDog", "BBBBBBBBBBB_10_20\tDog")
    with pytest.raises(InputError, match=r"AVVP_val_pd\.csv: 'BBBBBBBBBBB_10_20' and 'BBBBBBBBBBB_0_10' .*BBBB\.npy"):
        folder.load()


@pytest.mark.parametrize("name", ["AAAAAAAAAAA_30_40", "AAAAAAAAAAA_0_10", "AAAAAAAAAAA"])
def test_two_names_of_one_key_in_two_splits(folder: Folder, name: str) -> None:
    folder.table("AVVP_test_pd.csv", WEAK, f"{name}\tDog")
    with pytest.raises(InputError, match=rf"AVVP_test_pd\.csv: '{name}' and 'AAAAAAAAAAA_0_10' are both"):
        folder.load()
    folder.load(splits=("val", "test"), truth_required=False)  # nothing is annotated under this name


@pytest.mark.parametrize("root", ["nowhere", "llp/data"])
def test_no_folder(folder: Folder, root: str) -> None:
    path = folder.root.parent / root
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*set data.root"):
        folder.load(root=path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("in_array", [True, False])
def test_features_are_never_unpickled(folder: Folder, in_array: bool) -> None:
    path, harm = folder.feature("sound", "BBBBBBBBBBB"), folder.root / "harm"
    if in_array:
        np.save(path, np.array([Bomb(harm)], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Bomb(harm)))
    with pytest.raises(InputError, match=re.escape(str(path))):
        folder.load()
    assert not harm.exists()
    np.load(path, allow_pickle=True)
    assert harm.exists()  # so the bomb is live


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, rows=np.ones((10, 5), dtype=np.float32))


def truncated(keep: int, write: Callable[[Path], None] | None = None) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        if write is not None:
            write(path)
        path.write_bytes(path.read_bytes()[:keep])

    return damage


def replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return damage


def spoiled(value: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        rows = np.load(path)
        rows[6, 3] = value
        np.save(path, rows)

    return damage


def holding(rows: npt.NDArray[Any]) -> Callable[[Path], None]:
    return lambda path: np.save(path, rows)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def deep_header() -> bytes:
    return b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"-" * 8999 + b"\n"


WHOLE = "not a complete .npy file"
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "no such file, but '.*' is listed"),
    "folder": (folder_instead, WHOLE),
    "empty": (truncated(0), WHOLE),
    "text": (lambda path: path.write_text("filename\n"), WHOLE),
    "magic cut": (truncated(3), WHOLE),
    "header cut": (truncated(40), WHOLE),
    "rows cut": (truncated(-1), WHOLE),
    "header unclosed": (replaced(b"}", b" "), ""),
    "header of another type": (replaced(b" 'fortran_order'", b"b'fortran_order'"), ""),
    "header too large": (replaced(b"(10, 5), }          ", b"(9000000000000, 5),}"), ""),
    "header of nothing": (replaced(b"'<f4'", b"()   "), WHOLE),
    "header too deep": (lambda path: path.write_bytes(deep_header()), WHOLE),
    "rows negative": (replaced(b"(10, 5)", b"(-10,5)"), r"shape \[-10, 5\]; it must have two axes"),
    "version 9": (replaced(b"NUMPY\x01", b"NUMPY\x09"), WHOLE),
    "npz": (npz, ""),
    "npz cut": (truncated(60, npz), ""),
    "1-D": (holding(np.ones(10)), r"shape \[10\]; it must have two axes"),
    "scalar": (holding(np.array(1.0)), r"shape \[\]; it must have two axes"),
    "3-D": (holding(np.ones((1, 10, 5))), r"shape \[1, 10, 5\]; it must have two axes"),
    "11 rows": (holding(np.ones((11, 5))), r"shape \[11, 5\]; it must have n x 10 rows .* or fewer than 10 rows"),
    "transposed": (holding(np.ones((5, 10))), "has 10 columns, but other files of this stream have 5"),
    "no rows": (holding(np.ones((0, 5))), r"shape \[0, 5\]; it must have .* at least one row"),
    "no columns": (holding(np.ones((10, 0))), r"shape \[10, 0\]; it must have .* at least one column"),
    "int64": (holding(np.ones((10, 5), dtype=np.int64)), "contains int64 values"),
    "uint8": (holding(np.ones((10, 5), dtype=np.uint8)), "contains uint8 values"),
    "bool": (holding(np.ones((10, 5), dtype=np.bool_)), "contains bool values"),
    "complex": (holding(np.ones((10, 5), dtype=np.complex64)), "contains complex64 values"),
    "words": (holding(np.full((10, 5), "1.0")), "contains <U3 values"),
    "NaN": (spoiled(np.nan), "NaN or infinite"),
    "inf": (spoiled(np.inf), "NaN or infinite"),
    "-inf": (spoiled(-np.inf), "NaN or infinite"),
}


@pytest.mark.parametrize("key", ["AAAAAAAAAAA", "holiday_video_1", "CCCCCCCCCCC"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_feature_file_is_named(folder: Folder, key: str, damage: str) -> None:
    path = folder.feature("sound", key)
    do_damage, said = DAMAGES[damage]
    do_damage(path)
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + said):
        folder.load()


def test_one_nan_among_the_rows_of_a_segment_is_found(folder: Folder) -> None:
    spoiled(np.nan)(folder.feature("frames", "holiday_video_1"))
    with pytest.raises(InputError, match=r"frames/holiday_video_1\.npy: contains NaN"):
        folder.load()


@pytest.mark.parametrize("key", ["holiday_video_1", "BBBBBBBBBBB", "CCCCCCCCCCC"])
@pytest.mark.parametrize("dim", [1, 4, 6])
def test_a_stream_has_one_dimension_in_all_splits(folder: Folder, key: str, dim: int) -> None:
    folder.save("sound", key, np.ones((10, dim)))
    with pytest.raises(
        InputError, match=rf"sound/{key}\.npy: has {dim} columns, but other files of this stream have 5"
    ):
        folder.load()


def of_length(folder: Folder, lengths: dict[str, int], frames: int = 8) -> None:
    """Let the videos of the folder have these numbers of segments; frames have 8 rows for each."""
    rng = np.random.default_rng(2)
    for key, length in lengths.items():
        for stream, (_, columns) in SHAPES.items():
            rows = length * (frames if stream == "frames" else 1)
            folder.save(stream, key, rng.standard_normal((rows, columns)).astype(np.float32))


SHORTER = {"AAAAAAAAAAA": 5, "holiday_video_1": 10, "BBBBBBBBBBB": 1, "CCCCCCCCCCC": 7}


def test_shorter_videos(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    of_length(folder, SHORTER)
    with caplog.at_level(logging.INFO):
        parsing = folder.load(rows_per_segment={"frames": 8})
    assert "2 train, 1 val, 1 test videos, 25 events of 1 to 10 segments" in caplog.text
    lengths = {name: videos.lengths.tolist() for name, videos in parsing.splits.items()}
    assert lengths == {"train": [5, 10], "val": [1], "test": [7]}
    assert parsing.train is not None
    rows = {key: np.load(folder.feature("frames", key)) for key in SHORTER}
    assert parsing.train.streams["frames"].shape == (15, 4)
    for segment, row, key in ((0, 0, "AAAAAAAAAAA"), (4, 32, "AAAAAAAAAAA"), (5, 0, "holiday_video_1")):
        expected = rows[key][row : row + 8].mean(axis=0)
        np.testing.assert_allclose(parsing.train.streams["frames"][segment], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        parsing.train.streams["sound"],
        np.concatenate([np.load(folder.feature("sound", key)) for key in ("AAAAAAAAAAA", "holiday_video_1")]),
    )


def test_streams_of_one_row_a_segment_need_no_setting(folder: Folder) -> None:
    of_length(folder, SHORTER, frames=1)
    with_setting = folder.load(rows_per_segment={"frames": 1, "sound": 1, "motion": 1})
    parsing = folder.load()
    assert parsing.train is not None
    assert with_setting.train is not None
    assert parsing.train.lengths.tolist() == with_setting.train.lengths.tolist() == [5, 10]
    for stream, loaded in parsing.train.streams.items():
        assert torch.equal(loaded, with_setting.train.streams[stream])


def test_annotation_is_cut_at_the_length_of_its_video(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """CCCCCCCCCCC has 7 segments: speech from 3 to 10 is cut at 7, and what begins at 8 is ignored."""
    of_length(folder, SHORTER)
    clapping = ["CCCCCCCCCCC_5_15\t2\t4\tClapping", "CCCCCCCCCCC_5_15\t8\t9\tClapping"]
    folder.table("AVVP_eval_audio.csv", DENSE, *clapping, "BBBBBBBBBBB_101.8_111.8\t0\t1\tDog")
    for modality in ("audio", "visual"):
        folder.table(f"AVVP_train_hidden_{modality}.csv", DENSE, "AAAAAAAAAAA_0_10\t4\t6\tDog")
    parsing = folder.load(rows_per_segment={"frames": 8})
    assert active(parsing.test, 0) == {(2, 0, "Clapping"), (3, 0, "Clapping")} | {(t, 1, "Speech") for t in range(3, 7)}
    assert active(parsing.train, 0) == {(4, 0, "Dog"), (4, 1, "Dog")}
    assert active(parsing.train, 1) == set()
    places = {
        "AVVP_eval_audio.csv": "'CCCCCCCCCCC_5_15' in line 3",
        "AVVP_eval_visual.csv": "'CCCCCCCCCCC_5_15' in line 2",
        "AVVP_train_hidden_audio.csv": "'AAAAAAAAAAA_0_10' in line 2",
        "AVVP_train_hidden_visual.csv": "'AAAAAAAAAAA_0_10' in line 2",
    }
    assert {message for message in caplog.messages if "past the end" in message} == {
        f"1 x {folder.root}/data/{table}: rows that reach past the end (cut off), such as {place}"
        for table, place in places.items()
    }


def test_prepare_counts_what_reaches_past_the_end_of_a_shorter_video(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    of_length(folder, SHORTER)
    packed = folder.root / "packed"
    index = LLPFolder(folder.root, MODALITIES, 10, 1.0, packed, "float32", {"frames": 8}).pack()
    assert index.lengths == (5, 10, 1, 7)
    assert [message for message in caplog.messages if "past the end" in message] == [
        f"1 x {folder.root}/data/AVVP_eval_visual.csv: rows that reach past the end (cut off), such as "
        "'CCCCCCCCCCC_5_15' in line 2"
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_streams_of_a_video_must_have_one_length(folder: Folder, packed: bool) -> None:
    folder.save("motion", "BBBBBBBBBBB", np.ones((9, 3)))
    said = (
        r"'BBBBBBBBBBB_101\.8_111\.8': the streams of this video have different lengths: sound has 10 segments "
        r"\(10 rows\), frames has 10 segments \(80 rows\), motion has 9 segments \(9 rows\); extract it again, .*"
        r"data\.rows_per_segment"
    )
    packing = LLPFolder(folder.root, MODALITIES, 10, 1.0, folder.root / "packed", "float32").pack
    with pytest.raises(InputError, match=said):
        (packing if packed else folder.load)()
    assert len(folder.load(modalities={"audio": ["sound"], "visual": ["frames"]}).splits) == 3


def test_annotation_must_name_the_videos_of_every_split(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """A table of other videos would leave every video without events, and so make an empty prediction perfect."""
    here, other = "BBBBBBBBBBB_101.8_111.8\t0\t1\tDog", "CCCCCCCCCCC_5_15.mp4\t3\t10\tSpeech"
    folder.table("AVVP_eval_visual.csv", DENSE, other)
    said = (
        r"AVVP_eval_visual\.csv: names none of the 2 listed videos: it has 'CCCCCCCCCCC_5_15\.mp4' in line 2, and "
        r".*AVVP_test_pd\.csv has 'CCCCCCCCCCC_5_15' in line 2"
    )
    packing = LLPFolder(folder.root, MODALITIES, 10, 1.0, folder.root / "packed", "float32").pack
    for read in (folder.load, packing, lambda: folder.load(splits=("val",)), lambda: folder.load(splits=("test",))):
        with pytest.raises(InputError, match=said):
            read()
    # predicting needs no annotation
    parsing = folder.load(splits=("test",), truth_required=False)
    assert parsing.test is not None
    assert parsing.test.truth is None
    assert any(re.match("the annotation is ignored: .*" + said, message) for message in caplog.messages)

    folder.table("AVVP_eval_visual.csv", DENSE, here, other)
    folder.table("AVVP_eval_audio.csv", DENSE, here)
    for splits in (("train", "val", "test"), ("val",)):  # the table is of both splits
        with pytest.raises(InputError, match="1 of its 2 videos would be listed under another name"):
            folder.load(splits=splits)


def test_a_table_may_name_the_videos_of_one_evaluated_split_only(folder: Folder) -> None:
    """Nothing is seen in the validation videos, and the table of what is seen names test videos only."""
    assert active(folder.load(splits=("val",)).val, 0) == {(0, 0, "Dog")}


def test_listed_videos_without_annotation_are_counted(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.table("AVVP_val_pd.csv", WEAK, "BBBBBBBBBBB_101.8_111.8\tDog", "DDDDDDDDDDD_0_10", "EEEEEEEEEEE_0_10")
    for stream, shape in SHAPES.items():
        for key in ("DDDDDDDDDDD", "EEEEEEEEEEE"):
            folder.save(stream, key, np.ones(shape, dtype=np.float32))
    kind = "listed videos without any annotation (no event counts as true)"
    folder.load(splits=("val",))
    assert f"2 x {folder.root}/data/AVVP_val_pd.csv: {kind}, such as 'DDDDDDDDDDD_0_10' in line 3" in caplog.messages
    # a row without times and events says that nothing occurs
    rows = ["BBBBBBBBBBB_101.8_111.8\t0\t1\tDog", "DDDDDDDDDDD_0_10\t\t\t", "EEEEEEEEEEE_0_10\t\t\t"]
    folder.table("AVVP_eval_audio.csv", DENSE, *rows)
    caplog.clear()
    val = folder.load(splits=("val",)).val
    assert not any(kind in message for message in caplog.messages)
    assert [active(val, video) for video in range(3)] == [{(0, 0, "Dog")}, set(), set()]


def test_hidden_annotation_must_name_training_videos(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    for modality in ("audio", "visual"):
        folder.table(f"AVVP_train_hidden_{modality}.csv", DENSE, "aaaaaaaaaaa_0_10\t4\t6\tDog")
    said = (
        r"hidden_audio\.csv: names none of the 2 listed videos: it has 'aaaaaaaaaaa_0_10' in line 2, and .*_train\.csv"
    )
    with pytest.raises(InputError, match=said):
        folder.load()
    folder.table("AVVP_train_hidden_audio.csv", DENSE, "AAAAAAAAAAA_0_10\t4\t6\tDog")
    folder.table("AVVP_train_hidden_visual.csv", DENSE)
    folder.load()
    assert any("AVVP_train.csv: listed videos without any annotation" in message for message in caplog.messages)


DECOMPOSED = "Cafe\N{COMBINING ACUTE ACCENT}_1"
COMPOSED = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}_1"


@pytest.mark.parametrize("listed", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("annotated", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
def test_composed_and_decomposed_unicode_are_the_same_name(
    folder: Folder, listed: str, annotated: str, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.table("AVVP_val_pd.csv", WEAK, f"{listed}\tDog")
    folder.table("AVVP_eval_audio.csv", DENSE, f"{annotated}\t0\t1\tDog")
    for stream in SHAPES:
        folder.feature(stream, "BBBBBBBBBBB").rename(folder.feature(stream, stored))
    parsing = folder.load()
    assert parsing.val is not None
    assert parsing.val.names == (COMPOSED,)
    assert active(parsing.val, 0) == {(0, 0, "Dog")}
    store = LLPFolder(folder.root, MODALITIES, 10, 1.0, folder.root / "packed", "float32")
    store.pack()
    packed = folder.load(packed=folder.root / "packed").val
    assert packed is not None
    assert torch.equal(packed.streams["sound"], parsing.val.streams["sound"])
    assert "another size or time" not in caplog.text


def test_two_files_of_one_name_in_two_spellings(folder: Folder) -> None:
    folder.table("AVVP_val_pd.csv", WEAK, f"{COMPOSED}\tDog")
    for name in (COMPOSED, DECOMPOSED):
        folder.save("sound", name, np.ones(SHAPES["sound"], dtype=np.float32))
    if len(list((folder.root / "feats" / "sound").glob("Caf*"))) < 2:
        pytest.skip("this disk itself takes both spellings for one name")
    with pytest.raises(
        InputError, match=r"feats/sound: two files are called 'Caf\w_1\.npy', one in composed and one in"
    ):
        folder.load(splits=("val",), truth_required=False)


def test_events_with_commas_in_weak_labels(folder: Folder) -> None:
    folder.table("classes.txt", "Dog", "Male speech, man speaking", '"Fire engine, fire truck (siren)"')
    folder.table(
        "AVVP_train.csv",
        WEAK,
        "AAAAAAAAAAA_0_10\tMale speech, man speaking,Dog",
        'holiday_video_1\t"Dog,Fire engine,  fire truck (siren)"',
    )
    folder.table("AVVP_val_pd.csv", WEAK, "BBBBBBBBBBB_101.8_111.8\tDog")
    folder.table("AVVP_eval_audio.csv", DENSE, "BBBBBBBBBBB_101.8_111.8\t0\t1\tMale speech, man speaking")
    folder.table("AVVP_eval_visual.csv", DENSE)
    parsing = folder.load(splits=("train", "val"))
    assert parsing.events == ("Dog", "Male speech, man speaking", "Fire engine, fire truck (siren)")
    assert parsing.train is not None
    assert parsing.train.weak_labels.tolist() == [[1, 1, 0], [1, 0, 1]]
    assert parsing.val is not None
    assert parsing.val.truth is not None
    assert parsing.val.truth.sum(dim=(0, 1)).tolist() == [0, 1, 0]


def test_a_setting_for_an_unknown_stream(folder: Folder) -> None:
    with pytest.raises(
        InputError, match=r"rows_per_segment: 'frame' is not one of the streams .*motion\. Did you mean 'frames'\?"
    ):
        folder.load(rows_per_segment={"frame": 8})
    with pytest.raises(InputError, match=r"data\.rows_per_segment\.frames: 0 is not possible; it must be at least 1"):
        folder.load(rows_per_segment={"frames": 0})
    assert folder.load(rows_per_segment={"frames": None}).train is not None


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_vocabulary_of_a_scoring(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    videos = write_lines(tmp_path / "data" / "videos.csv", WEAK)
    known = write_lines(tmp_path / "known.csv", DENSE, "v\t0\t1\tDog")
    more = write_lines(tmp_path / "more.csv", DENSE, "v\t0\t1\tOwl", "v\t0\t1\tDog", "w\t0\t1\tBee")
    classes = write_lines(tmp_path / "mine.txt", "Zebra", "Dog")

    assert vocabulary(None, videos, [known, known]) == LLP_EVENTS
    assert vocabulary(None, videos, [write_lines(tmp_path / "empty.csv", DENSE)]) == LLP_EVENTS
    assert vocabulary(None, videos, [known, more]) == ("Bee", "Dog", "Owl")
    assert vocabulary(None, videos, [known], [more]) == LLP_EVENTS
    assert vocabulary(None, videos, [more], [known, write_lines(tmp_path / "p.csv", DENSE, "v\t0\t1\tAnt")]) == (
        "Ant",
        "Bee",
        "Dog",
        "Owl",
    )
    assert vocabulary(str(classes), videos, [more]) == ("Zebra", "Dog")
    write_lines(videos.parent / "classes.txt", "Owl", "Bee", "Dog")
    assert vocabulary(None, videos, [more]) == ("Owl", "Bee", "Dog")
    assert vocabulary(str(classes), videos, [more]) == ("Zebra", "Dog")
    with pytest.raises(InputError, match="no such file"):
        vocabulary(str(tmp_path / "none.txt"), videos, [more])


def rows_of(table: str) -> list[dict[str, str]]:
    with (REAL_TABLES / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def paint(table: str, names: Sequence[str], odd: Counter[tuple[str, str]]) -> npt.NDArray[np.bool_]:
    """[N, C, 10] by the loop of the public code, counting what is odd on the way."""
    painted: dict[str, npt.NDArray[np.bool_]] = {}
    for row in rows_of(table):
        truth = painted.setdefault(row["filename"], np.zeros((25, 10), dtype=bool))
        onset, offset = int(float(row["onset"])), int(float(row["offset"]))
        here = truth[LLP_EVENTS.index(row["event_labels"]), onset:offset]
        odd[table, "start where they end"] += onset == offset
        odd[table, "end before they start"] += onset > offset
        odd[table, "overlap another"] += any(here)
        sides = [*truth[LLP_EVENTS.index(row["event_labels"]), max(0, onset - 1) : onset]]
        sides += [*truth[LLP_EVENTS.index(row["event_labels"]), offset : offset + 1]]
        odd[table, "adjoin another"] += onset < offset and any(sides) and not any(here)
        odd[table, "past the end"] += offset > 10
        odd[table, "truncated"] += float(row["onset"]) != onset or float(row["offset"]) != offset
        here[:] = True
    odd[table, "not listed"] = len(painted.keys() - set(names))
    return np.stack([painted.get(name, np.zeros((25, 10), dtype=bool)) for name in names])


@pytest.mark.skipif(not REAL_TABLES.is_dir(), reason=f"needs the tables of LLP in {REAL_TABLES}")
def test_the_real_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tables = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
    listed = {split: rows_of(table) for split, table in tables.items()}
    odd: Counter[tuple[str, str]] = Counter()
    weak = {split: np.zeros((len(rows), 25)) for split, rows in listed.items()}
    for split, rows in listed.items():
        for number, row in enumerate(rows):
            named = row["event_labels"].split(",")
            odd[tables[split], "named twice"] += len(set(named)) < len(named)
            for event in named:
                weak[split][number, LLP_EVENTS.index(event)] = 1
    evaluated = [row["filename"] for split in ("val", "test") for row in listed[split]]
    truth = np.stack([paint(f"AVVP_eval_{m}.csv", evaluated, odd) for m in ("audio", "visual")], axis=1)  # [N, M, C, T]
    dense = truth.any(axis=(1, 3))
    differing = (dense != np.concatenate([weak["val"], weak["test"]])).any(axis=1)
    odd[tables["val"], "weak labels differ"] = int(differing[: len(weak["val"])].sum())
    odd[tables["test"], "weak labels differ"] = int(differing[len(weak["val"]) :].sum())

    root = tmp_path / "llp"
    (root / "data").mkdir(parents=True)
    for path in REAL_TABLES.iterdir():
        (root / "data" / path.name).symlink_to(path)
    for stream, shape in (("vggish", (10, 2)), ("res152", (80, 3))):
        (root / "feats" / stream).mkdir(parents=True)
        np.save(tmp_path / f"{stream}.npy", np.ones(shape, dtype=np.float32))
        for rows in listed.values():
            for row in rows:
                key = row["filename"][:11]
                os.link(tmp_path / f"{stream}.npy", root / "feats" / stream / f"{key}.npy")
    with caplog.at_level(logging.WARNING):
        parsing = load_llp(root, {"audio": ["vggish"], "visual": ["res152"]})

    assert {split: len(videos) for split, videos in parsing.splits.items()} == {
        "train": 10000,
        "val": 649,
        "test": 1200,
    }
    assert len(parsing.events) == 25
    assert parsing.stream_dims == {"vggish": 2, "res152": 3}
    for split, videos in parsing.splits.items():
        assert videos.names == tuple(row["filename"] for row in listed[split])
        np.testing.assert_array_equal(videos.weak_labels, weak[split])
        assert all((stream == 1).all() for stream in videos.streams.values())
    assert parsing.train is not None
    assert parsing.train.truth is None
    loaded = torch.cat([videos.truth for videos in (parsing.val, parsing.test) if videos and videos.truth is not None])
    np.testing.assert_array_equal(loaded, truth.transpose(0, 3, 1, 2).reshape(-1, 2, 25))

    expected = {kind: count for kind, count in odd.items() if count}
    assert expected
    assert len(caplog.messages) == len(expected)
    for (table, words), count in expected.items():
        [message] = [message for message in caplog.messages if table in message and words in message]
        assert message.startswith(f"{count} x ")
