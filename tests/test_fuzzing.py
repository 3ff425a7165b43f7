"""Every reader on random and damaged bytes: it returns a correct value, or raises an InputError that names the file."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from avvp_pl.data.annotations import (
    Oddities,
    read_classes,
    read_events,
    read_names,
    read_timelines,
    read_weak_labels,
)
from avvp_pl.data.features import DTYPES, FeatureFiles, decode, read_header
from avvp_pl.data.llp import LLPFolder
from avvp_pl.data.names import feature_key
from avvp_pl.errors import InputError, printable, quote
from avvp_pl.figures import draw_timelines
from avvp_pl.files import append_rows, read_rows
from avvp_pl.runs.checkpoints import CONTENTS, read_checkpoint
from avvp_pl.runs.sweeps import write_summary
from avvp_pl.settings.check import check_settings, check_sweep
from avvp_pl.settings.limits import LIMITS
from tests.damage.place import MODALITIES, TRAIN, VAL, Bomb, Place

EVENTS = ("Speech", "Dog", "Frying_(food)")
TIMELINES = b"filename\tonset\toffset\tevent_labels\nv\t0\t2\tSpeech\nv\t3.5\t9\tDog\nw\t10\t12\tFrying_(food)\n"
WEAK = b"filename\tevent_labels\nv\tSpeech,Dog\nw\tFrying_(food)\nx\t\n"
CLASSES = b"Speech\nDog\nFrying_(food)\n"
METRICS = b"epoch,step,train/loss\n0,10,1.5\n1,20,1.25\n2,30,1.125\n"
# What damages real files: other separators and line ends, numbers that are none, halves of signs
SPLICES = (
    b"\t", b"\n", b"\r\n", b"\r", b"\0", b",", b'"', b" ", b"-", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"nan", b"inf",
    b"1e999", b"1_0", b"9" * 400, b"\xd9\xa3", b"{", b"}", b"[", b"(", b")", b"'", b"True", b"None", b"-1", b"0", b"O",
    b"../", b"null",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with a few bytes flipped, cut out, put in or doubled."""
    content = good
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 12))
        kind = draw(st.sampled_from(["flip", "cut off", "cut out", "put in", "double"]))
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        elif kind == "cut off":
            content = content[:at]
        elif kind == "cut out":
            content = content[:at] + content[at + length :]
        elif kind == "put in":
            content = content[:at] + draw(st.sampled_from(SPLICES)) + content[at:]
        elif kind == "double":
            content = content[: at + length] + content[at:]
    return content


def cells_swapped(table: bytes) -> st.SearchStrategy[bytes]:
    """A table with its cells in any order."""
    rows = [row.split(b"\t") for row in table.rstrip(b"\n").split(b"\n")]
    cells = [cell for row in rows for cell in row]

    def arranged(order: Sequence[bytes]) -> bytes:
        left = iter(order)
        return b"\n".join(b"\t".join(next(left) for _ in row) for row in rows)

    return st.permutations(cells).map(arranged)


def any_table(good: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200) | damaged(good) | cells_swapped(good)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing") / "damaged"


def reading(path: Path, content: bytes, read: Callable[[], Any]) -> Any:
    """What is read of the content; None where it is refused, as it must be: by an error that names the file."""
    path.write_bytes(content)
    value, refusal = attempt(read)
    assert refusal is None or refusal.startswith(str(path))
    assert refusal is None or len(refusal) < len(str(path)) + 500  # whatever is in the file
    return value


def attempt(read: Callable[[], Any]) -> tuple[Any, str | None]:
    """What is read, or the words by which it is refused; no other error may be raised."""
    try:
        return read(), None
    except (InputError, HydraException) as error:
        return None, str(error)


@settings(max_examples=250, deadline=None)
@given(content=any_table(TIMELINES), seconds=st.sampled_from([1.0, 0.64, 1e-320, 1e300]))
def test_timelines(file: Path, content: bytes, seconds: float) -> None:
    found = reading(file, content, lambda: read_timelines(file, EVENTS, 10, Oddities(), seconds))
    for name, timeline in (found or {}).items():
        assert name == name.strip() != ""
        assert "\t" not in name
        assert "\n" not in name
        assert (timeline.dtype, timeline.shape) == (np.bool_, (10, 3))


@settings(max_examples=150, deadline=None)
@given(content=any_table(WEAK))
def test_weak_labels_names_and_events(file: Path, content: bytes) -> None:
    labels = reading(file, content, lambda: read_weak_labels(file, EVENTS, Oddities()))
    names = reading(file, content, lambda: read_names(file))
    reading(file, content, lambda: read_events(file))
    if labels is not None:
        assert names == list(labels)
        assert all(numbers == sorted(set(numbers)) and set(numbers) <= {0, 1, 2} for numbers in labels.values())


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=100) | damaged(CLASSES))
def test_classes(file: Path, content: bytes) -> None:
    events = reading(file, content, lambda: read_classes(file))
    if events is not None:
        assert len(set(events)) == len(events) > 0
        assert all(event == event.strip() != "" and "\t" not in event for event in events)


