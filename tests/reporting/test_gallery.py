"""A report has every figure that its runs allow, and no other."""

from __future__ import annotations

from dataclasses import replace

from avvp_pl.reporting.gallery import draw_all
from avvp_pl.runs.reading import by_setting
from tests.reporting.drawn import a_run, settings_of, the_videos


def test_all_is_what_the_runs_allow() -> None:
    assert draw_all([], None, [], None, {}, {}, None) == []
    assert draw_all(settings_of(a_run()), None, [], None, {}, {}, None) == []
    runs = [a_run("ppl", 0, {"labeling.tau": tau}, score) for tau, score in ((0.1, 40.0), (0.2, 42.0))]
    scores = {"segment": {"audio": {"Speech": 50.0}}}
    runs = [replace(run, epochs=[{"epoch": 0.0, "val/segment/type_av": 4.0}], per_event=scores) for run in runs]
    settings = by_setting(runs)
    assert [d.key for d in draw_all(settings, settings[0], settings, None, {}, {}, None)] == [
        "tau",
        "per_event",
        "learning",
    ]
    videos = the_videos(["a", "b"])
    videos.truth[0, 0, 0, 0] = True
    found = {settings[0].label: videos.truth.clone(), settings[1].label: ~videos.truth}
    seeds = dict.fromkeys(found, 0)
    keys = [d.key for d in draw_all(settings, None, settings, videos, found, seeds, None)]
    assert keys == ["tau", "per_event", "learning", "fig3_1"]
    chosen = draw_all(settings, None, settings, videos, found, seeds, ["b", "a"])[3:]
    assert [d.title for d in chosen] == ["Parsed video b", "Parsed video a"]
    assert "chosen automatically" not in chosen[0].caption
