"""Products: what is written is read again, and nothing damaged, foreign or impossible is ever believed."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avvp_pl.data.names import composed
from avvp_pl.data.products import Product, read_product, write_product
from avvp_pl.errors import InputError

CHECKPOINT = "0123456789abcdef" * 4
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).map(composed)


def arrays(**others: Any) -> dict[str, Any]:
    """The content of a good file: two videos with two segments and one, two modalities, three events."""
    labels = np.zeros((3, 2, 3), dtype=np.float32)
    labels[0, 1, 2], labels[2, 0, 0] = 1.0, 0.25
    whole = {
        "kind": "labels",
        "names": np.array(["a", "b"]),
        "lengths": np.array([2, 1]),
        "modalities": np.array(["audio", "visual"]),
        "events": np.array(["Dog", "Cello", "Speech"]),
        "labels": labels,
    }
    return {name: value for name, value in (whole | others).items() if value is not None}


def with_value(value: float) -> Any:
    labels = arrays()["labels"]
    labels[2, 1, 1] = value
    return labels


@st.composite
def products(draw: st.DrawFn) -> Product:
    kind = draw(st.sampled_from(["labels", "probabilities", "logits", "modality_labels", "rates"]))
    names, modalities, events = (draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)) for _ in range(3))
    lengths = np.array(draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names))), dtype=np.int64)
    axes = (len(modalities), len(events))
    rows = {"rates": (), "modality_labels": (len(names),)}.get(kind, (int(lengths.sum()),))
    possible = (
        st.floats(-(2.0**99), 2.0**99, width=32) | st.just(-np.inf) if kind == "logits" else st.floats(0, 1, width=32)
    )
    values = draw(hnp.arrays(np.float32, (*rows, *axes), elements=possible))
    checkpoint, note = draw(st.sampled_from([None, CHECKPOINT])), draw(st.sampled_from([None, "its thresholds are F1"]))
    thresholds = draw(st.none() | hnp.arrays(np.float64, axes, elements=st.floats(-1e9, 1e9)))
    return Product(kind, tuple(names), lengths, tuple(modalities), tuple(events), values, checkpoint, note, thresholds)  # type: ignore[arg-type]


@given(products())
def test_what_is_written_is_read_again_and_alike_files_have_alike_bytes(
    tmp_path_factory: pytest.TempPathFactory, product: Product
) -> None:
    path, other = (tmp_path_factory.mktemp("products") / name for name in ("one.npz", "other.npz"))
    write_product(path, product)
    found = read_product(path, product.kind)
    assert found.lengths.tolist() == product.lengths.tolist()
    np.testing.assert_array_equal(found.values, product.values)
    assert found.note == product.note
    np.testing.assert_array_equal(found.thresholds, product.thresholds)
    assert found.starts.tolist() == [sum(product.lengths[:n]) for n in range(len(product.names))]
    for name in ("kind", "names", "modalities", "events", "checkpoint"):
        assert getattr(found, name) == getattr(product, name)
    write_product(other, found)
    assert path.read_bytes() == other.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["one.npz"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "bool", "uint64"])
def test_hand_made_files_may_have_any_numbers(tmp_path: Path, dtype: str) -> None:
    hard = arrays()["labels"].round().astype(dtype)
    np.savez(tmp_path / "labels.npz", more="what others need", **arrays(labels=hard))
    product = read_product(tmp_path / "labels.npz", "labels")
    assert product.values.dtype == np.float32
    assert product.values.sum() == product.values[0, 1, 2] == 1
    assert product.names == ("a", "b")
    assert product.lengths.tolist() == [2, 1]
    assert product.checkpoint is None


def test_a_rounding_error_is_no_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", **arrays(labels=with_value(1.0).astype(float) * (1 + 1e-12)))
    assert read_product(tmp_path / "labels.npz", "labels").values.max() == 1


REFUSED = {
    "no kind": (arrays(kind=None), "has no array 'kind'; needed are kind, names, lengths"),
    "no names": (arrays(names=None), "has no array 'names'"),
    "no values": (arrays(labels=None), "has no array 'labels', though its kind is labels"),
    "unknown kind": (
        arrays(kind="truth"),
        "kind is 'truth'; it must be one of labels, probabilities,",
    ),
    "kind is a number": (arrays(kind=3), "kind is '3'"),
    "kind is a list": (arrays(kind=np.array(["labels"])), "kind is \"['labels']\""),
    "another kind": (arrays(kind="probabilities", probabilities=with_value(0)), "holds probabilities, but labels are"),
    "names are numbers": (arrays(names=np.array([1, 2])), "names must be a list of strings"),
    "one name": (arrays(names="a"), "names must be a list of strings, but has shape []"),
    "no video": (arrays(names=np.array([], dtype="U1"), lengths=np.zeros(0, int)), "names must be a list of strings"),
    "a name twice": (arrays(names=np.array(["a", "a"])), "names has 'a' twice"),
    "an empty name": (arrays(events=np.array(["Dog", "", "Speech"])), "events has '' in it"),
    "objects": (arrays(names=np.array(["a", "b"], dtype=object)), "names is an array of Python objects, which are not"),
    "fractional lengths": (arrays(lengths=np.array([2.0, 1.0])), "lengths must be 2 whole numbers"),
    "too few lengths": (arrays(lengths=np.array([3])), "lengths must be 2 whole numbers"),
    "negative lengths": (arrays(lengths=np.array([4, -1])), "lengths has numbers that are no number of segments"),
    "huge lengths": (arrays(lengths=np.array([2**62, 2**62])), "lengths has numbers that are no number of segments"),
    "too few segments": (arrays(lengths=np.array([2, 2])), "labels has shape [3, 2, 3] and type float32; needed are"),
    "rectangular": (arrays(labels=np.zeros((2, 2, 2, 3))), "labels has shape [2, 2, 2, 3]"),
    "axes in another order": (arrays(labels=np.zeros((3, 3, 2))), "needed are numbers of shape [3, 2, 3]"),
    "complex": (arrays(labels=with_value(0).astype(complex)), "labels has shape [3, 2, 3] and type complex128"),
    "words": (arrays(labels=with_value(0).astype(str)), "labels has shape [3, 2, 3] and type <U32"),
    "nan": (arrays(labels=with_value(np.nan)), "labels has nan for Cello (visual) in segment 0 of b; every value must"),
    "above 1": (arrays(labels=with_value(1.5)), "labels has 1.5 for Cello (visual) in segment 0 of b"),
    "below 0": (arrays(labels=with_value(-1)), "labels has -1 for Cello (visual) in segment 0 of b"),
    "infinite": (arrays(labels=with_value(-np.inf)), "labels has -inf for Cello (visual) in segment 0 of b"),
    "too large for float32": (
        arrays(labels=with_value(0).astype(float) + 1e300),
        "labels has inf for Dog (audio) in segment 0 of a",
    ),
    "many": (arrays(labels=with_value(0) + 2), "labels has 2 for Dog (audio) in segment 0 of a (18 values in all)"),
    "wrong number of videos": (
        arrays(kind="modality_labels", modality_labels=np.zeros((3, 2, 3))),
        "modality_labels has shape [3, 2, 3] and type float64; needed are numbers of shape [2, 2, 3]",
    ),
    "nan in a video": (
        arrays(kind="modality_labels", modality_labels=np.full((2, 2, 3), [[[0]], [[np.nan]]])),
        "modality_labels has nan for Dog (audio) in b (6 values in all)",
    ),
    "a nan logit": (
        arrays(kind="logits", logits=with_value(np.nan)),
        "logits has nan for Cello (visual) in segment 0 of b; every value must be a finite number, or -inf",
    ),
    "an infinite logit": (arrays(kind="logits", logits=with_value(np.inf)), "logits has inf for Cello (visual) in"),
    "logits": (
        arrays(kind="logits", logits=with_value(-np.inf)),
        "holds logits, but labels are needed; python -m avvp_pl.refine +refine=from_logits makes labels of logits",
    ),
    "a numeric note": (arrays(note=3), "note must be text, but has type int64"),
    "too few thresholds": (arrays(thresholds=np.zeros(3)), "thresholds must be finite numbers of shape [2, 3]"),
    "an infinite threshold": (arrays(thresholds=np.full((2, 3), np.inf)), "thresholds must be finite numbers"),
    "no checksum": (
        arrays(checkpoint_sha256="best.ckpt"),
        "checkpoint_sha256 is 'best.ckpt'; it must be 64 hexadecimal",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    path = tmp_path / "labels.npz"
    np.savez(path, **content)
    with pytest.raises(InputError) as error:
        read_product(path, "labels")
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_of_a_rate_has_no_segment(tmp_path: Path) -> None:
    rates = np.full((2, 3), 0.5)
    rates[1, 0] = 2
    np.savez(tmp_path / "rates.npz", **arrays(kind="rates", rates=rates))
    with pytest.raises(InputError, match=r"rates has 2 for Dog \(visual\); every value must be a number in \[0, 1\]"):
        read_product(tmp_path / "rates.npz", "rates")


def test_a_note_is_one_printable_line_of_bounded_length(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is of a file that anybody may have written, and ends in a terminal."""
    path = tmp_path / "labels.npz"
    np.savez(path, **arrays(note="made of\n  logits \x1b[31m" + "x" * 1000))
    note = read_product(path, "labels").note
    assert note is not None
    assert note.startswith("made of logits \\x1b[31mxxx")
    assert len(note) == 500
    assert caplog.messages == [f"{path}: {note}"]