def npy(rows: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, rows)
    return content.getvalue()


FEATURES = npy(np.linspace(-2, 2, 40, dtype=np.float32).reshape(20, 2))


@st.composite
def headed(draw: st.DrawFn) -> bytes:
    """Numbers below a header that says anything of them."""
    shape = draw(
        st.lists(st.integers(-1, 30) | st.sampled_from([True, 10**18, 2**63, -(2**63), 0.5, None]), max_size=3)
    )
    kind = draw(
        st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<f16", "<i4", "|O", "<c8", "<U3", "|V4", "", "f", "?", "<f3"])
    )
    order = draw(st.sampled_from([False, True, 0, None]))
    header = (
        draw(st.sampled_from(["", " "])) + repr({"descr": kind, "fortran_order": order, "shape": tuple(shape)}) + "\n"
    )
    length = draw(st.just(len(header)) | st.integers(0, 2**16 - 1))
    rows: bytes = (
        draw(st.sampled_from([np.zeros(300), np.full(300, np.nan), np.full(300, 3e38)])).astype(np.float32).tobytes()
    )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + header.encode() + rows[: draw(st.integers(0, 1200))]


@settings(max_examples=400, deadline=None)
@given(
    content=st.binary(max_size=300) | damaged(FEATURES) | headed() | damaged(pickle.dumps(Bomb())),
    segments=st.sampled_from([1, 10]),
    dtype=st.sampled_from(sorted(DTYPES)),
    rows_per_segment=st.sampled_from([None, 1, 2]),
)
@example(
    content=npy(np.ones((1, 3))).replace(b"(1, 3),   ", b"(True, 3),"),
    segments=1,
    dtype="float32",
    rows_per_segment=None,
)
def test_features(file: Path, content: bytes, segments: int, dtype: str, rows_per_segment: int | None) -> None:
    files = FeatureFiles(lambda *_: file, segments, {"x": rows_per_segment} if rows_per_segment else {}, dtype)

    def read() -> torch.Tensor:
        shape = read_header(file, "v").shape
        return decode(file, file.read_bytes(), shape, files.length("x", "v", shape), dtype)

    features = reading(file, content, read)
    if features is not None:
        assert features.dtype == DTYPES[dtype]
        assert 1 <= features.shape[0] <= segments
        assert features.ndim == 2
        assert features.isfinite().all()
    assert not Path("harm").exists()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.make(tmp_path_factory.mktemp("packed"))
    place.pack()
    shutil.copytree(place.packed, place.root / "good")
    return place


def features_of(place: Place, store: Path | None) -> dict[str, dict[str, torch.Tensor]]:
    folder = LLPFolder(place.llp, MODALITIES, 10, 1.0, store, "float32")
    return folder.features({"train": {name: [0] for name in TRAIN}, "val": {VAL: [0]}}).read()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_index_changes_no_feature(packed: Place, data: st.DataObject) -> None:
    shutil.rmtree(packed.packed)
    shutil.copytree(packed.root / "good", packed.packed)
    index = packed.packed / "index.json"
    index.write_bytes(data.draw(damaged(index.read_bytes())))
    found, expected = features_of(packed, packed.packed), features_of(packed, None)
    for split, streams in expected.items():
        assert all(torch.equal(found[split][stream], value) for stream, value in streams.items())


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200) | damaged(METRICS))
@example(content=b"epoch\n1_0\n")
@example(content="epoch\n\u0661\n".encode())
def test_tables_of_a_run(file: Path, content: bytes) -> None:
    rows = reading(file, content, lambda: read_rows(file))
    for row in rows or []:
        assert all(isinstance(name, str) and isinstance(cell, str) for name, cell in row.items())
    reading(file, content, lambda: append_rows(file, [{"epoch": 1, "step": 25}], replacing="epoch"))
    if file.read_bytes() != content:  # it was taken, and is whole
        epochs = [int(row["epoch"]) for row in read_rows(file)]
        assert epochs[-1] == 1
        assert all(epoch < 1 for epoch in epochs[:-1])


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    content = io.BytesIO()
    values = {"config": {"a": 1}, "events": ["Dog"], "epoch": 1, "state_dict": {"weight": torch.arange(6.0)}}
    torch.save({name: values.get(name, kind()) for name, kind in CONTENTS.items()}, content)
    return content.getvalue()


def test_the_checkpoint_that_is_damaged_is_a_good_one(file: Path, checkpoint: bytes) -> None:
    file.write_bytes(checkpoint)
    assert read_checkpoint(file)["config"] == {"a": 1}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_checkpoints(file: Path, checkpoint: bytes, data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=100) | damaged(checkpoint) | damaged(pickle.dumps(Bomb())))
    file.write_bytes(content)
    found, refusal = attempt(lambda: read_checkpoint(file))
    assert isinstance(found["state_dict"], dict) if refusal is None else refusal.startswith(str(file))
    assert not Path("harm").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("audiovs_", max_size=6), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(LIMITS)), value=VALUES)
