"""Which data set this is: LLP is known by the names of its test videos, any other data by its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from avvp_pl.data.annotations import read_names
from avvp_pl.errors import InputError

LLP = "llp"
LLP_TEST_VIDEOS = "8d660728305f05323cf3f216b7d7b48952c2c83dbe59e3f62bd9584a821a7164"  # digest_of() the 1,200 names
THUMOS14_TEST_VIDEOS = (  # digest_of() the names of all 213, the 212 with instances, and the 210 annotated rightly
    "a01f4d12e344fa4d5c389abcbfad146a1eab3289cd93fad6727e9843e1454890",
    "a1507abc217baed5eb0f341391ab7e73ae44edbf06c08c08f681b983e11db2af",
    "51bad9afadc6545a26833fd1f47b51d0458a05baee5c23ec8f3f8b8693e27f31",
)
THUMOS14_EVENTS = (
    "BaseballPitch", "BasketballDunk", "Billiards", "CleanAndJerk", "CliffDiving", "CricketBowling", "CricketShot",
    "Diving", "FrisbeeCatch", "GolfSwing", "HammerThrow", "HighJump", "JavelinThrow", "LongJump", "PoleVault",
    "Shotput", "SoccerPenalty", "TennisSwing", "ThrowDiscus", "VolleyballSpiking",
)  # fmt: skip
TEST_TABLE = "AVVP_test_pd.csv"
TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": TEST_TABLE}  # of weak labels, by their split
LARGEST = 2**20  # bytes; the test table of LLP has a tenth of them, and that of a million videos is not read for a name


def digest_of(names: Iterable[str]) -> str:
    """Return a checksum of the names of some videos, which does not depend on their order.

    >>> digest_of(["b", "a"]) == digest_of(["a", "b"]) != digest_of(["a", "b", "c"])
    True
    """
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def name_of(root: str | Path) -> str:
    """Return the name of the data in a folder in LLP layout: ``llp`` if its test videos are LLP's, else the folder's.

    A folder that is not there, or whose table cannot be read, has its name too: what reads the data says what is wrong.
    """
    folder = Path(root).absolute()
    folder = folder if folder.name and folder.name != ".." else folder.resolve()
    if _is_llp(folder / "data" / TEST_TABLE):
        return LLP
    return f"{folder.name} (not LLP)" if folder.name.lower() == LLP else folder.name or "data"


def _is_llp(table: Path) -> bool:
    try:
        return table.stat().st_size <= LARGEST and digest_of(read_names(table)) == LLP_TEST_VIDEOS
    except (OSError, InputError):
        return False
