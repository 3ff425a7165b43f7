"""The page of a report of localization in a real browser: intervals in seconds, and nothing that has no meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from avvp_pl.reporting.detected import browse_intervals
from avvp_pl.reporting.localized import FoundIntervals, Outcome, of_localized_split
from avvp_pl.reporting.page import write_page
from avvp_pl.reporting.tables import Cell, Row, Table
from tests.reporting.made_localization import EVENTS, LENGTHS, read
from tests.reporting.test_page import chromium, listed, rows, watch

__all__ = ["chromium"]  # a fixture

COLUMNS = ("map/0.1", "map/average_0.1_0.7")
TABLE = Table(
    "table5", "Table 5: x", COLUMNS, (Row("PPL", 1, {name: Cell(12.5) for name in COLUMNS}, {COLUMNS[0]: 72.7}),)
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    curves = torch.full((sum(LENGTHS), len(EVENTS)), 0.25)
    curves[sum(LENGTHS[:3]) :, 1] = 0.75
    likely = torch.full((len(LENGTHS), len(EVENTS)), 0.4)
    better = {
        (0, 0): (Outcome("exact", 1.0, 3.0, 0.9), Outcome("missed", 4.0, 8.0, None)),
        (1, 1): (Outcome("extent", 11.0, 14.0, 0.4), Outcome("missed", 10.0, 30.0, None)),
        (3, 1): (Outcome("inexact", 100.0, 250.25, 0.8),),
    }
    worse = {(3, 1): (Outcome("false", 20.0, 50.0, 0.3), Outcome("missed", 100.0, 300.0, None))}
    every = frozenset(range(len(LENGTHS)))
    found = {
        "better": FoundIntervals(better, curves, likely, every, 0),
        "worse": FoundIntervals(worse, None, None, every, 3),
    }
    page = tmp_path_factory.mktemp("localization") / "index.html"
    write_page(page, "x", [TABLE], [], browse_intervals(of_localized_split(read()), found, {}, page.parent), [])
    return page


@pytest.fixture
def opened(chromium: Chromium, report: Path) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    wrong = watch(page)
    page.goto(report.as_uri())
    yield page
    page.close()
    assert wrong == []


def test_the_table_has_thresholds_for_columns(opened: Page) -> None:
    heads = opened.locator("thead").first.inner_text()
    assert "mAP at the threshold of tIoU" in heads
    assert "0.1:0.7" in heads
    expect(opened.get_by_label("Level")).to_have_count(0)


def test_detections_are_where_they_are_in_time(opened: Page) -> None:
    assert listed(opened) == [f"video {length}" for length in LENGTHS]
    rows(opened).nth(3).click()
    lanes = opened.locator("#detail .lanes .lane")
    length = 700 * 0.64
    for lane, kind, start, end in ((0, "truth", 100, 300), (1, "inexact", 100, 250.25), (2, "false", 20, 50)):
        bar = lanes.nth(lane).locator(f".bar.{kind}")
        box, whole = bar.bounding_box(), lanes.nth(lane).bounding_box()
        assert box is not None
        assert whole is not None
        assert (box["x"] - whole["x"]) / whole["width"] == pytest.approx(start / length, abs=0.01)
        assert box["width"] / whole["width"] == pytest.approx((end - start) / length, abs=0.01)
    expect(lanes.nth(1).locator("svg")).to_have_count(1)
    expect(lanes.nth(2).locator("svg")).to_have_count(0)  # its probabilities are not known
    expect(lanes.nth(2).locator(".ghost.missed")).to_have_count(1)
    said = lanes.nth(1).get_attribute("aria-label")
    assert said == "better: hit 100 to 250.25 s, score 0.8"
    assert opened.locator("#detail .ruler").inner_text().strip().endswith("/ 448 s")
    assert opened.locator("#detail .values .lane").nth(1).inner_text() == ".75"


def test_outcomes_are_counted_and_filtered(opened: Page) -> None:
    summary = opened.locator("#summary").inner_text()
    assert "as many as it has instances" in summary
    numbers = [re.sub(r"\s+", " ", line) for line in opened.locator("#summary .method .numbers").all_inner_texts()[1:]]
    # close hits, hits, wrong extents, false ones, missed ones
    assert [re.findall(r"\d+", line) for line in numbers] == [["1", "1", "1", "0", "2"], ["0", "0", "0", "1", "1"]]
    opened.get_by_label("Outcome").select_option("false")
    assert listed(opened) == ["video 700"]
    opened.get_by_label("Outcome").select_option("")
    opened.get_by_label("Event").select_option(label="Diving")
    assert listed(opened) == ["video 13"]
    expect(opened.locator("select[name=modality]")).to_have_count(0)
    opened.get_by_role("button", name="Reset").click()
    assert len(listed(opened)) == len(LENGTHS)


def test_a_link_brings_the_view_back(opened: Page, chromium: Chromium) -> None:
    rows(opened).nth(1).click()
    opened.get_by_label("Event").select_option(label="Jump")
    expect(opened).to_have_url(re.compile("event=Jump"))
    other = chromium.new_page()
    wrong = watch(other)
    other.goto(opened.url)
    expect(other.locator("#detail h3")).to_have_text("video 300")
    other.close()
    assert wrong == []
