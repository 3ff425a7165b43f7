"""Names in composed and in decomposed Unicode."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from avvp_pl.data.names import composed, spellings
from avvp_pl.errors import InputError

DECOMPOSED, COMPOSED = "u\N{COMBINING DIAERESIS}", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"


def test_names_are_composed() -> None:
    assert composed(DECOMPOSED) == composed(COMPOSED) == COMPOSED
    assert composed("BjCEufrlXm4_20_30") == "BjCEufrlXm4_20_30"
    assert composed("\N{OHM SIGN}") == "\N{GREEK CAPITAL LETTER OMEGA}"
    assert composed("\N{SUPERSCRIPT TWO}") == "\N{SUPERSCRIPT TWO}"  # which is not the same name as 2


def test_spellings_of_a_disk(tmp_path: Path) -> None:
    for name in ("plain.npy", f"{DECOMPOSED}.npy", "\N{SNOWMAN}.npy"):
        (tmp_path / name).touch()
    found = spellings(tmp_path)
    assert found.keys() == {f"{COMPOSED}.npy", "\N{SNOWMAN}.npy"}
    assert all((tmp_path / name).exists() for name in found.values())
    assert spellings(tmp_path / "nowhere") == spellings(tmp_path / "plain.npy") == {}


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)$"):
        spellings(tmp_path)
