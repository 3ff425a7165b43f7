"""Folders of data, feature files and packed stores."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.damage.place import SHAPES, TRAIN, Bomb, Case, Place, archive, cut, instead, nothing, replace, setting

NO_NPY = "AAAAAAAAAAA.npy: not a complete .npy file of numbers"
AGAIN = "the packed array is damaged, so it is packed again from the files"


def feature(name: str, outcome: Any, says: str, does: Callable[[Place], object], *arguments: str) -> Case:
    return Case(name, outcome, says, does, "prepare", arguments)


def shorten(place: Place) -> None:
    """Let one video have 9 segments in all streams."""
    for stream, (_, columns) in SHAPES.items():
        place.save(stream, "AAAAAAAAAAA", np.ones((9, columns)))


CASES: dict[str, list[Case]] = {
    "Folder of data": [
        setting(
            "data.root=nowhere",
            "nowhere: this is not an LLP folder, as it has no folder data/ in it; set data.root",
            command="prepare",
        ),
        Case(
            "a path that is too long",
            "error",
            "/feats/manifest.json: cannot be read (File name too long)",
            nothing,
            "prepare",
            (f"data.root={'x' * 300}",),
        ),
        Case(
            "a file called data",
            "error",
            "llp: this is not an LLP folder, as it has no folder data/ in it; set data.root",
            lambda p: instead(p.llp / "data", Path.touch),
            "prepare",
        ),
        Case(
            "no features at all",
            "error",
            "1 problem: ... feats: has no features; those of the first video are expected in ... AAAAAAAAAAA.npy",
            lambda p: shutil.rmtree(p.llp / "feats"),
            "prepare",
        ),
        Case(
            "a stream that is a file",
            "error",
            f"{NO_NPY} (Not a directory)",
            lambda p: instead(p.llp / "feats" / "vggish", Path.touch),
            "prepare",
        ),
    ],
    "Feature files": [
        feature(
            "no file",
            "error",
            f"AAAAAAAAAAA.npy: no such file, but '{TRAIN[0]}' is listed; extract it or drop the row",
            lambda p: p.feature().unlink(),
        ),
        feature(
            "a link to nothing",
            "error",
            "AAAAAAAAAAA.npy: no such file",
            lambda p: instead(p.feature(), lambda path: path.symlink_to("nowhere")),
        ),
        feature(
            "a link to itself",
            "error",
            f"{NO_NPY} (Too many levels of symbolic links)",
            lambda p: instead(p.feature(), lambda path: path.symlink_to(path)),
        ),
        feature(
            "a folder for a file", "error", f"{NO_NPY} (Is a directory)", lambda p: instead(p.feature(), Path.mkdir)
        ),
        feature("an empty feature file", "error", f"{NO_NPY} ... extract it again", lambda p: cut(p.feature(), 0)),
        feature("text", "error", NO_NPY, lambda p: p.feature().write_text("1 2 3\n")),
        feature(
            "an archive (.npz)",
            "error",
            NO_NPY,
            lambda p: archive(p.feature()),
        ),
        feature(
            "cut off",
            "error",
            f"{NO_NPY} (1 bytes are missing at its end); extract it again",
            lambda p: cut(p.feature(), -1),
        ),
        feature(
            "a header that promises terabytes",
            "error",
            f"{NO_NPY} (143999999999840 bytes are missing at its end)",
            lambda p: replace(p.feature(), b"(10, 4), }          ", b"(9000000000000, 4),}"),
        ),
        feature(
            "Python objects",
            "error",
            "AAAAAAAAAAA.npy: contains object values, but floating-point values are needed",
            lambda p: p.holding(np.array([Bomb()], dtype=object)),
        ),
        feature("a pickle", "error", NO_NPY, lambda p: p.feature().write_bytes(pickle.dumps(Bomb()))),
        feature(
            "whole numbers",
            "error",
            "AAAAAAAAAAA.npy: contains int64 values, but floating-point values are needed",
            lambda p: p.holding(np.ones((10, 4), dtype=np.int64)),
        ),
        feature(
            "words",
            "error",
            "AAAAAAAAAAA.npy: contains <U3 values, but floating-point values are needed",
            lambda p: p.holding(np.full((10, 4), "1.0")),
        ),
        feature(
            "one axis",
            "error",
            "AAAAAAAAAAA.npy: has shape [40]; it must have two axes, at least one row and at least one column",
            lambda p: p.holding(np.ones(40)),
        ),
        feature(
            "an axis too many",
            "error",
            "AAAAAAAAAAA.npy: has shape [1, 10, 4]",
            lambda p: p.holding(np.ones((1, 10, 4))),
        ),
        feature(
            "a row too many",
            "error",
            "AAAAAAAAAAA.npy: has shape [11, 4]; it must have n x 10 rows ... or fewer than 10 rows (for a shorter",
            lambda p: p.holding(np.ones((11, 4))),
        ),
        feature(
            "a row missing in one stream",
            "error",
            f"'{TRAIN[0]}': the streams of this video have different lengths: vggish has 9 segments (9 rows), "
            "res152 has 10 segments (20 rows), r2plus1d_18 has 10 segments (10 rows); extract it again, drop its row",
            lambda p: p.holding(np.ones((9, 4))),
        ),
        feature(
            "a row missing in all streams",
            "read",
            "",
            shorten,
        ),
        feature(
            "rows that are no whole segments",
            "error",
            "AAAAAAAAAAA.npy: has shape [10, 6]; it must have a multiple of 4 rows and at most 40, for "
            "data.segments=10 and data.rows_per_segment.res152=4",
            lambda p: p.save("res152", "AAAAAAAAAAA", np.ones((10, 6))),
            "data.rows_per_segment={res152: 4}",
        ),
        feature(
            "rows a segment for an unknown stream",
            "error",
            "data.rows_per_segment: 'resnet' is not one of the streams vggish, res152, r2plus1d_18.",
            nothing,
            "data.rows_per_segment={resnet: 8}",
        ),
        feature(
            "transposed",
            "error",
            "AAAAAAAAAAA.npy: has 10 columns, but other files of this stream have 4",
            lambda p: p.holding(np.ones((4, 10))),
        ),
        feature("no rows", "error", "AAAAAAAAAAA.npy: has shape [0, 4]", lambda p: p.holding(np.ones((0, 4)))),
        feature(
            "a column less than the other files",
            "error",
            "BBBBBBBBBBB.npy: has 3 columns, but other files of this stream have 4",
            lambda p: p.save("vggish", "BBBBBBBBBBB", np.ones((10, 3))),
        ),
        feature(
            "a NaN",
            "error",
            "AAAAAAAAAAA.npy: contains NaN or infinite values (1, the first in row 6, column 3); extract it again",
            lambda p: p.holding(np.where(np.arange(40).reshape(10, 4) == 27, np.nan, 1.0)),
        ),
        feature(
            "infinite values",
            "error",
            "AAAAAAAAAAA.npy: contains NaN or infinite values (40, the first in row 0, column 0)",
            lambda p: p.holding(np.full((10, 4), np.inf)),
        ),
        feature(
            "values too large for float32",
            "error",
            "AAAAAAAAAAA.npy: 1e+300 is too large; scale the features",
            lambda p: p.holding(np.full((10, 4), 1e300)),
        ),
        feature(
            "values too large for float16",
            "error",
            "AAAAAAAAAAA.npy: 70000 is too large for float16; set data.dtype=bfloat16 or float32",
            lambda p: p.holding(np.full((10, 4), 7e4)),
            "data.dtype=float16",
        ),
        feature(
            "float64, big-endian, in columns",
            "read",
            "",
            lambda p: p.holding(np.asfortranarray(np.load(p.feature()), dtype=">f8")),
        ),
        feature("bytes after the end", "read", "", lambda p: p.feature().write_bytes(p.feature().read_bytes() + b"x")),
    ],
    "Packed store": [
        feature("the index cut off", "read", "", lambda p: cut(p.pack().with_name("index.json"), -9)),
        feature(
            "an index of random bytes",
            "read",
            "",
            lambda p: (p.pack(), (p.packed / "index.json").write_bytes(bytes(range(256)))),
        ),
        feature(
            "an index of other types", "read", "", lambda p: p.edit_index(lambda index: index.update(names={"a": 1}))
        ),
        feature(
            "an index that names a path",
            "read",
            "",
            lambda p: p.edit_index(
                lambda index: (
                    index["names"].append("../../x"),
                    [s["sources"].append(s["sources"][0]) for s in index["streams"].values()],
                )
            ),
        ),
        feature(
            "a huge dimension in the index",
            "warning",
            AGAIN,
            lambda p: p.edit_index(lambda index: index["streams"]["vggish"].update(dim=10**30)),
        ),
        feature(
            "a length changed in the index",
            "read",
            "",
            lambda p: p.edit_index(lambda index: index["lengths"].__setitem__(0, 9)),
        ),
        feature("an array cut off", "warning", AGAIN, lambda p: cut(p.pack(), -1)),
        feature("an array missing", "warning", AGAIN, lambda p: p.pack().unlink()),
        feature(
            "a flipped bit in an array",
            "warning",
            AGAIN,
            lambda p: (lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]))(
                p.pack()
            ),
        ),
        feature(
            "a file for the folder",
            "error",
            "packed: cannot be written (File exists); set data.packed to another folder",
            lambda p: p.packed.touch(),
        ),
        feature(
            "a folder for the index",
            "error",
            "index.json: cannot be written (Is a directory)",
            lambda p: (p.packed / "index.json").mkdir(parents=True),
        ),
        Case(
            "an unusable store in training",
            "warning",
            "the packed features cannot be used or renewed, so the files are read: ",
            lambda p: p.edit_index(lambda index: index.update(segments=5), lock=Path.mkdir),
            "train",
        ),
    ],
}
