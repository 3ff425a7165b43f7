"""The page in a real browser: opened from the disk, looked at, clicked and typed on."""

from __future__ import annotations

import itertools
import re
import shutil
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote_plus

import pytest
import torch
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page, expect, sync_playwright

from avvp_pl.data.annotations import intervals
from avvp_pl.reporting.browser import Found, browse, compare
from avvp_pl.reporting.page import write_page
from avvp_pl.reporting.tables import Cell, Row, Table
from avvp_pl.reporting.videos import Probabilities, TestVideos

EVIL = "<img src=x onerror=alert(1)>"
WORSE = "</script><script>alert(1)</script>"
NAMES = ("song 1", "song 2", EVIL, WORSE, "quiet", "last", "song 10", "broken")
EVENTS = ("Speech", "Dog", "<b>Car</b>")
MODALITIES = ("audio", "visual")
METHODS = ("mil", "<i>ppl</i>")
KINDS = ("missed", "false", "extent", "inexact", "exact")
SEGMENTS = 6
MISSING = "nowhere.mp4"

TABLE = Table(
    "table1",
    f"Table 1: methods {EVIL}",
    ("segment/audio", "segment/type_av", "event/audio", "average"),
    (
        Row("mil", 3, {"segment/audio": Cell(9.5, 1.1), "event/audio": Cell(40.0), "average": Cell(49.0, 0.4)}),
        Row(
            "ppl",
            3,
            {
                "segment/audio": Cell(60.25, 0.5, 0.75, (0.1, 1.4)),
                "segment/type_av": Cell(50.0, 0.5, -0.5, (-1.25, 0.5)),
                "average": Cell(50.0, 0.1, -1.0, (-2.0, -0.5)),
            },
            {"segment/audio": 63.1},
        ),
        Row("MA", 0, {}, {"segment/audio": 60.3}, f"labels {EVIL}"),
        Row("han", 1, {"segment/audio": Cell(100.0), "average": Cell(30.0)}),
    ),
    ("A note </script>.",),
)
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><script>alert(1)</script><rect width="9" height="9"/>'
    "</svg>"
)


