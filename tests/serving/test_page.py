"""The page in a real browser: videos are given to it, and what it shows of them is looked at."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Dialog, FileChooser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from avvp_pl.timelines.saving import FORMATS, suffix_of
from tests.reporting.test_page import chromium
from tests.small import environment, of_shell
from tests.video.clips import Pictures, Sound, write_clip

__all__ = ["chromium"]
SECONDS = 3
WAITING = 60_000  # milliseconds
H264 = Pictures(codec="libx264")
HOSTILE = "<img src=x onerror=alert(1)> & co.mp4"


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the page, and the folder in which it keeps uploads."""
    temporary = tmp_path_factory.mktemp("server")
    command = of_shell("app", f"checkpoint={model}", "port=0", "threads=1", "limits.megabytes=1", "device=cpu")
    process = subprocess.Popen(
        command, cwd=temporary, env={**environment(), "TMPDIR": str(temporary)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    yield address[0], temporary
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    process.stdout.close()
    assert [path.name for path in temporary.glob("avvp_pl-app-*")] == []


@pytest.fixture
def page(chromium: Chromium, server: tuple[str, Path]) -> Iterator[Page]:
    yield from opened(chromium, server[0], width=1280)


def opened(chromium: Chromium, address: str, width: int) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": width, "height": 850})
    asked: list[str] = []
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", dismiss)
    page.goto(address)
    expect(page.locator("#video")).to_be_visible(timeout=WAITING)
    yield page
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not dialogs
    page.close()


def give(page: Page, video: Path) -> None:
    page.set_input_files("#video input[type=file]", video)


def results(server: tuple[str, Path]) -> list[Path]:
    return list(server[1].glob("avvp_pl-app-*/results/*"))


def uploaded(server: tuple[str, Path]) -> list[Path]:
    return [path for path in server[1].glob("avvp_pl-app-*/uploads/**/*.mp4") if path.is_file()]


def test_a_video_is_played_beside_its_timeline_and_deleted(
    page: Page, server: tuple[str, Path], tmp_path: Path
) -> None:
    video = write_clip(tmp_path / HOSTILE, SECONDS, H264, [Sound("aac")])
    before = set(results(server))
    give(page, video)
    expect(page.get_by_role("status")).to_be_visible(timeout=WAITING)
    player = page.frame_locator("#shown iframe")
    expect(player.locator("video")).to_be_visible(timeout=WAITING)
    expect(player.locator("h1")).to_contain_text("& co")
    page.wait_for_function(
        "document.querySelector('#shown iframe').contentDocument.querySelector('video').readyState >= 1"
    )
    length = player.locator("video").evaluate("player => player.duration")
    assert length == pytest.approx(SECONDS, abs=0.2)
    # the server answers for parts of files, without which every jump would lead to the beginning
    player.locator("video").evaluate("player => { player.currentTime = 2 }")
    page.wait_for_function(
        "document.querySelector('#shown iframe').contentDocument.querySelector('video').currentTime == 2"
    )
    folder = (set(results(server)) - before).pop()
    assert {path.name for path in folder.iterdir()} >= {"video.mp4", "index.html", "video.eaf"}
    assert not uploaded(server)  # what was uploaded is with its results now

    links = page.locator("#shown .downloads a")
    expect(links).to_have_count(len(FORMATS))
    for number, form in enumerate(FORMATS):
        with page.expect_download() as download:
            links.nth(number).click()
        assert download.value.suggested_filename.endswith(suffix_of(form))
        if form == "json":
            assert json.loads(Path(download.value.path()).read_text())["media"] == "video.mp4"

    page.locator("#delete").click()
    expect(page.locator("#shown iframe")).to_have_count(0)
    expect(page.locator("#delete")).to_be_hidden()
    assert not folder.exists()


def test_the_next_video_replaces_the_one_before(page: Page, server: tuple[str, Path], tmp_path: Path) -> None:
    player = page.frame_locator("#shown iframe")
    before = set(results(server))
    for name in ("first", "second"):
        give(page, write_clip(tmp_path / f"{name}.mp4", SECONDS, H264, [Sound("aac")]))
        expect(player.locator("h1")).to_contain_text(name, timeout=WAITING)
    assert len(set(results(server)) - before) == 1


def test_what_cannot_be_parsed_is_said_and_nothing_of_it_is_kept(
    page: Page, server: tuple[str, Path], tmp_path: Path
) -> None:
    before = set(results(server))
    (tmp_path / "broken.mp4").write_text("this is text")
    give(page, tmp_path / "broken.mp4")
    expect(page.get_by_role("alert").filter(has_text="broken.mp4")).to_contain_text(
        "broken.mp4: this is no video", timeout=WAITING
    )
    assert set(results(server)) == before
    assert not uploaded(server)

    (tmp_path / "large.mp4").write_bytes(os.urandom(1_500_000))
    give(page, tmp_path / "large.mp4")
    expect(page.get_by_text(re.compile("exceed the maximum allowed size"))).to_be_visible()
    page.reload()
    (tmp_path / "text.txt").write_text("text")
    give(page, tmp_path / "text.txt")
    expect(page.get_by_text(re.compile("Invalid file type"))).to_be_visible()


def by_keyboard(page: Page) -> FileChooser:
    """Go to the field with the Tab key and open it, again if the page was not yet ready for it."""
    for _ in range(10):
        page.evaluate("document.activeElement.blur()")
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.querySelector('#video').contains(document.activeElement)"):
                break
        with suppress(PlaywrightTimeout), page.expect_file_chooser(timeout=2_000) as chooser:
            page.keyboard.press("Enter")
            return chooser.value
    raise AssertionError("the field cannot be opened by the keyboard")


def test_a_phone_and_a_keyboard_are_enough(chromium: Chromium, server: tuple[str, Path], tmp_path: Path) -> None:
    video = write_clip(tmp_path / "by keyboard.mp4", SECONDS, H264, [Sound("aac")])
    for page in opened(chromium, server[0], width=390):
        by_keyboard(page).set_files(video)
        player = page.frame_locator("#shown iframe")
        expect(player.locator("video")).to_be_visible(timeout=WAITING)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert player.locator("body").evaluate("body => body.scrollWidth <= body.ownerDocument.defaultView.innerWidth")
        # the player is as high as what is in it: one thing scrolls, not two
        page.wait_for_function(
            """() => {
              const frame = document.querySelector("#shown iframe");
              return frame.contentDocument.documentElement.scrollHeight <= frame.clientHeight;
            }"""
        )


def test_another_site_cannot_reach_the_page_by_a_name_of_its_own(server: tuple[str, Path]) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(server[0], headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_results_cannot_be_listed(server: tuple[str, Path]) -> None:
    import urllib.error
    import urllib.request

    for address in ("results/", "results", "results/%2e%2e/uploads/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server[0] + address)
