"""The page of timelines in a real browser: opened from the disk, looked at, clicked and typed on."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page, expect

from avvp_pl.errors import InputError
from avvp_pl.timelines import page as pages
from avvp_pl.timelines.page import write_timelines
from tests.reporting.test_page import EVIL, MISSING, WORSE, chromium, rows, watch
from tests.timelines.made import at, clip, detected

__all__ = ["chromium"]


def sound(path: Path, seconds: float) -> Path:
    """A silent sound file."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes([128]) * round(8000 * seconds))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos on a page, and the first of them on another."""
    folder = tmp_path_factory.mktemp("timelines")
    nothing = np.zeros((4, 2, 3), dtype=bool)
    first = clip(name="song 1", media=sound(folder / "media" / "song #1.wav", 3.6))
    others = [
        clip(name=EVIL, events=("Speech", "Dog", WORSE), missing=("audio",), found=np.roll(first.found, 1, axis=2)),
        clip(name="quiet", found=nothing, probs=0.3 + nothing, events=first.events, duration=None),
        clip(name="broken", media=folder / "media" / MISSING),
    ]
    events = others[0].events
    many = [
        clip(name=one.name, events=events, missing=one.missing, found=one.found, media=one.media)
        for one in (first, *others)
    ]
    write_timelines(folder / "out" / "many.html", many)
    write_timelines(folder / "out" / "one.html", [first])
    return folder / "out"


@pytest.fixture
def one(chromium: Chromium, folder: Path) -> Iterator[Page]:
    yield from opened(chromium, folder / "one.html")


@pytest.fixture
def many(chromium: Chromium, folder: Path) -> Iterator[Page]:
    yield from opened(chromium, folder / "many.html")


def opened(chromium: Chromium, path: Path, **how: Any) -> Iterator[Page]:
    """A page at the width of a desk; whatever is done with it, nothing may fail or leave the disk."""
    page = chromium.new_page(**{"viewport": {"width": 1280, "height": 900}, **how})
    wrong = watch(page)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert wrong == []


def lanes(page: Page, event: str) -> Locator:
    """The lanes of an event."""
    return page.get_by_role("region", name=event, exact=True).locator(".lanes > .lane")


def bars(lane: Locator) -> list[tuple[float, float]]:
    """The bounds of the bars in a lane, as fractions of it."""
    drawn = lane.locator(".bar").evaluate_all("(all) => all.map((bar) => [bar.style.left, bar.style.width])")
    return [(float(left[:-1]) / 100, (float(left[:-1]) + float(width[:-1])) / 100) for left, width in drawn]


def playing(page: Page) -> float:
    return float(page.locator("video").evaluate("(video) => video.currentTime"))


def ready(page: Page) -> None:
    page.locator("video").evaluate(
        "(video) => video.readyState || new Promise((done) => { video.onloadedmetadata = done; })"
    )


def test_tracks_show_what_was_found_and_the_probabilities(one: Page) -> None:
    assert one.locator(".events > .event h3").all_text_contents() == ["Dog", "Speech"]  # by where they begin
    heard, seen = lanes(one, "Dog").all()
    assert bars(heard) == [pytest.approx((0, 2 / 3.6)), pytest.approx((3 / 3.6, 1))]
    assert bars(seen) == [pytest.approx((2 / 3.6, 1))]
    assert bars(lanes(one, "Speech").nth(0)) == []
    expect(heard.locator("path.line")).to_have_attribute("d", "M0 25H1V50H2V88H3V38H4")  # 0.125 is 12 percent
    # of the four segments, the curve has as much as the lane: 3.6 seconds
    expect(heard.locator("svg")).to_have_attribute("viewBox", "0 0 3.6 100")
    likely = one.get_by_role("region", name="Dog", exact=True).locator(".likely")
    assert [text[-3:] for text in likely.all_text_contents()] == [".90", ".70"]
    assert one.locator("#facts").inner_text().split("\n")[:4] == ["Duration", "3.6 s", "Events found", "2 of 3"]
    assert one.locator("#foot").inner_text().split("\n")[:2] == ["avvp_pl", "0.1.0"]


