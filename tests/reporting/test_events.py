"""F1 of every event: each number in its row and panel, missing ones nowhere."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.axes import Axes

from avvp_pl.reporting.events import per_event
from avvp_pl.runs.reading import Setting
from tests.reporting.drawn import a_run, boxes, points, settings_of, the_videos


def a_setting(name: str, *seeds: dict[str, float | None], visual: dict[str, float | None] | None = None) -> Setting:
    tracks = [{"audio": of_seed, "visual": visual or of_seed} for of_seed in seeds]
    runs = [a_run(name, seed, per_event={"segment": of_seed, "event": {}}) for seed, of_seed in enumerate(tracks)]
    (setting,) = settings_of(*runs)
    return setting


def dots(panel: Axes) -> dict[int, dict[int, float]]:
    """F1 by place of the setting and row."""
    return {place: {round(y): x for x, y in points(line)} for place, line in enumerate(panel.lines)}


def test_bars_are_means_over_the_seeds_that_have_one() -> None:
    setting = a_setting("ppl", {"A": 40.0, "B": None, "C": 10.0}, {"A": 60.0, "B": None, "C": None}, visual={"B": 5.0})
    drawing = per_event([setting], None)
    assert drawing is not None
    audio, visual = drawing.figure.axes
    assert [(round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in boxes(audio)] == [
        (0, 50.0),
        (2, 10.0),
    ]
    assert [(round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in boxes(visual)] == [(1, 5.0)]
    assert [text.get_position()[1] for text in audio.texts] == [1]  # 'none' in the row of B
    assert [text.get_position()[1] for text in visual.texts] == [0, 2]
    assert [tick.get_text() for tick in audio.get_yticklabels()] == ["A", "B", "C"]
    assert drawing.numbers[0] == {
        "setting": "ppl", "track": "audio", "event": "A", "videos": None, "seeds": 2, "mean": 50.0,
    }  # fmt: skip


@pytest.mark.parametrize("count", [4, 6])
def test_of_more_settings_there_are_dots(count: int) -> None:
    settings = [a_setting(f"m{i}", {f"E{c:02}": 3.0 * c + i for c in range(25)}) for i in range(count)]
    drawing = per_event(settings, None)
    assert drawing is not None
    assert dots(drawing.figure.axes[0]) == {i: {c: 3.0 * c + i for c in range(25)} for i in range(count)}
    rows = [{round(y - round(y), 3) for _, y in points(line)} for line in drawing.figure.axes[0].lines]
    assert len(set.union(*rows)) == count  # none upon another


def test_bars_of_three_settings_do_not_cover_each_other() -> None:
    settings = [a_setting(f"m{i}", {"A": 50.0, "B": 60.0}) for i in range(3)]
    drawing = per_event(settings, None)
    assert drawing is not None
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in boxes(drawing.figure.axes[0]))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_the_most_frequent_event_comes_first() -> None:
    videos = the_videos(["a", "b", "c"], events=("Cat", "Dog", "Speech"))
    videos.truth[:, 0, 0, 2] = True  # heard in three videos
    videos.truth[0, :, :, 1] = True  # all of one
    videos.truth[1, 3, 1, 0] = True
    videos.truth[2, 3, 1, 0] = True
    videos.mask[2, 3] = False  # padding: the cat is in one video, like the dog
    drawing = per_event([a_setting("ppl", {"Dog": 1.0, "Cat": 2.0, "Speech": 3.0, "Other": 4.0})], videos)
    assert drawing is not None
    ticks = [tick.get_text() for tick in drawing.figure.axes[0].get_yticklabels()]
    assert ticks == ["Speech (3)", "Cat (1)", "Dog (1)", "Other"]
    assert [bar.get_width() for bar in boxes(drawing.figure.axes[0])] == [3.0, 2.0, 1.0, 4.0]


def test_long_names_that_differ_in_the_middle_do_not_look_alike() -> None:
    events: dict[str, float | None] = {
        f"the long sound of {sound} in the background": 1.0 for sound in ("rain", "wind")
    }
    settings = [a_setting(f"{'x' * 40} gamma={gamma} {'y' * 40}", events) for gamma in (1, 2)]
    drawing = per_event(settings, None)
    assert drawing is not None
    assert [tick.get_text() for tick in drawing.figure.axes[0].get_yticklabels()] == [*events]
    (legend,) = drawing.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [setting.label for setting in settings]


def test_the_caption_says_over_how_many_seeds() -> None:
    one: dict[str, float | None] = {"A": 1.0}
    three, five = a_setting("three", *[one] * 3), a_setting("five", *[one] * 5)
    for settings, says in (([three], "mean over 3 seeds."), ([three, five], "mean over 3 to 5 seeds.")):
        drawing = per_event(settings, None)
        assert drawing is not None
        assert says in drawing.caption


def test_without_events_there_is_nothing() -> None:
    assert per_event([], None) is None
    assert per_event(settings_of(a_run()), None) is None
