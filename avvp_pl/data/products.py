"""Products: what one stage of a method computes and another one learns from, such as labels, in one .npz file.

The arrays of a file are ``kind``, ``names`` [N] of videos, ``lengths`` [N] in segments, ``modalities`` [M],
``events`` [C], one array that is called like its kind, and possibly ``checkpoint_sha256``, which tells from which
checkpoint the file was made, ``note``, a sentence that whoever reads the file should know, and ``thresholds`` [M, C],
by which labels were made of logits. S is the number of segments of all videos, one video after another in the order of
``names``.

===================  =========  ==========================================================
kind                 values     what they are
===================  =========  ==========================================================
``labels``           [S, M, C]  pseudo labels of segments
``probabilities``    [S, M, C]  a network's probabilities of segments
``logits``           [S, M, C]  scores of segments by which labels are made, such as those of CLIP and CLAP
``modality_labels``  [N, M, C]  which modality of a video shows an event at all
``rates``            [M, C]     a rate of each event in each modality, such as that of noise
===================  =========  ==========================================================

All values are in [0, 1], but logits are any finite numbers, or -inf where an event surely does not occur.
A file is read without unpickling anything, and written as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from avvp_pl.data.names import composed
from avvp_pl.errors import InputError, brief, nearest, printable, quote
from avvp_pl.files import atomic_write_bytes

log = logging.getLogger(__name__)

Kind = Literal["labels", "probabilities", "logits", "modality_labels", "rates"]
Missing = Literal["error", "weak"]
"""What is done about training videos without labels: they are an error, or have their weak label everywhere."""
HEADER = ("kind", "names", "lengths", "modalities", "events")
CHECKPOINT, NOTE, THRESHOLDS = "checkpoint_sha256", "note", "thresholds"
LONGEST_NOTE = 500  # characters
# what makes one kind of another
ADVICE = {("logits", "labels"): "python -m avvp_pl.refine +refine=from_logits makes labels of logits"}


@dataclass(frozen=True)
class Product:
    """The content of a file: ``values`` are those of its ``kind``, and ``checkpoint`` is a SHA-256 in hexadecimal.

    ``note`` is logged as a warning whenever the file is read.
    """

    kind: Kind
    names: tuple[str, ...]
    lengths: npt.NDArray[np.int64]
    modalities: tuple[str, ...]
    events: tuple[str, ...]
    values: npt.NDArray[np.floating[Any]]
    checkpoint: str | None = None
    note: str | None = None
    thresholds: npt.NDArray[np.float64] | None = None

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """The number of each video's first segment."""
        return np.cumsum(self.lengths) - self.lengths


def one_note(notes: Iterable[str | None]) -> str | None:
    """Join notes, without those that others contain; None if there are none.

    >>> one_note(["by hand", None, "by hand; of 3 videos", "with care"])
    'by hand; of 3 videos; with care'
    """
    found = list(dict.fromkeys(filter(None, notes)))
    kept = [note for note in found if not any(note in other for other in found if other != note)]
    return "; ".join(kept) or None


def write_product(path: Path, product: Product) -> None:
    """Write a product; the same content gives the same bytes.

    Raises :class:`InputError` for content that could not be read again.
    """
    product = _checked(path, _arrays(product))
    with atomic_write_bytes(path) as file:
        np.savez_compressed(file, **_arrays(product))  # type: ignore[arg-type]


def read_product(path: Path, kind: Kind) -> Product:
    """Read a product of this kind; :class:`InputError` names the file and what is wrong with it."""
    product = _checked(path, _read(path, (*HEADER, *get_args(Kind), CHECKPOINT, NOTE, THRESHOLDS)))
    if product.kind != kind:
        advice = ADVICE.get((product.kind, kind), "give another file")
        raise InputError(f"{path}: holds {product.kind}, but {kind} are needed; {advice}")
    if product.note is not None:
        log.warning("%s: %s", path, product.note)
    return product


