"""The packed store: what it serves, when it is renewed, and that nothing half-written or foreign is ever believed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avvp_pl.data import store as store_module
from avvp_pl.data.features import in_parallel, read_bytes
from avvp_pl.data.llp import LLPFolder, load_llp
from avvp_pl.data.store import Index, PackedStream, Source
from avvp_pl.errors import InputError

MODALITIES = {"audio": ["sound"], "visual": ["frames"]}
SHAPES = {"sound": (10, 5), "frames": (40, 3)}
SPLITS = {"train": ["t1", "t2", "t3"], "val": ["v1"], "test": ["x1", "x2"]}
TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
REPOSITORY = Path(__file__).resolve().parents[2]

Features = dict[str, dict[str, torch.Tensor]]


@dataclass
class Data:
    """A small LLP folder and its packed store."""

    root: Path
    dtype: str = "float32"
    modalities: dict[str, list[str]] = field(default_factory=lambda: dict(MODALITIES))
    rows_per_segment: dict[str, int] = field(default_factory=dict)
    segments: int = 10

    @property
    def packed(self) -> Path:
        return self.root / "packed"

    @property
    def index(self) -> Any:
        return json.loads((self.packed / "index.json").read_text())

    def list_videos(self, split: str, names: list[str]) -> None:
        lines = ["filename\tevent_labels", *(f"{name}\tSpeech" for name in names)]
        (self.root / "data" / TABLES[split]).write_text("\n".join(lines) + "\n")

    def path(self, stream: str, name: str) -> Path:
        return self.root / "feats" / stream / f"{name}.npy"

    def save(self, stream: str, name: str, rows: npt.NDArray[Any]) -> None:
        """Write a file that is surely newer, however coarse the clock of the file system."""
        path = self.path(stream, name)
        before = path.stat().st_mtime_ns if path.exists() else 0
        np.save(path, rows)
        later = max(path.stat().st_mtime_ns, before + 1_000_000_000)
        os.utime(path, ns=(later, later))

    def pack(self) -> Index:
        rows = self.rows_per_segment
        return LLPFolder(self.root, self.modalities, self.segments, 1.0, self.packed, self.dtype, rows).pack()

    def load(self, packed: bool = True, **options: Any) -> Features:
        given = {"dtype": self.dtype, "segments": self.segments, "rows_per_segment": self.rows_per_segment, **options}
        parsing = load_llp(self.root, self.modalities, packed=self.packed if packed else None, **given)
        return {split: videos.streams for split, videos in parsing.splits.items()}

    def expected(self, names: dict[str, list[str]]) -> Features:
        """By a plain loop over the files."""
        streams = [stream for streams in self.modalities.values() for stream in streams]
        return {
            split: {stream: torch.cat([self._pooled(stream, name) for name in listed]) for stream in streams}
            for split, listed in names.items()
        }

    def _pooled(self, stream: str, name: str) -> torch.Tensor:
        rows = torch.from_numpy(np.load(self.path(stream, name)))
        n = self.rows_per_segment.get(stream) or max(1, len(rows) // self.segments)
        means = [sum(rows[t * n + i].double() for i in range(n)) / n for t in range(len(rows) // n)]
        return torch.stack([torch.as_tensor(mean) for mean in means]).to(getattr(torch, self.dtype))


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return make(tmp_path / "llp")


def make(root: Path) -> Data:
    made = Data(root)
    (root / "data").mkdir(parents=True)
    for split, names in SPLITS.items():
        made.list_videos(split, names)
    for modality in MODALITIES:
        (root / "data" / f"AVVP_eval_{modality}.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    rng = np.random.default_rng(0)
    for stream, shape in SHAPES.items():
        (root / "feats" / stream).mkdir(parents=True)
        for names in SPLITS.values():
            for name in names:
                # small whole numbers: means of four are exact in every dtype, so all comparisons below are of bits
                made.save(stream, name, rng.integers(-30, 30, shape).astype(np.float32))
    return made


def same(one: Features, other: Features) -> bool:
    return one.keys() == other.keys() and all(
        one[split].keys() == other[split].keys()
        and all(torch.equal(one[split][stream], other[split][stream]) for stream in one[split])
        for split in one
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos whose files the store has read, sorted by the caller if it cares."""
    seen: list[str] = []

    def counting(path: Path, name: str) -> tuple[os.stat_result, bytes]:
        seen.append(f"{path.parent.name}/{name}")
        return read_bytes(path, name)

    monkeypatch.setattr(store_module, "read_bytes", counting)
    return seen


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was logged since the last call."""
    caplog.set_level(logging.INFO)

    def take() -> str:
        text = "\n".join(caplog.messages)
        caplog.clear()
        return text

    return take


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_packed_features_are_those_of_the_files_bit_for_bit(
    data: Data, dtype: str, reads: list[str], logged: Callable[[], str]
) -> None:
    data.dtype = dtype
    without = data.load()
    assert "avvp_pl.prepare packs them" in logged()
    assert not data.packed.exists()
    assert same(without, data.expected(SPLITS))

    data.pack()
    reads.clear()
    loaded = data.load()
    assert f"{data.packed}: the packed features are used (sound, frames, {dtype})" in logged()
    assert not reads
    assert same(loaded, without)
    assert {stream.dtype for streams in loaded.values() for stream in streams.values()} == {getattr(torch, dtype)}
    sizes = sum(path.stat().st_size for path in data.packed.glob("*.bin"))
    assert sizes == 6 * 10 * (5 + 3) * (4 if dtype == "float32" else 2)


def test_odd_values_are_rounded_alike_with_and_without(data: Data) -> None:
    rng = np.random.default_rng(1)
    for dtype in ("float32", "float16", "bfloat16"):
        data.dtype = dtype
        data.save("frames", "t2", rng.standard_normal((80, 3)))
        without = data.load(packed=False)
        data.pack()
        assert same(data.load(), without)


def test_a_network_gets_float32_whatever_is_held(data: Data) -> None:
    data.dtype = "bfloat16"
    data.pack()
    parsing = load_llp(data.root, MODALITIES, packed=data.packed, dtype="bfloat16")
    batch = parsing.splits["train"][torch.tensor([2, 0])]
    for stream, features in batch.features_in.items():
        assert features.dtype == torch.float32
        stored = parsing.splits["train"].streams[stream]
        assert torch.equal(features, torch.stack([stored[20:30], stored[:10]]).float())


def test_what_is_written_to_a_loaded_tensor_stays_in_this_process(data: Data) -> None:
    data.pack()
    files = {path: path.read_bytes() for path in data.packed.glob("*.bin")}
    loaded = data.load()
    loaded["train"]["sound"][:] = 7
    assert {path: path.read_bytes() for path in files} == files
    assert same(data.load(), data.expected(SPLITS))


@pytest.mark.parametrize("splits", [["test"], ["val", "test"], ["test", "train"]])
def test_some_splits_alone(data: Data, splits: list[str], reads: list[str]) -> None:
    data.pack()
    reads.clear()
    assert same(data.load(splits=splits), data.expected({split: SPLITS[split] for split in splits}))
    assert not reads


def test_a_change_elsewhere_does_not_concern_a_split(data: Data, reads: list[str]) -> None:
    data.pack()
    data.save("sound", "t1", np.ones((10, 5)))
    reads.clear()
    data.load(splits=["test"])
    assert not reads
    data.save("sound", "x1", np.ones((10, 5)))
    assert same(data.load(splits=["test"]), data.expected({"test": SPLITS["test"]}))
    assert len(data.index["names"]) == 6  # renewed for all splits
    assert same(data.load(), data.expected(SPLITS))


def test_packing_again_reads_every_file_and_writes_nothing(
    data: Data, reads: list[str], logged: Callable[[], str]
) -> None:
    made = data.pack()
    before = {path: path.stat().st_mtime_ns for path in data.packed.iterdir()}
    reads.clear()
    logged()
    assert data.pack() == made
    assert "the features are already packed, and no file has changed" in logged()
    assert sorted(reads) == sorted(
        f"{stream}/{name}" for stream in SHAPES for names in SPLITS.values() for name in names
    )
    assert {path: path.stat().st_mtime_ns for path in data.packed.iterdir()} == before


def replace_unnoticed(path: Path, rows: npt.NDArray[Any]) -> None:
    """Write other features into a file and leave its size and time as they were, as rsync -t or tar can do."""
    before = path.stat()
    np.save(path, rows)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_prepare_finds_other_features_of_the_same_size_and_time(
    data: Data, reads: list[str], logged: Callable[[], str]
) -> None:
    data.pack()
    old = data.load()
    path = data.path("frames", "t2")
    rows = np.load(path)
    replace_unnoticed(path, rows + 1)
    reads.clear()
    logged()
    assert same(data.load(), old)
    assert not reads
    assert "Only the sizes and times of their files were compared; avvp_pl.prepare reads them all" in logged()
    data.pack()
    assert "frames: 1 files to read, 5 videos kept" in logged()
    assert same(data.load(), data.expected(SPLITS))
    rows[3, 1] = np.nan
    replace_unnoticed(path, rows)
    with pytest.raises(
        InputError, match=r"t2\.npy: contains NaN or infinite values \(1, the first in row 3, column 1\)"
    ):
        data.pack()


def test_only_changed_files_are_read_again(data: Data, reads: list[str], logged: Callable[[], str]) -> None:
    data.pack()
    rows = np.load(data.path("frames", "t2"))
    rows[11, 2] += 4
    data.save("frames", "t2", rows)
    data.save("frames", "x2", np.ones((10, 3)))  # another size
    reads.clear()
    logged()
    data.load()
    assert "frames: 2 files to read, 4 videos kept" in logged()
    # t2 is compared by checksum first, for its size is what it was
    assert sorted(reads) == ["frames/t2", "frames/t2", "frames/x2"]
    reads.clear()
    assert same(data.load(), data.expected(SPLITS))
    assert not reads
    assert len(list(data.packed.glob("*.bin"))) == 2


def test_a_file_that_was_only_touched_is_still_current(data: Data, reads: list[str], logged: Callable[[], str]) -> None:
    data.pack()
    arrays = {path: path.stat().st_mtime_ns for path in data.packed.glob("*.bin")}
    for name in ("t1", "v1"):
        os.utime(data.path("sound", name), ns=(5, 5))
    reads.clear()
    logged()
    assert same(data.load(), data.expected(SPLITS))
    assert "2 files of sound have another size or time" in logged()
    assert sorted(reads) == ["sound/t1", "sound/v1"]
    assert {path: path.stat().st_mtime_ns for path in data.packed.glob("*.bin")} == arrays
    reads.clear()
    data.load()
    assert not reads


@pytest.mark.parametrize(
    ("split", "names"),
    [("train", ["t1", "t2", "t3", "t4"]), ("train", ["t3", "t1"]), ("test", ["x2", "x1"]), ("val", ["t4"])],
)
def test_other_videos_in_the_tables(data: Data, split: str, names: list[str], reads: list[str]) -> None:
    data.pack()
    for stream, shape in SHAPES.items():
        data.save(stream, "t4", np.full(shape, 3.0))
    data.list_videos(split, names)
    reads.clear()
    assert same(data.load(), data.expected({**SPLITS, split: names}))
    assert sorted(reads) == (["frames/t4", "sound/t4"] if "t4" in names else [])
    assert data.index["names"] == [name for listed in {**SPLITS, split: names}.values() for name in listed]


@pytest.mark.parametrize("change", [{"segments": 5}, {"dtype": "float16"}])
def test_another_form_is_packed_again(data: Data, change: dict[str, Any], logged: Callable[[], str]) -> None:
    data.pack()
    data.dtype = change.get("dtype", "float32")
    options = {"segments": change.get("segments", 10), "truth_required": False}
    logged()
    loaded = data.load(**options)
    said = logged()
    assert "so they are packed again" in said
    assert "another run with the settings before would pack the features once more" in said  # at every start
    assert "(data.packed=DIR)" in said
    assert same(loaded, data.load(packed=False, **options))


def test_streams_of_another_configuration_are_kept(data: Data, reads: list[str]) -> None:
    data.pack()
    data.modalities = {"audio": ["sound"]}
    data.save("sound", "t1", np.ones((10, 5)))
    data.load(truth_required=False)
    data.modalities = dict(MODALITIES)
    reads.clear()
    assert same(data.load(), data.expected(SPLITS))
    assert not reads


@pytest.mark.parametrize("folder_too", [True, False])
def test_sources_that_were_deleted(data: Data, folder_too: bool, reads: list[str], logged: Callable[[], str]) -> None:
    data.pack()
    expected = data.expected(SPLITS)
    for name in (name for names in SPLITS.values() for name in names):
        data.path("frames", name).unlink()
    if folder_too:
        data.path("frames", "t1").parent.rmdir()
    data.save("sound", "t1", np.ones((10, 5)))
    expected["train"]["sound"][:10] = 1
    reads.clear()
    logged()
    assert same(data.load(), expected)
    assert "frames: the files are gone, so" in logged()
    assert set(reads) == {"sound/t1"}
    data.pack()
    assert same(data.load(), expected)


def test_one_missing_file_is_an_error(data: Data, logged: Callable[[], str]) -> None:
    data.pack()
    before = (data.packed / "index.json").read_bytes()
    data.path("sound", "v1").unlink()
    with pytest.raises(InputError, match=r"sound/v1\.npy: no such file, but 'v1' is listed"):
        data.load()
    assert (data.packed / "index.json").read_bytes() == before


def test_problems_of_a_store_that_cannot_be_renewed_are_said_once(data: Data, caplog: pytest.LogCaptureFixture) -> None:
    data.pack()
    for name in ("t1", "x1"):
        data.path("sound", name).unlink()
    caplog.clear()
    with pytest.raises(InputError, match=r"sound/t1\.npy: no such file"):
        data.load()
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.endswith("so the files are read: 2 problems, listed by avvp_pl.prepare")


def test_all_problems_are_gathered_and_leave_no_store(data: Data) -> None:
    data.path("sound", "t1").write_bytes(b"nothing")
    data.path("sound", "t2").unlink()
    data.save("frames", "v1", np.full((40, 3), np.nan))
    data.save("frames", "x1", np.ones((41, 3)))
    data.save("frames", "x2", np.ones((40, 4)))
    (data.root / "data" / "AVVP_eval_audio.csv").unlink()
    with pytest.raises(InputError) as caught:
        data.pack()
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 problems:"
    for line, words in zip(
        lines[1:],
        ["AVVP_eval_audio.csv: no", "t1.npy: not a complete", "t2.npy: no such", "v1.npy: contains NaN",
         "x1.npy: has shape", "x2.npy: has 4 columns"],
        strict=True,
    ):  # fmt: skip
        assert words in line
    assert [path.name for path in data.packed.iterdir()] == [".lock"]


def test_many_problems_are_counted_and_an_existing_store_is_untouched(data: Data) -> None:
    data.pack()
    before = {path: path.read_bytes() for path in data.packed.iterdir()}
    for stream in SHAPES:
        for name in (name for names in SPLITS.values() for name in names):
            data.path(stream, name).write_bytes(b"")
    with pytest.raises(InputError, match="12 problems") as caught:
        data.pack()
    assert len(str(caught.value).splitlines()) == 1 + 10 + 1
    assert str(caught.value).endswith("... and 2 more")
    assert {path: path.read_bytes() for path in data.packed.iterdir()} == before


def test_names_that_lead_elsewhere_are_one_problem_each(data: Data) -> None:
    data.list_videos("val", ["../v1"])
    data.path("sound", "x1").unlink()
    with pytest.raises(InputError, match="2 problems") as caught:
        data.pack()
    assert "must not contain a path" in str(caught.value)
    assert "x1.npy: no such file" in str(caught.value)


@pytest.mark.parametrize(("dtype", "largest"), [("float16", 70000.0), ("bfloat16", 3.4e38)])
def test_values_too_large_for_a_dtype(data: Data, dtype: str, largest: float) -> None:
    data.save("sound", "v1", np.full((10, 5), largest, dtype=np.float32))
    data.pack()
    data.dtype = dtype
    for read in (data.pack, data.load):
        with pytest.raises(
            InputError, match=rf"v1\.npy: {re.escape(f'{largest:g}')} is too large for {dtype}; set .*float32"
        ):
            read()


def arrays(data: Data) -> list[Path]:
    return sorted(data.packed.glob("*.bin"))


DAMAGES: dict[str, Callable[[Data], object]] = {
    "array cut": lambda data: arrays(data)[0].write_bytes(arrays(data)[0].read_bytes()[:-1]),
    "array empty": lambda data: arrays(data)[1].write_bytes(b""),
    "array longer": lambda data: arrays(data)[0].write_bytes(arrays(data)[0].read_bytes() + b"x"),
    "array gone": lambda data: arrays(data)[1].unlink(),
    "arrays gone": lambda data: list(map(os.unlink, arrays(data))),
    "index gone": lambda data: (data.packed / "index.json").unlink(),
    "index empty": lambda data: (data.packed / "index.json").write_bytes(b""),
    "index cut": lambda data: (data.packed / "index.json").write_bytes((data.packed / "index.json").read_bytes()[:-9]),
    "index no text": lambda data: (data.packed / "index.json").write_bytes(bytes(range(256))),
    "index deep": lambda data: (data.packed / "index.json").write_text("[" * 100_000),
    "index number": lambda data: (data.packed / "index.json").write_text("9" * 10_000),
    "all gone": lambda data: shutil.rmtree(data.packed),
}


@pytest.mark.parametrize("renew", [Data.load, Data.pack])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_never_believed(data: Data, damage: str, renew: Callable[[Data], object]) -> None:
    data.pack()
    DAMAGES[damage](data)
    renew(data)
    assert same(data.load(), data.expected(SPLITS))
    for path in arrays(data):
        assert path.stem.endswith(hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest())
    if renew is Data.pack:
        assert len(arrays(data)) == 2


def test_prepare_finds_and_fixes_a_flipped_bit(data: Data, logged: Callable[[], str]) -> None:
    made = data.pack()
    path = arrays(data)[0]
    content = bytearray(path.read_bytes())
    content[77] ^= 4
    path.write_bytes(content)
    logged()
    assert data.pack() == made
    assert "frames: the packed array is damaged" in logged()
    assert same(data.load(), data.expected(SPLITS))


def edit(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(index: Any) -> None:
        for key in keys[:-1]:
            index = index[key]
        index[keys[-1]] = value

    return change


HOSTILE: dict[str, Callable[[Any], None]] = {
    "version": edit("version", value=0),
    "version of another type": edit("version", value=[1]),
    "version 1": edit("version", value=1),
    "lengths swapped": edit("lengths", value=[9, 10, 10, 10, 10, 10]),
    "length missing": lambda index: index["lengths"].pop(),
    "lengths missing": lambda index: index.pop("lengths"),
    "length 0": edit("lengths", 2, value=0),
    "length true": edit("lengths", 2, value=True),
    "length too large": edit("lengths", 2, value=11),
    "lengths no list": edit("lengths", value=10),
    "layout missing": lambda index: index.pop("layout"),
    "layout of other names": edit("layout", value="0" * 32),
    "rows_per_segment": edit("streams", "sound", "rows_per_segment", value=2),
    "rows_per_segment of another type": edit("streams", "sound", "rows_per_segment", value="1"),
    "rows_per_segment missing": lambda index: index["streams"]["sound"].pop("rows_per_segment"),
    "dtype": edit("dtype", value="object"),
    "dtype of another type": edit("dtype", value=["float32"]),
    "segments 0": edit("segments", value=0),
    "segments true": edit("segments", value=True),
    "names no list": edit("names", value="t1t2t3v1x1x2"),
    "names twice": edit("names", 1, value="t1"),
    "no names": edit("names", value=[]),
    "name no string": edit("names", 0, value=None),
    "streams no table": edit("streams", value=[]),
    "stream no table": edit("streams", "sound", value=None),
    "no dim": edit("streams", "sound", "dim", value=None),
    "dim 0": edit("streams", "sound", "dim", value=0),
    "dim huge": edit("streams", "sound", "dim", value=10**30),
    "dim negative": edit("streams", "sound", "dim", value=-5),
    "path as checksum": edit("streams", "sound", "checksum", value="../../outside"),
    "checksum of nothing": edit("streams", "sound", "checksum", value="0" * 32),
    "source cut": edit("streams", "sound", "sources", 0, value=[1, 2]),
    "source of strings": edit("streams", "sound", "sources", 0, value=["1", "2", "3"]),
    "source float": edit("streams", "sound", "sources", 0, 1, value=1e300),
    "source missing": lambda index: index["streams"]["sound"]["sources"].pop(),
    "stream missing": lambda index: index["streams"].pop("sound"),
    "version missing": lambda index: index.pop("version"),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_index_is_never_believed(data: Data, change: str, reads: list[str]) -> None:
    data.pack()
    outside = data.root / "outside.bin"
    outside.write_bytes(b"x")
    index = data.index
    HOSTILE[change](index)
    (data.packed / "index.json").write_text(json.dumps(index))
    reads.clear()
    assert same(data.load(), data.expected(SPLITS))
    assert any(read.startswith("sound/") for read in reads)
    assert outside.read_bytes() == b"x"
    assert Index.from_json((data.packed / "index.json").read_text()).names == tuple(index_names())
    assert len(arrays(data)) == 2


def index_names() -> list[str]:
    return [name for names in SPLITS.values() for name in names]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON, st.lists(st.integers(0, 7), max_size=5))
def test_no_index_breaks_the_reader(value: Any, way: list[int]) -> None:
    """Any value in any place of an index gives an index or one of four errors."""
    checksum = "0123456789abcdef" * 2
    sound = PackedStream(5, checksum, None, (Source(1, 2, checksum),))
    content: Any = json.loads(Index(10, "float32", ("a",), (7,), {"sound": sound}).to_json())
    Index.from_json(json.dumps(content))
    here, inside = content, True
    for step in way:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = keys[step % len(keys)]
        inside = isinstance(here[key], dict | list) and len(here[key]) > 0
        if not inside or step == way[-1]:
            here[key] = value
            break
        here = here[key]
    try:
        Index.from_json(json.dumps(content if way else value))
    except (ValueError, TypeError, KeyError, RecursionError):
        return


def test_an_index_is_read_as_it_was_written(data: Data) -> None:
    made = data.pack()
    assert Index.from_json(made.to_json()) == made


RAGGED = {"t1": 17, "t2": 5, "t3": 40, "v1": 6, "x1": 40, "x2": 23}
THREE = {"audio": ["sound"], "visual": ["frames"], "touch": ["skin"]}
ROWS = {"frames": 4}  # a segment


def make_ragged(root: Path, lengths: dict[str, int]) -> Data:
    """Three modalities, and at most 40 segments."""
    made = make(root)
    made.modalities, made.rows_per_segment, made.segments = dict(THREE), dict(ROWS), 40
    (root / "feats" / "skin").mkdir()
    (root / "data" / "AVVP_eval_touch.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    for name, length in lengths.items():
        save_length(made, name, length)
    return made


def save_length(data: Data, name: str, length: int, streams: str = "sound frames skin") -> None:
    rng = np.random.default_rng(length)
    for stream in streams.split():
        rows, columns = length * data.rows_per_segment.get(stream, 1), {"sound": 5, "frames": 3, "skin": 2}[stream]
        data.save(stream, name, rng.integers(-30, 30, (rows, columns)).astype(np.float32))


@pytest.fixture
def ragged(tmp_path: Path) -> Data:
    return make_ragged(tmp_path / "ragged", RAGGED)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_videos_of_5_to_40_segments_are_the_same_from_files_and_from_the_store(
    ragged: Data, dtype: str, reads: list[str]
) -> None:
    ragged.dtype = dtype
    options: dict[str, Any] = {"dtype": dtype, "segments": 40, "rows_per_segment": ROWS}
    from_files = load_llp(ragged.root, THREE, **options)
    index = ragged.pack()
    assert index.lengths == tuple(RAGGED.values())
    assert sum(path.stat().st_size for path in arrays(ragged)) == 131 * (5 + 3 + 2) * (4 if dtype == "float32" else 2)
    reads.clear()
    packed = load_llp(ragged.root, THREE, packed=ragged.packed, **options)
    assert not reads
    for split, names in SPLITS.items():
        one, other = from_files.splits[split], packed.splits[split]
        assert one.lengths.tolist() == other.lengths.tolist() == [RAGGED[name] for name in names]
        assert one.names == other.names == one.keys == other.keys
        assert same({split: one.streams}, {split: other.streams})
        assert same({split: one.streams}, {split: ragged.expected({split: names})[split]})
        rows = torch.arange(len(names)).flip(0)
        for stream, features in one[rows].features_in.items():
            assert torch.equal(features, other[rows].features_in[stream])


@pytest.mark.parametrize("splits", [["val"], ["test", "train"]])
def test_some_splits_of_a_ragged_store(ragged: Data, splits: list[str], reads: list[str]) -> None:
    ragged.pack()
    reads.clear()
    assert same(ragged.load(splits=splits), ragged.expected({split: SPLITS[split] for split in splits}))
    assert not reads


@pytest.mark.parametrize("renew", [Data.load, Data.pack])
def test_a_store_with_other_lengths_is_renewed(
    ragged: Data, renew: Callable[[Data], object], reads: list[str], logged: Callable[[], str]
) -> None:
    ragged.pack()
    save_length(ragged, "t2", 9)
    save_length(ragged, "x1", 38)
    reads.clear()
    logged()
    renew(ragged)
    assert "frames: 2 files to read, 4 videos kept" in logged()
    compared = list(RAGGED) if renew is Data.pack else []  # except for t2 and x1, which have another size
    assert sorted(reads) == sorted(
        f"{stream}/{name}" for stream in ("frames", "skin", "sound") for name in {*compared, "t2", "x1"}
    )
    reads.clear()
    assert ragged.index["lengths"] == [17, 9, 40, 6, 38, 23]
    assert same(ragged.load(), ragged.expected(SPLITS))
    assert not reads


def test_streams_of_another_configuration_are_dropped_if_the_lengths_change(ragged: Data) -> None:
    ragged.pack()
    ragged.modalities = {"audio": ["sound"], "visual": ["frames"]}
    save_length(ragged, "t2", 9, "sound frames")
    ragged.load(truth_required=False)
    assert ragged.index["streams"].keys() == {"sound", "frames"}
    save_length(ragged, "t2", 9, "skin")
    ragged.modalities = dict(THREE)
    assert same(ragged.load(), ragged.expected(SPLITS))


def test_a_changed_file_must_agree_with_what_is_kept(ragged: Data) -> None:
    ragged.pack()
    before = {path: path.read_bytes() for path in ragged.packed.iterdir()}
    save_length(ragged, "t2", 9, "skin")
    for read in (ragged.pack, ragged.load):
        with pytest.raises(
            InputError,
            match=r"'t2': .* sound has 5 segments \(5 rows\), frames has 5 segments \(20 rows\), skin has 9 segm",
        ):
            read()
    assert {path: path.read_bytes() for path in ragged.packed.iterdir()} == before
    shutil.rmtree(ragged.root / "feats" / "sound")
    with pytest.raises(InputError, match=r"sound has 5 segments \(packed\), frames has 5 segments \(20 rows\)"):
        ragged.pack()


def test_other_rows_per_segment_are_packed_again(ragged: Data, reads: list[str], logged: Callable[[], str]) -> None:
    for name, length in RAGGED.items():
        save_length(ragged, name, length // 4 * 4)
    ragged.pack()
    ragged.modalities, ragged.rows_per_segment = {"visual": ["frames"]}, {"frames": 8}
    reads.clear()
    logged()
    loaded = ragged.load(truth_required=False)
    assert "(rows_per_segment of frames was 4 and is now 8), so they are packed again" in logged()
    assert sorted(reads) == sorted(f"frames/{name}" for name in RAGGED)
    assert ragged.index["lengths"] == [8, 2, 20, 2, 20, 10]
    assert same(loaded, ragged.expected(SPLITS))
    assert ragged.index["streams"].keys() == {"frames"}


def test_wrong_lengths_of_the_right_sum_are_refused(ragged: Data, reads: list[str]) -> None:
    """The arrays fit them, so nothing else would notice."""
    ragged.pack()
    index = ragged.index
    index["lengths"][:2] = [18, 4]
    (ragged.packed / "index.json").write_text(json.dumps(index))
    reads.clear()
    assert same(ragged.load(), ragged.expected(SPLITS))
    assert len(reads) == 3 * 6
    assert ragged.index["lengths"] == list(RAGGED.values())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 40), min_size=6, max_size=6), st.data())
def test_any_lengths_and_then_any_changes(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], changes: st.DataObject
) -> None:
    data = make_ragged(tmp_path_factory.mktemp("any") / "llp", dict(zip(RAGGED, lengths, strict=True)))
    data.pack()
    assert same(data.load(), data.expected(SPLITS))
    for name in changes.draw(st.lists(st.sampled_from(list(RAGGED)), max_size=3)):
        save_length(data, name, changes.draw(st.integers(1, 40)))
    assert same(data.load(), data.expected(SPLITS))
    assert same(data.load(packed=False), data.expected(SPLITS))


KILLED = """
import os, pathlib, signal, sys
from avvp_pl.data.llp import LLPFolder
owner = {"os": os, "Path": pathlib.Path}[sys.argv[2]]
name, left = sys.argv[3], int(sys.argv[4])
original = getattr(owner, name)
def deadly(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(owner, name, deadly)
root = pathlib.Path(sys.argv[1])
modalities = {"audio": ["sound"], "visual": ["frames"]}
LLPFolder(root, modalities, 10, 1.0, root / "packed", "float32").pack()
"""


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("os", "pwrite", 3),  # within the first array
        ("os", "fsync", 2),  # the second array is written, the first is in its place
        ("Path", "replace", 3),  # both are, the index is not
    ],
)
def test_a_killed_build_leaves_no_store_that_reads_as_whole(
    data: Data, stale: bool, owner: str, name: str, call: int, reads: list[str], logged: Callable[[], str]
) -> None:
    if stale:
        data.pack()
        for stream, shape in SHAPES.items():
            for video in index_names():
                data.save(stream, video, np.ones(shape) * len(video))
    before = {path.name for path in data.packed.iterdir()} if stale else set()
    arguments = [sys.executable, "-c", KILLED, str(data.root), owner, name, str(call)]
    assert subprocess.run(arguments, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL

    left = {path.name for path in data.packed.iterdir()} - before - {".lock"}
    assert left  # so it was killed on the way
    assert (data.packed / "index.json").exists() == stale
    logged()
    assert same(data.load(), data.expected(SPLITS))
    assert ("so they are packed again" if stale else "avvp_pl.prepare packs them") in logged()
    data.pack()
    assert same(data.load(), data.expected(SPLITS))
    assert sorted(path.name for path in data.packed.iterdir()) == sorted(
        [".lock", "index.json", *(path.name for path in arrays(data))]
    )
    assert len(arrays(data)) == 2


def test_only_what_is_its_own_is_removed_and_before_space_is_needed(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.packed.mkdir()
    others = ["notes.txt", "model.bin", "x-123.bin", ".hidden.tmp", ".lock"]
    own = [f"sound-{'0' * 32}.bin", ".sound.123.bin", ".index.json.9.tmp"]
    for name in [*others, *own]:
        (data.packed / name).write_bytes(b"x")

    def written(_: int) -> None:
        assert not {path.name for path in data.packed.iterdir()} & set(own)

    monkeypatch.setattr(os, "fsync", written)
    data.pack()
    names = {path.name for path in data.packed.iterdir()}
    assert names >= set(others)
    assert not names & set(own)


def test_one_process_packs_and_the_others_wait_and_find_it_done(data: Data, reads: list[str]) -> None:
    other = Data(data.root.parent / "other")
    shutil.copytree(data.root, other.root)  # with the times of the files
    other.pack()
    reads.clear()
    data.packed.mkdir()
    waiting, handler = threading.Event(), logging.Handler()
    handler.emit = lambda record: waiting.set() if "waiting for it" in record.getMessage() else None  # type: ignore[method-assign]
    logger = logging.getLogger("avvp_pl.data.store")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    late = threading.Thread(target=data.pack)
    try:
        with (data.packed / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            late.start()
            assert waiting.wait(30)
            late.join(0.5)  # it would be done by then
            assert late.is_alive()
            for path in [*arrays(other), other.packed / "index.json"]:
                shutil.copy2(path, data.packed)
        late.join(30)
        assert not late.is_alive()
    finally:
        logger.removeHandler(handler)
    assert len(reads) == len(set(reads)) == 12  # compared, and not packed again
    assert (data.packed / "index.json").read_bytes() == (other.packed / "index.json").read_bytes()
    assert same(data.load(), data.expected(SPLITS))


def test_where_nothing_can_be_written(
    data: Data, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data.pack()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(fcntl, "flock", refuse)
    data.pack()  # current: nothing needs to be written
    assert same(data.load(), data.expected(SPLITS))
    data.save("sound", "t1", np.ones((10, 5)))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert same(data.load(), data.expected(SPLITS))
    [warning] = [record.getMessage() for record in caplog.records if record.name == "avvp_pl.data.store"]
    assert "so the files are read" in warning
    assert "cannot be written (Read-only file system)" in warning
    with pytest.raises(InputError, match=r"packed: cannot be written \(Read-only file system\); set data\.packed"):
        data.pack()


def test_a_packed_folder_that_cannot_be_made(data: Data) -> None:
    data.packed.write_text("a file")
    with pytest.raises(InputError, match="packed: cannot be written"):
        data.pack()
    assert same(data.load(), data.expected(SPLITS))


def test_a_full_disk_leaves_no_store(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at: pwrite(fd, content[: len(content) // 2], at))
    with pytest.raises(InputError, match="No space left on device"):
        data.pack()
    assert [path.name for path in data.packed.iterdir()] == [".lock"]


def test_an_interrupted_build_leaves_no_store(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.pack()
    assert [path.name for path in data.packed.iterdir()] == [".lock"]


def test_the_first_error_in_order_is_raised_and_results_keep_their_order() -> None:
    assert in_parallel(lambda number: number * number, range(500), "") == [n * n for n in range(500)]

    def fail(number: int) -> int:
        if number % 7 == 5:
            raise InputError(str(number))
        return number

    for _ in range(20):
        with pytest.raises(InputError, match=r"^5$"):
            in_parallel(fail, range(100), "")