def test_events_that_were_not_found_are_shown_when_they_are_asked_for(one: Page) -> None:
    expect(one.get_by_role("region", name="Frying (food)")).to_have_count(0)
    one.get_by_text("1 other event that was not found").click()
    expect(lanes(one, "Frying (food)")).to_have_count(2)
    values = one.get_by_role("region", name="Frying (food)").locator(".values .lane")
    assert values.all_text_contents() == [".12", ".12"]


def test_the_mouse_and_the_player_go_together(one: Page) -> None:
    ready(one)
    heard = lanes(one, "Dog").first
    box = heard.bounding_box()
    assert box is not None
    values = one.get_by_role("region", name="Dog", exact=True).locator(".values .lane")
    one.mouse.move(box["x"] + box["width"] * 3.2 / 3.6, box["y"] + 5)
    assert values.all_text_contents() == [".62", ".99"]  # there are only two digits
    expect(heard.locator(".tip")).to_be_visible()
    expect(heard.locator(".tip")).to_have_text("62 % · found")
    assert playing(one) == 0
    heard.click(position={"x": box["width"] * 2.5 / 3.6, "y": 5})
    assert playing(one) == pytest.approx(2.5, abs=0.05)
    one.mouse.move(5, 5)
    assert values.all_text_contents() == [".12", ".88"]
    expect(one.locator(".clock")).to_have_text(re.compile(r"^2\.5 / 3\.6 s"))
    now = one.get_by_role("region", name="At the cursor")
    assert now.inner_text().split() == ["2", "to", "3", "s", "audio", "nothing", "visual", "Dog", "88", "%"]
    assert [one.get_by_role("region", name=name, exact=True).get_attribute("class") for name in ("Dog", "Speech")] == [
        "event is-on",
        "event",
    ]
    one.get_by_role("button", name="Speech").click()  # to where it begins
    assert playing(one) == 3
    one.locator("video").evaluate("(video) => { video.currentTime = 0.5; }")
    expect(one.get_by_label("Time in the video")).to_have_value("0.5")
    cursor = one.locator(".events").evaluate("(events) => getComputedStyle(events, '::after').left")
    assert float(cursor.removesuffix("px")) == pytest.approx(
        box["x"]
        - one.evaluate("document.querySelector('.events').getBoundingClientRect().left")
        + box["width"] * 0.5 / 3.6,
        abs=1.5,
    )


def test_everything_is_possible_by_the_keyboard(one: Page) -> None:
    ready(one)
    heard, seen = lanes(one, "Dog").all()
    one.keyboard.press("ArrowRight")  # wherever the focus is
    assert playing(one) == 1
    heard.focus()
    expect(heard.locator(".tip")).to_have_text("50 % · found")
    expect(heard.locator(".tip")).to_be_visible()
    expect(heard).to_have_attribute("aria-label", "Dog, audio: 0 to 2 s, 3 to 3.6 s")
    one.keyboard.press("ArrowRight")
    assert playing(one) == 2
    expect(heard).to_have_attribute("aria-valuetext", "2 to 3 s: probability 12 %")
    one.keyboard.press("Enter")  # to the next interval, and then to the first again
    assert playing(one) == 3
    expect(heard).to_have_attribute("aria-valuetext", "3 to 3.6 s: probability 62 %, found")
    one.keyboard.press("Enter")
    assert playing(one) == 0
    one.keyboard.press("End")
    assert playing(one) == pytest.approx(3.6, abs=0.02)
    one.keyboard.press("Home")
    one.keyboard.press("Space")
    expect(one.get_by_label("Time in the video")).to_have_value(re.compile(r"^(0\.[2-9]|[1-3])"))
    one.keyboard.press("Space")
    assert one.locator("video").evaluate("(video) => video.paused")
    one.keyboard.press("Tab")
    expect(seen).to_be_focused()