def places_of(
    wanted: Sequence[str],
    axis: Literal["videos", "modalities", "events"],
    product: Product,
    path: Path,
    missing: Missing = "error",
    split: str = "training",
) -> npt.NDArray[np.int64]:
    """Return where the wanted names stand on an axis of a product; -1 for one that is not there.

    Raises :class:`InputError` for a wanted name that is not there, unless ``missing`` is ``weak`` and others are there.
    It is logged that names which nobody wants are ignored. Messages say of which ``split`` the wanted names are.
    """
    one, names = {
        "videos": ("video", product.names),
        "modalities": ("modality", product.modalities),
        "events": ("event", product.events),
    }[axis]
    places = {name: number for number, name in enumerate(names)}
    absent = [name for name in wanted if name not in places]
    if absent and (missing == "error" or len(absent) == len(wanted)):
        more = f", and {len(absent) - 1} more are missing" if len(absent) > 1 else ""
        possible = axis == "videos" and missing == "error" and split == "training"
        advice = " (missing=weak takes the weak label instead)" if possible else ""
        raise InputError(
            f"{path}: has no {product.kind.replace('_', ' ')} of the {one} {quote(absent[0])}{more}; the {split} "
            f"data has it, so add it{advice}.{nearest(absent[0], names)}"
        )
    known = set(wanted)
    if ignored := [name for name in names if name not in known]:
        said = "%s: %d of its %s are not in the %s data and are ignored, such as %s"
        log.info(said, path, len(ignored), axis, split, quote(ignored[0]))
    return np.array([places.get(name, -1) for name in wanted], dtype=np.int64)


