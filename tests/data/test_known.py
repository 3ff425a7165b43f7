"""Which data a folder holds: LLP is known by its test videos, and any other data by its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from avvp_pl.data.known import LARGEST, LLP_TEST_VIDEOS, TEST_TABLE, digest_of, name_of
from tests.conftest import composed


def tables(root: Path, *names: str) -> Path:
    (root / "data").mkdir(parents=True)
    rows = "".join(f"{name}\tSpeech\n" for name in names)
    (root / "data" / TEST_TABLE).write_text(f"filename\tevent_labels\n{rows}")
    return root


def test_own_data_has_the_name_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tables(tmp_path / "my data", "one", "two")
    assert name_of(root) == name_of(f"{root}/") == "my data"
    monkeypatch.chdir(root)
    assert name_of(".") == "my data"
    assert name_of("data/..") == "my data"
    assert name_of(tmp_path / "nowhere") == "nowhere"
    (root / "data" / TEST_TABLE).write_bytes(b"\xff")
    assert name_of(root) == "my data"


@pytest.mark.parametrize("folder", ["llp", "LLP"])
def test_own_data_is_not_called_llp_by_its_folder(tmp_path: Path, folder: str) -> None:
    assert name_of(tables(tmp_path / folder, "one")) == f"{folder} (not LLP)"


def test_the_tables_of_llp_have_its_name_in_any_folder_and_order(shared: Path, tmp_path: Path) -> None:
    table = (shared / "llp" / TEST_TABLE).read_text()
    header, *rows = table.splitlines(keepends=True)
    for name, lines in (("one", rows), ("two", rows[::-1])):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / TEST_TABLE).write_text("".join([header, *lines]))
        assert name_of(tmp_path / name) == "llp"
    assert digest_of(row.split("\t")[0] for row in rows) == LLP_TEST_VIDEOS
    (tmp_path / "two" / "data" / TEST_TABLE).write_text("".join([header, *rows[1:]]))
    assert name_of(tmp_path / "two") == "two"


def test_a_table_that_is_too_large_for_llp_is_not_read(tmp_path: Path) -> None:
    root = tables(tmp_path / "large")
    with (root / "data" / TEST_TABLE).open("ab") as file:
        file.truncate(LARGEST + 1)  # of zeros, which are no text
    assert name_of(root) == "large"


def test_the_name_is_a_setting_that_follows_the_folder(tmp_path: Path) -> None:
    root = tables(tmp_path / "mine", "one")
    for data in ("llp", "realmix"):
        assert composed("mil", f"data={data}", f"data.root={root}").data.name == "mine"
    assert composed("mil", "data=llp", f"data.root={root}", "data.name=Mine").data.name == "Mine"
    assert composed("mil", "data=realmix").data.name == "realmix"