@cache
def made_videos() -> tuple[TestVideos, dict[str, Found]]:
    torch.manual_seed(3)
    shape = (len(NAMES), SEGMENTS, len(MODALITIES), len(EVENTS))
    truth = (torch.rand(shape) > 0.4) & (torch.rand(len(NAMES), 1, 2, 3) > 0.6)
    truth[NAMES.index("quiet")] = False
    videos = TestVideos(NAMES, EVENTS, MODALITIES, truth, torch.ones(shape[:2], dtype=torch.bool), 1.0)
    found = {}
    for seed, label in enumerate(METHODS):
        prediction = truth ^ ((torch.rand(shape) > 0.6) & (torch.rand(len(NAMES), 1, 2, 3) > 0.5))
        prediction[NAMES.index("quiet")] = False
        probabilities = Probabilities(0.9 * prediction + 0.05, torch.full((len(NAMES), 2, 3), 0.07))
        found[label] = Found(prediction, probabilities if seed else None, seed)
    return videos, found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    videos, found = made_videos()
    song = folder / "media" / "song #1.wav"
    song.parent.mkdir()
    with wave.open(str(song), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes([128]) * 8000 * SEGMENTS)
    media = {"song 1": song, "broken": folder / "media" / MISSING}
    page = folder / "out" / "report.html"
    browser = browse(videos, found, media, page.parent)
    drawings = [("Figure 4", f"gamma {EVIL}", DRAWING)]
    write_page(page, f"A report {EVIL}", [TABLE], drawings, browser, [WORSE], [("Data", EVIL)])
    return page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium or google-chrome")
    with sync_playwright() as playwright:
        # no sandbox: where tests run, in a container, there often can be none; only our own page is opened
        expect.set_options(timeout=5000)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Chromium, report: Path) -> Iterator[Page]:
    """The report at the width of a desk; whatever is done with it, nothing may fail or leave the disk."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    wrong = watch(page)
    page.goto(report.as_uri())
    yield page
    page.close()
    assert wrong == []


def watch(page: Page) -> list[str]:
    wrong: list[str] = []
    # of the one file that is not there a browser says so itself
    page.on("console", lambda said: None if MISSING in said.location["url"] else wrong.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else wrong.append(one.url))
    return wrong


def listed(page: Page) -> list[str]:
    return page.get_by_role("listbox").locator(".name").all_text_contents()


def selected(page: Page) -> Locator:
    return page.locator("#list [aria-selected=true] .name")


def rows(page: Page) -> Locator:
    return page.get_by_role("listbox").get_by_role("option")


def settings(page: Page) -> list[str]:
    return page.locator(".sheet tbody th .label").all_text_contents()


def filters(page: Page, **chosen: str) -> None:
    for name, value in chosen.items():
        page.locator(f"#filters [name={name}]").select_option(value)


@cache
def kinds_of(n: int, event: str, modality: str, method: str) -> frozenset[str]:
    videos, found = made_videos()
    place = (n, slice(None), MODALITIES.index(modality), EVENTS.index(event))
    groups = compare(found[method].prediction[place].numpy(), videos.truth[place].numpy())
    return frozenset(group.kind for group in groups)


def outcomes(event: str, modality: str, method: str) -> dict[str, set[str]]:
    """Names of the videos that have each kind of outcome there; an empty word asks for any."""
    asked = (
        [event] if event else EVENTS,
        [modality] if modality else MODALITIES,
        [method] if method else METHODS,
    )
    kinds = {
        name: frozenset[str]().union(*(kinds_of(n, *one) for one in itertools.product(*asked)))
        for n, name in enumerate(NAMES)
    }
    return {kind: {name for name in NAMES if kind in kinds[name]} for kind in KINDS}


def test_numbers_are_sorted_as_numbers_with_missing_ones_last(opened: Page) -> None:
    header = opened.get_by_role("columnheader", name="Audio segment level")
    button = header.get_by_role("button")
    expect(header).to_have_attribute("aria-sort", "none")
    assert settings(opened) == ["mil", "ppl", "MA", "han"]
    button.click()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert settings(opened) == ["han", "ppl", "mil", "MA"]
    button.click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert settings(opened) == ["mil", "ppl", "han", "MA"]
    button.press("Enter")  # and back to the order of the table, by the keyboard
    expect(button).to_be_focused()
    assert settings(opened) == ["mil", "ppl", "MA", "han"]
    name = opened.get_by_role("columnheader", name="Setting")
    name.get_by_role("button").focus()
    opened.keyboard.press("Space")
    expect(name).to_have_attribute("aria-sort", "ascending")
    assert settings(opened) == ["han", "MA", "mil", "ppl"]


def test_a_cell_has_all_that_is_known(opened: Page) -> None:
    row = opened.locator(".sheet tbody tr", has_text="ppl")
    cells = row.locator("td")
    expect(cells.nth(0)).to_have_text("60.3 ± 0.5▲+0.8 (the interval excludes 0)[0.1, 1.4]paper: 63.1")
    expect(cells.nth(1)).to_have_text("50.0 ± 0.5\u22120.5[\u22121.3, 0.5]")
    expect(cells.nth(2)).to_have_text("\u2013")
    expect(cells.nth(3)).to_have_text("50.0 ± 0.1▼\u22121.0 (the interval excludes 0)[\u22122.0, \u22120.5]")
    expect(row.locator("th")).to_contain_text("3 seeds")
    assert opened.locator(".mean.best").all_text_contents() == ["50.0", "100.0"]  # of two numbers or more
    opened.get_by_label("interval").uncheck()
    expect(row.locator(".interval").first).to_be_hidden()
    opened.get_by_label("paper", exact=True).uncheck()
    expect(opened.locator(".sheet tbody tr", has_text="MA")).to_be_hidden()


def test_levels_are_shown_one_at_a_time(opened: Page) -> None:
    shown = opened.locator(".sheet thead button")
    expect(shown).to_have_count(5)
    opened.get_by_text("Segments", exact=True).click()
    expect(shown).to_have_count(4)
    expect(opened.get_by_role("columnheader", name="Audio event level")).to_have_count(0)
    opened.keyboard.press("ArrowRight")
    expect(shown).to_have_count(3)
    expect(opened.get_by_role("columnheader", name="Audio event level")).to_be_visible()


def test_filters_show_what_a_reference_finds(opened: Page) -> None:
    choices, expected = [], []
    for event, modality, method in itertools.product(("", *EVENTS), ("", *MODALITIES), ("", *METHODS)):
        names = outcomes(event, modality, method)
        for kind, kinds in {"": KINDS, "error": KINDS[:3], **{kind: (kind,) for kind in KINDS}}.items():
            # a method alone asks for nothing
            wanted = set().union(*(names[one] for one in kinds)) if event or modality or kind else set(NAMES)
            expected.append([name for name in NAMES if name in wanted])
            numbers = ((EVENTS, event), (MODALITIES, modality), (METHODS, method))
            choices.append([*(str(words.index(word)) if word else "-1" for words, word in numbers), kind])
    assert len(set(map(len, expected))) > 4  # they are told apart
    assert quickly_filtered(opened, choices) == expected
    opened.get_by_role("button", name="Reset").click()
    assert listed(opened) == list(NAMES)
    filters(opened, event="1", kind="missed")  # and by hand
    assert listed(opened) == [name for name in NAMES if name in outcomes("Dog", "", "")["missed"]]


def quickly_filtered(page: Page, choices: list[list[str]]) -> list[list[str]]:
    """What is listed after each choice of event, modality, method and kind."""
    names: list[list[str]] = page.evaluate(
        """(choices) => choices.map((chosen) => {
            ["event", "modality", "method", "kind"].forEach((name, place) => {
                const select = document.getElementById("filters").elements[name];
                select.value = chosen[place];
                select.dispatchEvent(new Event("change"));
            });
            return [...document.querySelectorAll("#list .name")].map((name) => name.textContent);
        })""",
        choices,
    )
    return names


def test_the_list_is_ordered_by_score_and_errors(opened: Page) -> None:
    videos, found = made_videos()
    scores = {video.name: video.scores[1] for video in browse(videos, found, {}, Path()).videos}
    filters(opened, method="1", order="worst")
    assert [scores[name] for name in listed(opened)] == sorted(scores.values())
    filters(opened, order="best")
    assert [scores[name] for name in listed(opened)] == sorted(scores.values(), reverse=True)
    filters(opened, order="errors")
    said = opened.locator("#list .chips").all_text_contents()
    counts = [sum(map(int, re.findall(r"\d+", text))) for text in said]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0
    filters(opened, order="name")
    assert listed(opened).index("song 2") < listed(opened).index("song 10")


def test_search_and_media(opened: Page) -> None:
    opened.get_by_label("Search").fill("SONG")
    assert listed(opened) == ["song 1", "song 2", "song 10"]
    expect(opened.get_by_role("status")).to_have_text("3 of 8 videos")
    opened.get_by_label("with media only").check()
    assert listed(opened) == ["song 1"]
    opened.get_by_label("Search").fill("nothing of this")
    expect(opened.get_by_role("heading", name="No video matches")).to_be_visible()
    expect(opened.locator(".panes")).to_be_hidden()


def test_keys_alone_are_enough(opened: Page) -> None:
    opened.keyboard.press("j")  # while nobody sees them
    expect(selected(opened)).to_have_text("song 1")
    opened.locator("#videos").scroll_into_view_if_needed()
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    expect(selected(opened)).to_have_text(EVIL)
    opened.keyboard.press("k")
    expect(selected(opened)).to_have_text("song 2")
    opened.keyboard.press("/")
    search = opened.get_by_label("Search")
    expect(search).to_be_focused()
    opened.keyboard.type("k j/")  # are letters here
    expect(search).to_have_value("k j/")
    opened.keyboard.press("Escape")
    expect(search).to_have_value("")
    assert listed(opened) == list(NAMES)
    opened.keyboard.press("Escape")
    expect(opened.get_by_role("listbox")).to_be_focused()
    opened.keyboard.press("End")
    expect(selected(opened)).to_have_text("broken")
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowDown")
    expect(selected(opened)).to_have_text("song 2")
    expect(opened.locator("#detail h3")).to_have_text("song 2")


def test_tab_reaches_everything_and_shows_where_it_is(opened: Page) -> None:
    reached = []
    for _ in range(60):
        opened.keyboard.press("Tab")
        where, outlined = opened.evaluate(
            """() => {
                const here = document.activeElement;
                const shown = here.type === "radio" ? here.nextSibling : here;
                const name = here.name || here.id || here.className || here.dataset.column || here.textContent;
                // the parts of a player, each with a mark of its own, are the browser's
                return [name, here.tagName === "VIDEO" ? "its own" : getComputedStyle(shown).outlineStyle];
            }"""
        )
        if where == "report" or opened.evaluate("document.activeElement === document.body"):
            break
        assert outlined != "none", where
        reached.append(where)
    controls = {"skip", "level", "segment/audio", "sheet", "plate", "search", "event", "modality", "method", "kind"}
    assert controls | {"order", "media", "reset", "list", "time"} <= set(reached)


def test_tracks_draw_each_outcome_and_probability(opened: Page) -> None:
    videos, found = made_videos()
    for n, name in enumerate(NAMES[:4]):
        rows(opened).nth(n).click()
        expect(opened.locator("#detail h3")).to_have_text(name)
        spans = [
            (group.kind, group.onset)
            for c, label, m in itertools.product(range(3), METHODS, range(2))
            for group in compare(found[label].prediction[n, :, m, c].numpy(), videos.truth[n, :, m, c].numpy())
        ]
        assert opened.locator("#detail .lanes .bar.exact").count() == sum(kind == "exact" for kind, _ in spans)
        assert opened.locator("#detail .lanes .bar.false").count() == sum(kind == "false" for kind, _ in spans)
        assert opened.locator("#detail .lanes .ghost.missed").count() == sum(kind == "missed" for kind, _ in spans)
    rows(opened).first.click()
    lane = opened.locator("[role=img][aria-label^='<i>ppl</i>, audio: ']").first
    event = next(
        c
        for c in range(3)
        if (videos.truth | found["mil"].prediction | found["<i>ppl</i>"].prediction)[0, ..., c].any()
    )
    high = found["<i>ppl</i>"].prediction[0, :, 0, event].tolist()
    expected = "".join(f"{'V' if t else 'M0 '}{5 if yes else 95}H{t + 1}" for t, yes in enumerate(high))
    expect(lane.locator("path.line")).to_have_attribute("d", expected)
    box = opened.locator(".lanes").first.bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + box["width"] * 2.5 / SEGMENTS, box["y"] + 5)  # over the third second
    expect(opened.locator(".values .with-curve").first).to_have_text(".95" if high[2] else ".05")
    expect(opened.locator(".likely").first).to_contain_text(".07")


def test_the_cursor_and_the_player_go_together(opened: Page) -> None:
    player = opened.locator("video")

    def playing() -> float:
        return float(player.evaluate("(video) => video.currentTime"))

    player.evaluate("(video) => video.readyState || new Promise((done) => { video.onloadedmetadata = done; })")
    time = opened.get_by_label("Time in the video")
    player.evaluate("(video) => { video.currentTime = 3.5; }")
    expect(time).to_have_value("3.5")
    expect(time).to_have_attribute("aria-valuetext", "3.5 of 6 seconds")
    at = opened.locator(".events").evaluate("(events) => events.style.getPropertyValue('--at')")
    assert float(at) == pytest.approx(3.5 / SEGMENTS)
    lanes = opened.locator(".lanes").first
    box = lanes.bounding_box()
    assert box is not None
    lanes.click(position={"x": box["width"] * 0.75, "y": 5})
    assert playing() == pytest.approx(4.5, abs=0.05)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 5)
    opened.mouse.up()
    assert playing() == pytest.approx(1.5, abs=0.05)
    time.focus()
    opened.keyboard.press("ArrowRight")
    assert playing() == 2
    opened.keyboard.press("ArrowLeft")
    assert playing() == 1
    opened.keyboard.press("Space")
    expect(time).to_have_value(re.compile(r"^(1\.[2-9]|[2-6])"))  # it has played on
    opened.keyboard.press("Space")
    assert player.evaluate("(video) => video.paused")
    opened.keyboard.press("j")
    expect(player).to_be_hidden()  # no media: tracks alone, from their beginning
    expect(time).to_have_value("0")


def test_sections_and_tables_have_their_titles_as_names(opened: Page) -> None:
    for name in ("Tables", "Figures", "Videos", TABLE.title):
        expect(opened.get_by_role("region", name=name, exact=True)).to_have_count(1)
    expect(opened.get_by_role("table", name=TABLE.title)).to_have_count(1)


LENGTHS, SENSES = (5, 40), ("audio", "visual", "touch")


@cache
def ragged_videos() -> tuple[TestVideos, Probabilities]:
    """Videos of 5 and 40 segments, three modalities; a probability in percent is the number of its segment, + 1, 2."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    percents = torch.arange(max(LENGTHS))[None, :, None, None] + torch.arange(len(SENSES))[None, None, :, None]
    truth = (percents % 5 < 2).expand(2, -1, -1, 1) & mask[:, :, None, None]
    video = torch.tensor([[0.11, 0.52, 0.13], [0.14, 0.14, 0.14]])[:, :, None]
    videos = TestVideos(("short", "long"), ("Dog",), SENSES, truth, mask, 2.0)
    return videos, Probabilities((percents.float() / 100).expand(2, -1, -1, 1) * mask[:, :, None, None], video)


