"""What the benchmark of inference compares, and the costs of the paper beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avvp_pl.data.videos import ParsingSet
from avvp_pl.training.module import ParsingModule
from benchmarks import inference, paper
from benchmarks.measure import Pair
from tests.conftest import Build

README = Path(inference.__file__).with_name("README.md")


def test_both_inferences_parse_all_videos_in_turn(
    build: Build, tiny: ParsingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timed by a clock that counts the videos that were parsed, and those by prototypes twice."""
    model, _ = build("ppl_soft", "inference=[prototype,classifier]")
    assert tiny.train is not None
    parsed: list[str] = []
    original = ParsingModule.parse

    def parse(self, batch, inferences=None):  # type: ignore[no-untyped-def]
        (name,) = inferences
        built = self.labeling.bank.is_built
        parsed.extend([f"{name} {built} {self.training}"] * len(batch.index) * (2 if name == "prototype" else 1))
        return original(self, batch, inferences)

    monkeypatch.setattr(ParsingModule, "parse", parse)
    monkeypatch.setattr("time.perf_counter", lambda: float(len(parsed)))
    pair = inference.time_both(model, tiny.train, repeats=2)
    number = len(tiny.train)
    assert (pair.ours, pair.plain) == ([2.0 * number] * 2, [1.0 * number] * 2)
    assert set(parsed) == {"prototype True False", "classifier True False"}


def test_the_row_has_our_ratio_and_that_of_the_paper() -> None:
    row = inference.by_prototypes(Pair([0.2, 0.3, 0.9], [0.1, 0.2, 0.2]), videos=100)
    assert row.ours == "3 ms to 2 ms"
    assert row.ratio == "1.50; in the paper 2.03 (5.9 ms to 2.9 ms)"


def test_the_costs_are_those_of_the_paper(shared: Path) -> None:
    text = " ".join((shared / "paper" / "ppl_cvpr2024.txt").read_text(encoding="utf-8").split())
    cost = re.search(
        r"our approach takes ?([\d.]+)s per epoch \( ?([\d.]+)s for forward\+backward propagation and ?([\d.]+)s for "
        r"prototype-based pseudo labeling\)\. Inference time is ?([\d.]+)ms on average per video, which is comparable "
        r"to the baselines \( ?([\d.]+)ms\)",
        text,
    )
    assert cost is not None
    epoch, *others = map(float, cost.groups())
    assert others == [paper.TRAINING, paper.LABELING, paper.BY_PROTOTYPES, paper.BY_CLASSIFIER]
    assert epoch == pytest.approx(paper.TRAINING + paper.LABELING) == 67.4


def test_the_page_has_the_costs_of_the_paper() -> None:
    page = " ".join(README.read_text(encoding="utf-8").split())
    for said in ("67.4 s for an epoch, which are 17.1 s of training and 50.3 s of labeling", "5.9 ms", "2.9 ms"):
        assert said in page
    labeling = paper.ratios(0.29, paper.LABELING, paper.TRAINING, "s").partition("; ")[2]
    by_prototypes = paper.ratios(1.0, paper.BY_PROTOTYPES, paper.BY_CLASSIFIER, "ms").partition("; ")[2]
    assert (labeling, by_prototypes) == ("in the paper 2.94 (50.3 s to 17.1 s)", "in the paper 2.03 (5.9 ms to 2.9 ms)")
    assert labeling in page
    assert by_prototypes in page