def test_tab_reaches_everything_and_shows_where_it_is(many: Page) -> None:
    reached = []
    for _ in range(40):
        many.keyboard.press("Tab")
        where, outlined = many.evaluate(
            """() => {
                const here = document.activeElement;
                return [here.name || here.id || here.className || here.textContent || here.tagName,
                    here.tagName === "VIDEO" ? "its own" : getComputedStyle(here).outlineStyle];
            }"""
        )
        if many.evaluate("document.activeElement === document.body"):
            break
        assert outlined != "none", where
        reached.append(where)
    assert {"skip", "search", "event", "list", "VIDEO", "time", "event-name", "lane with-curve"} <= set(reached)


def test_the_list_is_searched_and_filtered(many: Page) -> None:
    names = many.get_by_role("listbox").locator(".name")
    assert names.all_text_contents() == ["song 1", EVIL, "quiet", "broken"]
    assert many.locator("#list .chips").all_text_contents() == [
        "Dog · Speech",
        f"{WORSE} · Dog",
        "nothing found",
        "Dog · Speech",
    ]
    many.locator("#filters select").select_option(label="Speech")
    assert names.all_text_contents() == ["song 1", "broken"]
    many.keyboard.press("Tab")
    many.locator("#list").focus()
    many.keyboard.press("ArrowDown")
    expect(many.locator("#detail h2")).to_have_text("broken")
    expect(many).to_have_url(re.compile("#video=broken&event=Speech$"))
    many.keyboard.press("/")
    expect(many.get_by_label("Search")).to_be_focused()
    many.keyboard.type("zzz")
    expect(many.locator("#detail h2")).to_have_text("No video matches")
    expect(many.get_by_role("status")).to_have_text("0 of 4 videos")
    many.keyboard.press("Escape")
    many.keyboard.press("Escape")
    many.keyboard.press("k")
    expect(many.locator("#detail h2")).to_have_text("song 1")
    expect(many).to_have_url(re.compile("#video=song"))  # the address is saved with a delay
    many.evaluate("location.hash = '#video=quiet'")
    expect(many.locator("#detail h2")).to_have_text("quiet")
    expect(many.locator(".nothing")).to_be_visible()
    expect(many.get_by_text("3 events that were not found")).to_be_visible()


def test_what_is_not_known_is_not_called_nothing(many: Page) -> None:
    rows(many).nth(1).click()
    expect(many.locator(".position")).to_have_text("3.6 s · audio: not known, the video has no such track")
    heard, seen = lanes(many, "Dog").all()
    expect(heard).to_have_text("not known")
    expect(heard).to_have_attribute("aria-label", "Dog, audio: not known, the video has no such track")
    assert heard.get_attribute("tabindex") is None
    assert bars(seen) == [pytest.approx((3 / 3.6, 1))]
    expect(many.locator(".now")).to_contain_text("not known")
    # no media: the tracks have a cursor all the same
    expect(many.locator("video")).to_be_hidden()
    box = seen.bounding_box()
    assert box is not None
    seen.click(position={"x": box["width"] * 3.3 / 3.6, "y": 5})
    expect(many.locator(".clock")).to_have_text("3.3 / 3.6 s")


def test_media_that_cannot_be_played_are_named(many: Page) -> None:
    rows(many).nth(3).click()
    expect(many.get_by_role("alert")).to_contain_text(f"{MISSING} cannot be played here")
    expect(many.locator("video")).to_be_hidden()


def test_names_are_text_whatever_is_in_them(many: Page) -> None:
    rows(many).nth(1).click()
    expect(many.locator("#detail h2")).to_have_text(EVIL)
    assert many.locator(".events > .event h3").all_text_contents() == [WORSE, "Dog"]
    assert many.locator("[onerror]").count() == 0
    assert many.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(chromium: Chromium, folder: Path, scheme: str) -> None:
    how = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme, "has_touch": True}
    for page in opened(chromium, folder / "many.html", **how):
        for option in rows(page).all():
            option.tap()
            assert page.evaluate("document.documentElement.scrollWidth") == 360
        rows(page).first.tap()
        ready(page)
        lanes(page, "Dog").first.scroll_into_view_if_needed()
        box = lanes(page, "Dog").first.bounding_box()
        assert box is not None
        assert box["width"] > 180
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 8)
        assert playing(page) == pytest.approx(1.8, abs=0.05)
        light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (min(light) > 200) == (scheme == "light")