@pytest.mark.parametrize("width", [1280, 400])
def test_videos_of_any_length_and_three_modalities(chromium: Chromium, tmp_path: Path, width: int) -> None:
    videos, probabilities = ragged_videos()
    browser = browse(videos, {"one": Found(videos.truth.roll(1, 1), probabilities, 0)}, {}, tmp_path)
    write_page(tmp_path / "page.html", "ragged", [], [], browser, [])
    page = chromium.new_page(viewport={"width": width, "height": 900})
    wrong = watch(page)
    page.goto((tmp_path / "page.html").as_uri())
    for n, (name, segments) in enumerate(zip(videos.names, LENGTHS, strict=True)):
        rows(page).nth(n).click()
        expect(page.locator("#detail h3")).to_have_text(name)
        expect(page.locator(".clock")).to_have_text(f"0.0 / {2 * segments} s")
        assert page.locator(".block h5").all_text_contents() == list(SENSES)
        for m, sense in enumerate(SENSES):
            block = page.locator(".block").nth(m)
            line = "".join(f"{'V' if t else 'M0 '}{100 - (t + m)}H{t + 1}" for t in range(segments))
            expect(block.locator("path.line")).to_have_attribute("d", line)
            lanes = block.locator(".lanes")
            assert int(lanes.evaluate("(lanes) => lanes.style.getPropertyValue('--lines')")) == segments
            true = intervals(videos.truth[n, :segments, m].numpy())
            spans = [(f"{100 * on / segments:g}%", f"{100 * (off - on) / segments:g}%") for _, on, off in true]
            drawn = lanes.locator(".bar.truth").evaluate_all(
                "(all) => all.map((bar) => [bar.style.left, bar.style.width])"
            )
            assert [(f"{float(a[:-1]):g}%", f"{float(b[:-1]):g}%") for a, b in drawn] == spans
            said = ", ".join(f"{2 * on} to {2 * off} s" for _, on, off in true)
            expect(block.get_by_role("img", name=f"Truth, {sense}: {said}")).to_have_count(1)
        page.get_by_label("Time in the video").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        expect(page.locator(".clock")).to_have_text(f"6.0 / {2 * segments} s")
        assert page.locator(".values .with-curve").all_text_contents() == [".03", ".04", ".05"]
    page.locator("#filters [name=modality]").select_option("2")
    assert listed(page) == ["short", "long"]
    # the probability of a whole video is said for each modality
    rows(page).first.click()
    shown = page.locator(".likely:visible")
    assert [text[-3:] for text in shown.all_text_contents()] == [".11", ".52", ".13"]
    rows(page).nth(1).click()
    assert [text[-3:] for text in shown.all_text_contents()] == [".14"] * 3
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
    assert wrong == []


