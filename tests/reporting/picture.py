"""Take the picture of a report that the README shows.

``python -m tests.reporting.picture REPORT.html PICTURE.png '#video=NAME&event=EVENT' 3.5`` opens the report at that
view, with its player at that time in seconds.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright


def take_picture(report: Path, picture: Path, view: str, seconds: float) -> None:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 940}, color_scheme="light", reduced_motion="reduce")
        page.goto(report.absolute().as_uri() + view)
        player = page.locator("video")
        if player.is_visible():
            player.evaluate(
                """(video, seconds) => new Promise((done) => {
                    const seek = () => { video.onseeked = done; video.currentTime = seconds; };
                    if (video.readyState) seek(); else video.onloadedmetadata = seek;
                })""",
                seconds,
            )
            expect(page.get_by_label("Time in the video")).to_have_value(str(seconds).removesuffix(".0"))
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
