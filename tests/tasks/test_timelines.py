"""Parsed videos as files: called as their features are, and nowhere else than asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.tasks.timelines import write_pictures
from avvp_pl.training.module import Parsed


def draw(tiny: ParsingSet, folder: Path, *names: str) -> list[str]:
    assert tiny.test is not None
    assert tiny.test.truth is not None
    split = replace(tiny.test, names=(*names, *tiny.test.names[len(names) :]))
    parsed = Parsed(tiny.test.truth, tiny.test.truth.to(torch.float32), tiny.test.weak_labels)
    write_pictures(folder, split, parsed, tiny, len(names))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pictures_are_called_as_the_feature_files(tiny: ParsingSet, tmp_path: Path) -> None:
    long = f"CCCCCCCCCCC_0_{'9' * 300}"  # of a key of eleven letters; with all of it, no file could be called so
    written = draw(tiny, tmp_path, "AAAAAAAAAAA_0_10", "holiday", long)
    assert written == ["pictures/AAAAAAAAAAA.png", "pictures/CCCCCCCCCCC.png", "pictures/holiday.png"]


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", ".."])
def test_no_name_leads_out_of_the_folder(tiny: ParsingSet, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must not contain a path"):
        draw(tiny, tmp_path / "out", name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