def columns_of(
    product: Product, modalities: Sequence[str], events: Sequence[str], path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where these modalities and events stand in the values of a product (:func:`places_of`)."""
    return places_of(modalities, "modalities", product, path), places_of(events, "events", product, path)


def log_coverage(
    path: Path, known: npt.NDArray[np.bool_], counts: npt.NDArray[np.integer[Any]], modalities: Sequence[str]
) -> None:
    """Log how many of the training videos a file knows, and how many labels above 0 it has in each modality."""
    labels = ", ".join(f"{count} {name}" for count, name in zip(counts, modalities, strict=True))
    lacking = int((~known).sum())
    more = f"; the other {lacking} have their weak label everywhere" if lacking else ""
    said = "%s: covers %d of %d training videos, labels above 0: %s%s"
    log.info(said, path, known.sum(), len(known), labels, more)


def impossible_logits(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """Return which values are no logits: a logit is a finite number, or -inf."""
    wrong: npt.NDArray[np.bool_] = np.isnan(values) | np.isposinf(values)
    return wrong


def checksum(values: npt.NDArray[Any]) -> str:
    """Return a checksum by which a resumed run knows that it has read the same values."""
    return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()


def _arrays(product: Product) -> dict[str, npt.NDArray[Any]]:
    texts = {"kind": product.kind, "names": product.names, "modalities": product.modalities, "events": product.events}
    arrays: dict[str, npt.NDArray[Any]] = {name: np.array(text, dtype=np.str_) for name, text in texts.items()}
    arrays |= {"lengths": np.asarray(product.lengths), product.kind: np.asarray(product.values)}
    optional = {CHECKPOINT: product.checkpoint, NOTE: product.note}
    arrays |= {name: np.array(text, dtype=np.str_) for name, text in optional.items() if text is not None}
    return arrays if product.thresholds is None else arrays | {THRESHOLDS: np.asarray(product.thresholds)}


def _read(path: Path, wanted: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Return those of the wanted arrays that a file has. The checksum of everything that is read is compared."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(f"{path}: not a whole .npz file; write it again with numpy.savez (see docs/extending.md)")
    arrays = {}
    name = ""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            for name in wanted:
                if name in members:
                    array = io.BytesIO(archive.read(members[name]))
                    arrays[name] = np.asarray(np.lib.format.read_array(array, allow_pickle=False))
    except Exception as error:  # zipfile and numpy raise a dozen kinds on a damaged file
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: {name} is an array of Python objects, which are not read; write strings or numbers"
            ) from None
        raise InputError(f"{path}: {name or 'the file'} is damaged ({brief(error)}); write the file again") from None
    return arrays


def _checked(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Product:
    """Build a product of arrays of any content."""
    for name in HEADER:
        if name not in arrays:
            raise InputError(f"{path}: has no array {name!r}; needed are {', '.join(HEADER)}, and the values")
    kind = str(arrays["kind"])
    if arrays["kind"].dtype.kind != "U" or kind not in get_args(Kind):
        raise InputError(f"{path}: kind is {quote(kind)}; it must be one of {', '.join(get_args(Kind))}")
    if kind not in arrays:
        raise InputError(f"{path}: has no array {kind!r}, though its kind is {kind}")
    names, modalities, events = (_texts(path, name, arrays[name]) for name in ("names", "modalities", "events"))
    lengths = _lengths(path, arrays["lengths"], len(names))
    of_kind = {"rates": (), "modality_labels": (len(names),)}.get(kind, (int(lengths.sum()),))
    axes = (*of_kind, len(modalities), len(events))
    values = arrays[kind]
    if values.shape != axes or values.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: {kind} has shape {brief(list(values.shape))} and type {brief(values.dtype)}; needed are numbers "
            f"of shape {list(axes)}, by its names, lengths, modalities and events"
        )
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values = values.astype(np.float64 if kind == "rates" else np.float32)  # a rate times a count is rounded down
    checkpoint = str(arrays[CHECKPOINT]) if CHECKPOINT in arrays else None
    if checkpoint is not None and not re.fullmatch("[0-9a-f]{64}", checkpoint):
        raise InputError(f"{path}: {CHECKPOINT} is {quote(checkpoint)}; it must be 64 hexadecimal digits, or left out")
    if NOTE in arrays and arrays[NOTE].dtype.kind != "U":
        raise InputError(f"{path}: {NOTE} must be text, but has type {brief(arrays[NOTE].dtype)}")
    note = " ".join(printable(str(arrays[NOTE])).split())[:LONGEST_NOTE] if NOTE in arrays else None
    thresholds = arrays.get(THRESHOLDS)
    if thresholds is not None:
        if thresholds.shape != axes[-2:] or thresholds.dtype.kind not in "fiu" or not np.isfinite(thresholds).all():
            raise InputError(f"{path}: {THRESHOLDS} must be finite numbers of shape {list(axes[-2:])}")
        thresholds = thresholds.astype(np.float64)
    product = Product(kind, names, lengths, modalities, events, values, checkpoint, note, thresholds)  # type: ignore[arg-type]
    _check_values(path, product)
    return product


def _texts(path: Path, name: str, array: npt.NDArray[Any]) -> tuple[str, ...]:
    """Return an array of different strings as a tuple."""
    if array.ndim != 1 or array.dtype.kind != "U" or not array.size:
        raise InputError(f"{path}: {name} must be a list of strings, but has shape {list(array.shape)}, {array.dtype}")
    texts = [composed(text) for text in array.tolist()]
    seen: set[str] = set()
    for text in texts:
        if not text or text in seen:
            raise InputError(f"{path}: {name} has {quote(text)} {'twice' if text else 'in it'}; every name must differ")
        seen.add(text)
    return tuple(texts)


def _lengths(path: Path, array: npt.NDArray[Any], videos: int) -> npt.NDArray[np.int64]:
    if array.shape != (videos,) or array.dtype.kind not in "iu":
        raise InputError(f"{path}: lengths must be {videos} whole numbers, one for each of its names")
    if not ((array >= 0) & (array < 2**31)).all():
        raise InputError(f"{path}: lengths has numbers that are no number of segments")
    return array.astype(np.int64)


def _check_values(path: Path, product: Product) -> None:
    """Raise for the first value that is not in [0, 1], or is no possible logit."""
    if product.kind == "logits":
        wrong, must = impossible_logits(product.values), "a finite number, or -inf"
    else:  # NaN is wrong, too
        wrong, must = ~((product.values >= 0) & (product.values <= 1)), "a number in [0, 1]"
    if not wrong.any():
        return
    *row, modality, event = (int(axis) for axis in np.argwhere(wrong)[0])
    value = product.values[(*row, modality, event)]
    where = f"{product.events[event]} ({product.modalities[modality]})"
    if product.kind == "modality_labels":
        where += f" in {product.names[row[0]]}"
    elif row:
        video = int(np.searchsorted(product.starts, row[0], side="right")) - 1
        where += f" in segment {row[0] - product.starts[video]} of {product.names[video]}"
    more = f" ({wrong.sum()} values in all)" if wrong.sum() > 1 else ""
    raise InputError(f"{path}: {product.kind} has {value:g} for {where}{more}; every value must be {must}")