def test_a_long_video_has_few_vertical_lines(chromium: Chromium, tmp_path: Path) -> None:
    mask = torch.ones(1, 2614, dtype=torch.bool)
    truth = torch.zeros(1, 2614, 1, 1, dtype=torch.bool)
    truth[0, 1000:1300] = True
    videos = TestVideos(("v",), ("Dog",), ("audio",), truth, mask, 1.0)
    likely = Probabilities(0.5 * truth.float(), torch.full((1, 1, 1), 0.5))
    write_page(tmp_path / "page.html", "long", [], [], browse(videos, {"m": Found(truth, likely, 0)}, {}, tmp_path), [])
    page = chromium.new_page()
    wrong = watch(page)
    page.goto((tmp_path / "page.html").as_uri())
    assert float(page.locator(".lanes").evaluate("(e) => e.style.getPropertyValue('--lines')")) == 26.14
    expect(page.locator(".clock")).to_have_text("0.0 / 2614 s")
    page.close()
    assert wrong == []


def test_a_video_without_segments_is_shown(chromium: Chromium, tmp_path: Path) -> None:
    nothing = torch.zeros(2, 1, 1, 1, dtype=torch.bool)
    videos = TestVideos(("a", "b"), ("Dog",), ("audio",), nothing, torch.tensor([[True], [False]]), 1.0)
    likely = Probabilities(nothing.float(), torch.full((2, 1, 1), 0.9))
    write_page(
        tmp_path / "page.html", "none", [], [], browse(videos, {"m": Found(nothing, likely, 0)}, {}, tmp_path), []
    )
    page = chromium.new_page()
    wrong = watch(page)
    page.goto((tmp_path / "page.html").as_uri() + "#video=b")
    expect(page.locator("#detail h3")).to_have_text("b")
    expect(page.locator(".likely").first).to_contain_text(".90")
    expect(page.locator(".clock")).to_have_text("0.0 / 0 s")
    page.close()
    assert wrong == []