def test_nothing_impossible_is_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    good = Product("labels", ("a",), np.array([1]), ("audio",), ("Dog",), np.ones((1, 1, 1), np.float32))
    write_product(path, good)
    before = path.read_bytes()
    with pytest.raises(InputError, match="labels has shape"):
        write_product(path, Product("labels", ("a",), np.array([2]), ("audio",), ("Dog",), good.values))
    assert path.read_bytes() == before


def test_composed_and_decomposed_unicode_are_one_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, **arrays(names=np.array(["Cafe\u0301", "b"]), events=np.array(["Ba\u0308r", "Cello", "Speech"])))
    product = read_product(path, "labels")
    assert product.names == ("Caf\xe9", "b")
    assert product.events == ("B\xe4r", "Cello", "Speech")
    np.savez(path, **arrays(names=np.array(["Cafe\u0301", "Caf\xe9"])))
    with pytest.raises(InputError, match="names has 'Caf\xe9' twice"):
        read_product(path, "labels")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"

    def refused() -> str:
        with pytest.raises(InputError) as error:
            read_product(path, "labels")
        return str(error.value)

    assert refused() == f"{path}: no such file"
    path.mkdir()
    assert refused() == f"{path}: cannot be read (Is a directory)"
    path.rmdir()
    np.save(path.with_suffix(".npy"), np.ones(3))
    for content in (b"", path.with_suffix(".npy").read_bytes(), pickle.dumps(print), b"PK\3\4 and no more"):
        path.write_bytes(content)
        assert "not a whole .npz file; write it again with numpy.savez" in refused()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kind.npy", pickle.dumps(print))
    assert "kind is damaged (" in refused()


@given(st.data())
@settings(max_examples=200)
def test_damaged_files_are_refused_or_mean_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A damaged byte is either noticed, or of no importance to what is read, such as a time of the archive."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    content = io.BytesIO()
    np.savez_compressed(content, **arrays(checkpoint_sha256=CHECKPOINT))
    whole = bytearray(content.getvalue())
    path.write_bytes(whole)
    expected = read_product(path, "labels")
    if data.draw(st.booleans(), label="cut"):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1), label="length")]
    else:
        for _ in range(data.draw(st.integers(1, 3), label="damages")):
            place = data.draw(st.integers(0, len(whole) - 1), label="place")
            whole[place] ^= data.draw(st.integers(1, 255), label="bits")
    path.write_bytes(whole)
    try:
        found = read_product(path, "labels")
    except InputError as error:
        message = str(error)
    else:
        message = f"{path}: is accepted"
        np.testing.assert_array_equal(found.values, expected.values)
        assert (found.names, found.events, found.modalities) == (expected.names, expected.events, expected.modalities)
        assert found.lengths.tolist() == expected.lengths.tolist()
    assert message.startswith(f"{path}: ")