def test_a_page_can_contain_its_media(chromium: Chromium, tmp_path: Path) -> None:
    media = sound(tmp_path / "media" / "a.wav", 3.6)
    write_timelines(tmp_path / "page.html", [clip(media=media)], embed_media=True)
    media.unlink()
    for page in opened(chromium, tmp_path / "page.html"):
        ready(page)
        page.get_by_role("button", name="Speech").click()
        assert playing(page) == 3


def test_the_scores_of_detections_are_shades(chromium: Chromium, tmp_path: Path) -> None:
    timeline = detected(("Dog", 0.0, 1.0, 4.0), ("Dog", 0.5, 2.0, 2.0), ("Speech", 3.0, 3.6, -1.0))
    write_timelines(tmp_path / "page.html", [timeline])
    for page in opened(chromium, tmp_path / "page.html"):
        (lane,) = lanes(page, "Dog").all()
        shades = lane.locator(".bar").evaluate_all("(all) => all.map((bar) => [bar.title, bar.style.opacity])")
        assert shades == [
            ["Dog, audio+visual: 0.5 to 2 s, score 2", "0.625"],
            ["Dog, audio+visual: 0 to 1 s, score 4", "1"],
        ]
        # the curve is the mean over modalities: 0.75 and 0.125, 0.5 and 0.125, 0.125 and 0.875, 0.625 and 1
        expect(lane.locator("path.line")).to_have_attribute("d", "M0 56H1V69H2V50H3V19H4")


def test_videos_without_segments_or_events(chromium: Chromium, tmp_path: Path) -> None:
    none = np.zeros((0, 2, 3), dtype=bool)
    write_timelines(tmp_path / "page.html", [clip(found=none, probs=none.astype(float), duration=None)])
    for page in opened(chromium, tmp_path / "page.html"):
        expect(page.locator(".clock")).to_have_text("0.0 / 0 s")
        expect(page.locator(".nothing")).to_be_visible()
        page.locator(".others summary").click()
        expect(page.locator(".event")).to_have_count(3)


def content(path: Path) -> Any:
    """What the script of a page reads."""
    (found,) = re.findall(
        r'<script type="application/json" id="content">(.*?)</script>', path.read_text("utf-8"), re.DOTALL
    )
    return json.loads(found)


def test_many_long_videos_make_no_huge_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves have few points, and of a large collection the page only has events that were found."""
    found = np.zeros((3000, 2, 3), dtype=bool)
    found[100:200, 0, 1] = True
    timeline = clip(found=found, probs=0.5 * found, duration=None)
    write_timelines(tmp_path / "page.html", [timeline])
    ((_, lanes_of_first), *others) = content(tmp_path / "page.html")["videos"][0]["events"]
    assert len(others) == 2
    assert [len(lane[1]) for lane in lanes_of_first] == [800, 800]
    monkeypatch.setattr(pages, "ALL_EVENTS", 2 * 2 * 3 * 400 - 1)
    write_timelines(tmp_path / "page.html", [timeline])
    assert [event for event, _ in content(tmp_path / "page.html")["videos"][0]["events"]] == [1]


def test_only_small_media_are_put_into_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = clip(media=at(tmp_path, "a.mp4"))
    monkeypatch.setattr(pages, "LARGEST", 4)
    with pytest.raises(
        InputError, match=r"page\.html: the media files have 0 MiB, but a page can contain 0; leave embed"
    ):
        timeline.save(tmp_path / "page.html", embed_media=True)
    with pytest.raises(InputError, match=r"nowhere\.mp4: cannot be read \(No such file"):
        clip(media=tmp_path / "nowhere.mp4").save(tmp_path / "page.html", embed_media=True)
    assert not (tmp_path / "page.html").exists()