def test_a_link_brings_the_view_back(opened: Page, chromium: Chromium) -> None:
    filters(opened, event="1", modality="0", method="1", kind="error", order="worst")
    opened.get_by_label("Search").fill("s")
    rows(opened).last.click()
    names, name = listed(opened), selected(opened).text_content() or ""
    assert len(names) > 1
    expect(opened).to_have_url(re.compile(f"#video={quote_plus(name)}.*&search=s&order=worst$"))
    other = chromium.new_page()
    wrong = watch(other)
    other.goto(opened.url)
    assert listed(other) == names
    expect(selected(other)).to_have_text(name)
    assert other.evaluate(
        "['event', 'modality', 'method', 'kind', 'order', 'search'].map((n) => filters.elements[n].value)"
    ) == [
        "1",
        "0",
        "1",
        "error",
        "worst",
        "s",
    ]
    expect(other.locator("#videos")).to_be_in_viewport()
    other.evaluate("location.hash = '#video=quiet'")
    expect(selected(other)).to_have_text("quiet")
    expect(other.locator(".nothing")).to_be_visible()
    other.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(chromium: Chromium, report: Path, scheme: str) -> None:
    page = chromium.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)  # type: ignore[arg-type]
    wrong = watch(page)
    page.goto(report.as_uri())
    expect(page.get_by_label("Segments")).to_be_checked()  # one level, so that a table fits
    widths = set()
    for option in rows(page).all()[:6]:
        option.tap()
        widths.add(page.evaluate("document.documentElement.scrollWidth"))
    assert widths == {360}
    assert page.evaluate("getComputedStyle(document.body).overflowX") == "visible"  # nothing is just cut off
    light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(light) > 200) == (scheme == "light")
    page.close()
    assert wrong == []