def test_settings_of_any_type(key: str, value: Any) -> None:
    if "${" in str(value) or "???" in str(value):  # OmegaConf's own signs
        return
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, key.removesuffix(".*"), {"one": value} if key.endswith(".*") else value, force_add=True)
    _, refusal = attempt(lambda: check_settings(cfg))
    assert refusal is None or "it must" in refusal


@settings(max_examples=200, deadline=None)
@given(key=st.sampled_from([*sorted(LIMITS), "x", ""]), value=st.text(max_size=12) | VALUES.map(str))
def test_overrides_of_any_kind(key: str, value: str) -> None:
    _, refusal = attempt(lambda: check_sweep([f"{key.removesuffix('.*')}={value}"]))
    assert refusal is None or refusal


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.sampled_from(["..", ".", "a/b", "..\\x", "\0", "AAAAAAAAAAA_0_10", "..........._0_1"]))
def test_a_key_stays_in_its_folder(name: str) -> None:
    key, refusal = attempt(lambda: feature_key(name))
    if refusal is not None:
        return
    assert Path("/feats/stream", f"{key}.npy").parent == Path("/feats/stream")
    assert ".." not in Path("/feats/stream", f"{key}.npy").parts


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_words_for_a_terminal(text: str) -> None:
    assert all(sign.isprintable() or sign == "\n" for sign in printable(text))
    assert printable(text) == text or not text.replace("\n", "").isprintable()
    assert quote(text).isprintable()
    assert len(quote(text)) < 1000


@pytest.mark.filterwarnings(
    "ignore:Glyph:UserWarning", "ignore:.*constrained_layout:UserWarning", "ignore:.*font:UserWarning"
)
@settings(max_examples=12, deadline=None)
@given(title=st.text(max_size=12), event=st.text(max_size=12), modality=st.text(max_size=8))
@example(title="$x_{$", event=r"$\frac{$", modality="$$")
def test_names_are_drawn_as_they_are(title: str, event: str, modality: str) -> None:
    figure = draw_timelines(title, {"truth": np.ones((2, 1, 1), dtype=bool)}, [modality], [event])
    figure.savefig(io.BytesIO(), format="png", dpi=20)


def scores_of(**scores: float) -> bytes:
    """The content of scores.json with these scores on both levels."""
    levels = dict.fromkeys(("segment", "event"), scores)
    content = {"protocol": "common", **levels, "per_event": {level: {} for level in levels}, "videos": {"listed": 2}}
    return json.dumps(content).encode()


SCORES = scores_of(audio=50.0, visual=25.0)
CONFIG = b"seed: 1\nname: mil\ndata: {name: synthetic}\n"


def write_job(folder: Path, scores: bytes, config: bytes, overrides: bytes) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / "scores.json").write_bytes(scores)
    (folder / "config.yaml").write_bytes(config)
    (folder / ".hydra" / "overrides.yaml").write_bytes(overrides)


@settings(max_examples=60, deadline=None)
@given(scores=damaged(SCORES), config=damaged(CONFIG), overrides=damaged(b"- seed=3\n- +x=a|b\n"))
def test_damaged_runs_do_not_cost_a_sweep_its_summary(
    tmp_path_factory: pytest.TempPathFactory, scores: bytes, config: bytes, overrides: bytes
) -> None:
    sweep = tmp_path_factory.mktemp("sweep")
    write_job(sweep / "0", SCORES, CONFIG, b"- seed=1\n")
    write_job(sweep / "1", scores, config, overrides)
    write_summary(sweep)
    table = (sweep / "summary.md").read_text().splitlines()
    assert table[2].startswith("| all | ") or "| all | 2 |" in table[2]


def test_runs_of_other_modalities_share_a_summary(tmp_path: Path) -> None:
    write_job(tmp_path / "0", scores_of(audio=50.0, visual=30.0), CONFIG, b"- job=0\n")
    write_job(tmp_path / "1", scores_of(visual=20.0), CONFIG, b"- job=1\n")
    write_summary(tmp_path)
    assert (tmp_path / "summary.md").read_text().splitlines()[2:] == [
        "| job=0 | 1 | 50.0 | 30.0 | 50.0 | 30.0 | 40.0 | 0 |",
        "| job=1 | 1 |  | 20.0 |  | 20.0 | 20.0 | 1 |",
    ]


def test_cells_of_a_summary_are_no_markup(tmp_path: Path) -> None:
    for job, setting in (("0", "x=a|b"), ("1", "x=<img src=y>")):
        write_job(tmp_path / job, SCORES, CONFIG, json.dumps([setting]).encode())
    write_summary(tmp_path)
    rows = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert [row.split(" | 1 | ")[0] for row in rows] == [r"| x=a\|b", "| x=&lt;img src=y>"]


def test_labels_of_a_progress_bar_are_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from avvp_pl.data.features import in_parallel

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert in_parallel(str, range(3), "[/red]a[b]") == ["0", "1", "2"]
    assert "[/red]a[b]" in capsys.readouterr().out
