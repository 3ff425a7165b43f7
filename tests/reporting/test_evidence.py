"""A whole report of data that nothing in this package knows: three modalities, videos of 5 to 40 segments."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.metrics.avvp import score_timelines
from avvp_pl.reporting.browser import Found
from avvp_pl.reporting.evidence import gather, write_report
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.parsing import ParsingTask
from tests.reporting.made import run_folder

LENGTHS = (5, 40, 12, 7)
SENSES = ("audio", "visual", "touch")
READER = "from tests.reporting.test_evidence import made_data\n\n\ndef read(**_):\n    return made_data()\n"
SOURCE = {"_target_": "somebodys_touch.read"}


def made_data() -> ParsingSet:
    lengths = torch.tensor(LENGTHS)
    truth = torch.rand(sum(LENGTHS), 3, 2, generator=torch.Generator().manual_seed(0)) < 0.3
    streams = {name: torch.zeros(sum(LENGTHS), 2) for name in SENSES}
    names = tuple(f"video {length}" for length in LENGTHS)
    videos = VideoSet(names, lengths, streams, torch.ones(len(LENGTHS), 2), truth)
    return ParsingSet(("Dog", "Cat"), {name: (name,) for name in SENSES}, None, None, videos, segment_seconds=0.5)


def made_parsed(seed: int) -> Parsed:
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(sum(LENGTHS), 3, 2, generator=generator)
    return Parsed(torch.tensor(LENGTHS), probs > 0.6, probs, torch.rand(len(LENGTHS), 3, 2, generator=generator))


def write_run(folder: Path, name: str, seed: int, parsed: Parsed, **settings: Any) -> None:
    """A run folder whose files of the test videos are those that a test writes."""
    data = made_data()
    assert data.test is not None
    assert data.test.truth is not None
    found, truth = (data.test.padded(flat) for flat in (parsed.timelines, data.test.truth))
    scores = score_timelines(found, truth, data.test.mask, SENSES)
    modalities = {sense: [sense] for sense in SENSES}
    run_folder(folder, name, seed, data="three", data__source=SOURCE, data__modalities=modalities, **settings)
    ParsingTask().write(folder, data.test.names, parsed, scores, data, "common")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two seeds of Base, and one run of a method and a labeling outside the package."""
    (tmp_path / "somebodys_touch.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    outside: dict[str, Any] = {"method___target_": "nowhere.Method", "labeling": {"_target_": "nowhere.Labeling"}}
    for seed in (0, 1):
        write_run(tmp_path / "runs" / f"mil{seed}", "mil", seed, made_parsed(seed))
    write_run(tmp_path / "runs" / "mine", "mine", 0, made_parsed(7), tags=["table2"], **outside)
    yield tmp_path / "runs"
    sys.modules.pop("somebodys_touch", None)


def segments_of(flat: Tensor, n: int) -> Tensor:
    return torch.split(flat, list(LENGTHS))[n]


def test_a_report_of_three_modalities_and_videos_of_any_length(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs], trust=["somebodys_touch"])
    assert evidence.notes == ()
    assert evidence.videos is not None
    assert evidence.videos.lengths == LENGTHS
    assert list(evidence.differences or {}) == ["mine"]
    for label, seed in (("mil", 0), ("mine", 7)):
        found, expected = evidence.found[label], made_parsed(seed)
        assert isinstance(found, Found)
        assert found.probabilities is not None
        for n, length in enumerate(LENGTHS):
            assert torch.equal(found.prediction[n, :length], segments_of(expected.timelines, n))
            probs = found.probabilities.segment[n, :length]
            torch.testing.assert_close(probs, segments_of(expected.probs, n), atol=3e-4, rtol=0)
        torch.testing.assert_close(found.probabilities.video, expected.video_probs, atol=3e-4, rtol=0)
    page = write_report(tmp_path / "report", evidence, figure3=["video 5", "video 40"])
    content = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text("utf-8"))
    assert content is not None
    browser = json.loads(content[1])["browser"]
    assert browser["modalities"] == list(SENSES)
    assert [(name, segments) for name, segments, *_ in browser["videos"]] == [(f"video {n}", n) for n in LENGTHS]
    for _, segments, _, _, shown in browser["videos"]:
        for _, tracks in shown:
            assert [len(percents) for *_, percents, _ in tracks] == [2 * 2 * segments] * 3
    for table, labels in (("table2", {"Base", "mine"}), ("all", {"mil", "mine"})):
        with (tmp_path / "report" / "tables" / f"{table}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert {line["row"] for line in lines if line["mean"]} == labels
        assert {"segment/audio_visual_touch", "event/touch"} <= {line["score"] for line in lines}
        assert all(line["low"] for line in lines if line["row"] == "mine")
    legend = (tmp_path / "report" / "tables" / "tables.md").read_text("utf-8")
    assert "A, V and AV are audio" not in legend
    assert {f"fig3_{n}.svg" for n in (1, 2)} <= {path.name for path in (tmp_path / "report" / "figures").iterdir()}


def test_without_trust_there_are_tables_and_a_note(runs: Path, tmp_path: Path) -> None:
    sys.modules.pop("somebodys_touch", None)
    evidence = gather([runs])
    assert evidence.videos is None
    assert "somebodys_touch" not in sys.modules  # nothing of it was imported
    (note,) = evidence.notes
    assert note.startswith("The test videos are not available, so there are no intervals and no timelines: ")
    assert note.endswith("if you trust the package somebodys_touch, give trust=[somebodys_touch]")
    write_report(tmp_path / "report", evidence)
    assert "without intervals" in (tmp_path / "report" / "tables" / "tables.md").read_text("utf-8")


def test_runs_of_other_lengths_have_no_timelines(runs: Path) -> None:
    path = runs / "mine" / "predictions" / "probabilities.npz"
    path.write_bytes((runs / "mil0" / "predictions" / "probabilities.npz").read_bytes()[:-20])
    evidence = gather([runs], trust=["somebodys_touch"])
    assert list(evidence.found) == ["mil"]
    (note,) = evidence.notes
    assert note.startswith("mine has no intervals and no timelines: ")


def test_printed_numbers_of_other_data_are_refused_before_anything_is_written(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs], trust=["somebodys_touch"])
    file = tmp_path / "printed.csv"
    file.write_text("table,row,score,value,source\ntable2,Other,segment/audio,60,a paper\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"printed\.csv: printed numbers only stand beside the data"):
        write_report(tmp_path / "report", evidence, published=str(file))
    assert not (tmp_path / "report").exists()
    write_report(tmp_path / "report", evidence, published="none")
    assert "rinted" not in (tmp_path / "report" / "tables" / "tables.md").read_text("utf-8")


def test_a_protocol_selects_runs(runs: Path) -> None:
    scores = runs / "mine" / "scores.json"
    scores.write_text(scores.read_text().replace('"common"', '"mine"'))
    with pytest.raises(InputError, match=r"several protocols \(common: 2 runs, mine: 1 run\)"):
        gather([runs])
    assert [setting.label for setting in gather([runs], protocol="mine").settings] == ["mine"]