def test_names_are_text_whatever_is_in_them(opened: Page) -> None:
    expect(opened).to_have_title(f"A report {EVIL}")
    expect(opened.locator("h1")).to_have_text(f"A report {EVIL}")
    assert opened.locator("#notes li").all_text_contents() == [WORSE, "A note </script>."]
    assert opened.locator(".needs").all_text_contents() == [f"beyond weak labels: labels {EVIL}"]
    assert WORSE in listed(opened)
    rows(opened).nth(NAMES.index(WORSE)).click()
    expect(opened.locator("#detail h3")).to_have_text(WORSE)
    assert opened.locator("[onerror], main b, main i:not([class])").count() == 0
    assert opened.locator("script").count() == 2
    opened.get_by_role("button", name="Enlarge: Figure 4").click()
    picture = opened.get_by_role("dialog").get_by_role("img", name=f"Figure 4. gamma {EVIL}")
    expect(picture).to_be_visible()
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    opened.keyboard.press("Escape")
    expect(opened.get_by_role("dialog")).to_be_hidden()


def test_media_that_cannot_be_played_are_named(chromium: Chromium, report: Path) -> None:
    page = chromium.new_page()
    page.goto(f"{report.as_uri()}#video=broken")
    expect(page.get_by_role("alert")).to_contain_text("../media/nowhere.mp4 cannot be played here")
    expect(page.locator("video")).to_be_hidden()
    rows(page).first.click()
    expect(page.get_by_role("alert")).to_have_text("")
    expect(page.locator("video")).to_be_visible()
    page.close()


def test_the_policy_forbids_what_the_page_does_not_need(chromium: Chromium, report: Path) -> None:
    page = chromium.new_page()
    page.goto(report.as_uri())
    broken = page.evaluate(
        """async () => {
            const broken = [];
            document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
            const image = new Image();
            const failed = new Promise((done) => { image.onerror = done; });
            image.src = "http://127.0.0.1:9/x.png";
            await failed;
            await fetch("http://127.0.0.1:9/").catch(() => {});
            document.head.append(Object.assign(document.createElement("style"), { textContent: "* { color: red }" }));
            try { document.body.innerHTML = "<p>"; } catch { broken.push("innerHTML"); }
            await new Promise((done) => setTimeout(done));
            return broken;
        }"""
    )
    assert {"img-src", "connect-src", "style-src-elem", "innerHTML"} <= set(broken)
    page.close()


def test_what_is_not_there_is_not_shown(chromium: Chromium, tmp_path: Path) -> None:
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 1, 1) > 0.5
    videos = TestVideos(("a", "b"), ("x",), ("audio",), truth, torch.ones(2, 3, dtype=torch.bool), 0.5)
    browser = browse(videos, {"one": Found(~truth, None, 0)}, {}, tmp_path)
    page = chromium.new_page()
    wrong = watch(page)
    for tables, drawn, nav in (([], None, []), ([TABLE], None, ["Tables", "Notes"]), ([], browser, ["Videos"])):
        write_page(tmp_path / "page.html", "empty", tables, [], drawn, [])
        page.goto((tmp_path / "page.html").as_uri())
        assert page.locator("nav a").all_text_contents() == nav
        assert page.locator("main > section:visible").count() == len(nav)
    expect(page.get_by_label("with media only")).to_have_count(0)
    page.close()
    assert wrong == []


# ---- many methods and modalities, on any screen

FIRST = 6  # of the methods are shown at first
MANY = (
    *("mil", "ppl_soft", "ppl_soft gamma=0.3", "ppl_soft inference=classifier"),
    *(f"ppl_soft gamma=0.3 k={k} learning_rate=0.001" for k in (1, 5, 20)),
    "a_method_of_mine_with_a_name_that_is_rather_long",
    *(f"npl_soft beta={beta}" for beta in (1, 2, 3, 4)),
)
LONG = tuple(f"a_video_with_a_name_that_is_rather_long_{number}" for number in range(4))
THREE = ("audio", "visual", "touch_sensor")
WIDE = '<svg xmlns="http://www.w3.org/2000/svg" width="504pt" height="150pt"><rect width="504pt" height="150pt"/></svg>'
BROKEN = """() => {
    const broken = [];
    const named = ".label, .text, .sheet thead span:not(.unseen), .results th span, .choices span, .numbers, .results";
    for (const element of document.querySelectorAll(`${named}, h1, h3, h4, h5, dt`)) {
        const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
                if (lines.size > 1) broken.push(word[0]);
            }
        }
        if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) broken.push(element.textContent);
    }
    return broken;
}"""


def many_videos(modalities: int) -> tuple[TestVideos, dict[str, Found]]:
    """Three events: the first one is found by the last method only, the second one occurs, the third one neither."""
    truth = torch.zeros(len(LONG), SEGMENTS, modalities, 3, dtype=torch.bool)
    truth[:, 1:4, :, 1] = True
    mask = torch.ones(truth.shape[:2], dtype=torch.bool)
    videos = TestVideos(LONG, ("Dog", "Baby_cry", "Car"), THREE[:modalities], truth, mask, 1.0)
    found = {}
    for k, label in enumerate(MANY):
        prediction = truth.roll(k % 3, 1)
        prediction[..., 0] = label == MANY[-1]
        found[label] = Found(prediction, Probabilities(0.4 * prediction, torch.full((4, modalities, 3), 0.1)), 0)
    return videos, found


def write_many(folder: Path, modalities: int) -> Path:
    """Twelve methods, in two tables, two figures and four videos."""
    videos, found = many_videos(modalities)
    scores = [*videos.modalities, *["_".join(videos.modalities)] * (modalities > 1), "type_av", "event_av"]
    columns = (*(f"{level}/{score}" for level in ("segment", "event") for score in scores), "average")
    cells = dict.fromkeys(columns, Cell(50.0, 1.0, -10.0, (-11.0, -9.0)))
    rows = tuple(Row(label, 3, cells) for label in MANY)
    tables = [
        Table("table1", "Table 1: methods", columns, rows, ("Of both.", "Of the first.")),
        Table("all", "All settings", columns, rows, ("Of both.",)),
    ]
    page = folder / "index.html"
    browser = browse(videos, found, {}, folder, MANY[:FIRST])
    figures = [(f"Figure {number}", "What it shows. " * 12, WIDE) for number in (1, 2)]
    write_page(page, "A report of many methods", tables, figures, browser, ["Of the whole report."])
    return page


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The page of twelve methods, by the number of modalities."""
    return {number: write_many(tmp_path_factory.mktemp("many"), number) for number in (1, 2, 3)}


@pytest.fixture
def dozen(chromium: Chromium, many: dict[int, Path]) -> Iterator[Page]:
    """The page of twelve methods and two modalities at the width of a desk."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    wrong = watch(page)
    page.goto(many[2].as_uri())
    yield page
    page.close()
    assert wrong == []


def tracked(page: Page) -> list[str]:
    """The methods whose tracks are shown, in the first event and modality."""
    return page.locator(".event").first.locator(".block").first.locator(".labels .text").all_text_contents()[1:]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_every_screen_shows_whole_words_and_needs_no_sideways_scrolling(
    chromium: Chromium, many: dict[int, Path], modalities: int, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 850}, color_scheme=scheme)
    wrong = watch(page)
    page.goto(many[modalities].as_uri())
    page.locator("#chooser summary").click()
    page.get_by_role("button", name="All", exact=True).click()
    assert tracked(page) == list(MANY)
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_label("Both levels").check()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ends = page.locator("#list .name span:last-child")
    assert ends.all_text_contents() == [name[-8:] for name in LONG]  # which is where they differ
    assert all(end.evaluate("(end) => end.offsetWidth > 0 && end.scrollWidth <= end.clientWidth") for end in ends.all())
    page.close()
    assert wrong == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (844, 390)])
def test_an_enlarged_figure_is_legible_and_covers_nothing(
    chromium: Chromium, many: dict[int, Path], width: int, height: int
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": height}, has_touch=True, reduced_motion="reduce")
    wrong = watch(page)
    page.goto(many[2].as_uri())
    plate = page.get_by_role("button", name="Enlarge: Figure 2")
    before = plate.locator("img").bounding_box()
    plate.tap()
    parts = [page.locator(f"#enlarged {part}") for part in (".top", "img", "p")]
    expect(parts[1]).to_be_visible()
    parts[1].evaluate("(image) => image.decode()")
    boxes = [part.bounding_box() for part in parts]
    for above, below in itertools.pairwise(boxes):
        assert above is not None
        assert below is not None
        assert above["y"] + above["height"] <= below["y"]
    assert before is not None
    assert boxes[1] is not None
    assert boxes[1]["width"] >= max(before["width"], 672)  # which are 504 points
    title = page.locator("#enlarged strong").bounding_box()
    close = page.get_by_role("button", name="Close").bounding_box()
    assert title is not None
    assert close is not None
    assert title["x"] + title["width"] <= close["x"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    canvas = page.locator("#enlarged .canvas")
    canvas.evaluate("(canvas) => canvas.scrollTo(1e5, 0)")  # the whole figure can be reached
    reach = "(image) => [image.getBoundingClientRect().right, image.closest('.canvas').getBoundingClientRect().right]"
    end, edge = parts[1].evaluate(reach)
    assert end <= edge + 1
    page.get_by_role("button", name="Close").tap()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.close()
    assert wrong == []


def test_methods_are_chosen(dozen: Page, chromium: Chromium) -> None:
    assert dozen.locator(".sheet").last.locator("tbody .label").all_text_contents() == list(MANY)  # tables have all
    chooser = dozen.locator("#chooser summary")
    expect(chooser).to_have_text("Methods 6 of 12 shown")
    assert tracked(dozen) == list(MANY[:FIRST])
    chooser.click()
    boxes = dozen.get_by_role("group", name="Methods that are shown").get_by_role("checkbox")
    assert [box.is_checked() for box in boxes.all()] == [k < FIRST for k in range(len(MANY))]
    colors = dozen.locator(".summary .method:not(.legend)").evaluate_all(
        "(all) => all.map((one) => one.style.getPropertyValue('--c'))"
    )
    assert len(set(colors)) == FIRST
    boxes.nth(1).uncheck()
    boxes.nth(10).check()
    chosen = [MANY[k] for k in (0, 2, 3, 4, 5, 10)]
    assert tracked(dozen) == chosen
    assert dozen.locator(".summary .label span").all_text_contents() == chosen
    assert dozen.locator(".results tbody th").all_text_contents() == chosen
    assert dozen.locator("#filters [name=method] option").all_text_contents() == ["all shown", *chosen]
    # those that stay keep their colors, and the new one has that which became free
    again = dozen.locator(".summary .method:not(.legend)").evaluate_all(
        "(all) => all.map((one) => one.style.getPropertyValue('--c'))"
    )
    assert again == [colors[0], *colors[2:], colors[1]]
    expect(dozen).to_have_url(re.compile("show=mil&.*show=npl_soft"))
    other = chromium.new_page()
    other.goto(dozen.url)
    assert tracked(other) == chosen
    other.close()
    dozen.get_by_role("button", name="Default").click()
    assert tracked(dozen) == list(MANY[:FIRST])


def test_only_what_the_chosen_methods_found_is_shown_and_counted(dozen: Page) -> None:
    events = dozen.locator(".event h4")
    assert events.all_text_contents() == ["Baby cry"]
    filters(dozen, kind="false")
    expect(dozen.get_by_role("status")).to_have_text("0 of 4 videos")
    filters(dozen, kind="")
    dozen.locator("#chooser summary").click()
    dozen.get_by_role("checkbox", name=MANY[-1]).check()
    assert events.all_text_contents() == ["Baby cry", "Dog"]  # what occurs comes first
    filters(dozen, kind="false")
    expect(dozen.get_by_role("status")).to_have_text("4 videos")
    filters(dozen, kind="", method=str(len(MANY) - 1))
    dozen.get_by_role("checkbox", name=MANY[-1]).uncheck()
    expect(dozen.locator("#filters [name=method]")).to_have_value("-1")
    dozen.get_by_role("button", name="None").click()
    expect(dozen.locator(".summary .sums")).to_have_text("No method is chosen.")
    assert events.all_text_contents() == ["Baby cry"]  # the truth stays
    assert tracked(dozen) == []


def test_what_is_asked_for_comes_first(dozen: Page) -> None:
    dozen.locator("#chooser summary").click()
    dozen.get_by_role("checkbox", name=MANY[-1]).check()
    events = dozen.locator(".event h4")
    for event, first in (("0", "Dog"), ("1", "Baby cry")):
        filters(dozen, event=event)
        expect(events.first).to_contain_text(first)
        expect(events).to_have_count(2)
    filters(dozen, event="-1", kind="false")
    expect(events.first).to_contain_text("Dog")


def test_counts_say_over_what_they_are_summed(dozen: Page) -> None:
    sums, side, caption = (dozen.locator(place) for place in (".summary .sums", "#sums", ".results caption"))
    expect(sums).to_contain_text("Intervals of all events in all modalities, summed over all 4 videos: seed 0 of each")
    expect(side).to_have_text("Errors of all events in all modalities, summed over 6 methods; score: their mean")
    expect(caption).to_have_text(
        "Errors of all events in all modalities in this video; the score is of the whole video"
    )
    filters(dozen, event="1", modality="0", method="0")
    dozen.get_by_label("Search").fill("long_2")
    expect(sums).to_contain_text("Intervals of Baby cry in audio, summed over 1 of 4 videos: seed 0 of each method")
    expect(side).to_have_text("Errors of Baby cry in audio, and score, of mil")
    expect(caption).to_have_text("Errors of Baby cry in audio in this video; the score is of the whole video")


def test_outcomes_are_explained_where_they_stand(dozen: Page) -> None:
    for place in ("#summary", ".texture-key"):
        meanings = dict(
            zip(
                dozen.locator(f"{place} dt").all_text_contents(),
                dozen.locator(f"{place} dd").all_text_contents(),
                strict=True,
            )
        )
        assert list(meanings)[:5] == ["exact", "inexact", "wrong extent", "false", "missed"]
        assert "at least 0.5" in meanings["inexact"]
        assert meanings["missed"] == "occurs, but was not found"
        for word in dozen.locator(f"{place} dd").all()[:5]:
            expect(word).to_be_visible()
    assert "found where" in (dozen.locator(".results th", has_text="False").get_attribute("title") or "")


def test_notes_stand_once_at_the_end(dozen: Page) -> None:
    notes = dozen.locator("main > section").last.locator("li")
    assert notes.all_text_contents() == ["Of the whole report.", "Of both.", "Table 1: Of the first."]
    for note in ("Of the whole report.", "Of both.", "Of the first."):
        expect(dozen.get_by_text(note)).to_have_count(1)
