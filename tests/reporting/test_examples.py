"""Figure 3 shows the chosen videos as they are, and the automatic choice is what it says."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from avvp_pl.errors import InputError
from avvp_pl.figures import INK, draw_timelines, look, pixels, png
from avvp_pl.reporting.examples import choose_videos, figure3
from tests.reporting.drawn import boxes, the_videos


def choose_slowly(truth: torch.Tensor, mask: torch.Tensor, answers: list[torch.Tensor], count: int) -> list[int]:
    """The same choice, cell by cell."""
    disagreement, occurring = [], []
    for n in range(len(truth)):
        cells = list(itertools.product(range(truth.shape[1]), range(truth.shape[2]), range(truth.shape[3])))
        cells = [cell for cell in cells if mask[n, cell[0]]]
        disagreement.append(sum(len({bool(answer[n][cell]) for answer in answers}) == 2 for cell in cells))
        occurring.append({cell[2] for cell in cells if truth[n][cell]})
    chosen: list[int] = []
    shown: set[int] = set()
    while len(chosen) < count:
        best = None
        for n in range(len(truth)):
            if n in chosen or not disagreement[n] or not occurring[n]:
                continue
            rank = (len(occurring[n] & shown), -disagreement[n])
            if best is None or rank < best[0]:
                best = (rank, n)
        if best is None:
            break
        chosen.append(best[1])
        shown |= occurring[best[1]]
    return chosen


@pytest.mark.parametrize("methods", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_that_of_the_slow_reference(methods: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    videos = the_videos([f"v{n}" for n in range(8)], events=[f"E{c}" for c in range(5)])
    videos.truth.copy_(torch.rand(videos.truth.shape, generator=generator) < 0.06)
    lengths = torch.randint(1, videos.mask.shape[1] + 1, (8, 1), generator=generator)
    videos.mask.copy_(torch.arange(videos.mask.shape[1]) < lengths)
    found = {f"m{i}": torch.rand(videos.truth.shape, generator=generator) < 0.1 for i in range(methods)}
    answers = [*found.values()] + ([videos.truth] if methods == 1 else [])
    slow = choose_slowly(videos.truth, videos.mask, answers, count=5)
    assert choose_videos(videos, found, count=5) == [f"v{n}" for n in slow]


def test_where_methods_agree_there_is_nothing_to_show() -> None:
    videos = the_videos(["a"])
    videos.truth[0, 0, 0, 0] = True
    assert choose_videos(videos, {"x": ~videos.truth, "y": ~videos.truth}, count=3) == []


def test_lanes_are_the_timelines() -> None:
    videos = the_videos(["a", "b"])
    videos.truth[1, 1:3, 0, 1] = True  # the dog is heard from 1 to 3 s
    found = torch.zeros_like(videos.truth)
    found[1, 2:, 0, 1] = True
    videos.mask[1, 3] = False
    (drawing,) = figure3(videos, {"ppl": found}, {"ppl": 3}, ["b"], reason="For a test.")
    audio, visual = drawing.figure.axes
    bars = {}
    for patch in boxes(audio):
        bars[(patch.get_facecolor()[:3], patch.get_alpha())] = (patch.get_x(), patch.get_width())
    rgb = {name: Rectangle((0, 0), 1, 1, facecolor=name).get_facecolor()[:3] for name in (INK, look(0).color)}
    assert bars == {(rgb[INK], 0.13): (1.0, 2.0), (rgb[INK], 1.0): (1.0, 2.0), (rgb[look(0).color], 1.0): (2.0, 1.0)}
    assert not visual.patches
    assert audio.get_xlim() == (0, 3)  # padding is no part of the video
    assert [tick.get_text() for tick in audio.get_yticklabels()] == ["Dog"]
    assert drawing.key == "fig3_1"
    assert drawing.caption.endswith("For a test.")
    assert "In each row, from top to bottom: truth, ppl." in drawing.caption
    assert "Each method is one run, of seed 3." in drawing.caption


def test_videos_of_different_lengths_are_drawn_with_their_own() -> None:
    """5 segments beside 40; what is found behind the end of the short one is padding."""
    videos = the_videos(["short", "long"], segments=40)
    videos.mask[0, 5:] = False
    found = torch.ones_like(videos.truth)
    for drawing, length in zip(figure3(videos, {"m": found}, {"m": 0}, ["short", "long"]), (5, 40), strict=True):
        for panel in drawing.figure.axes:
            assert panel.get_xlim() == (0, length)
            assert {(bar.get_x(), bar.get_width()) for bar in boxes(panel)} == {(0, length)}
    assert choose_videos(videos, {"a": found, "b": ~found}, count=2) == []  # nothing occurs
    videos.truth[:, 0] = True
    assert choose_videos(videos, {"a": found, "b": ~found}, count=1) == ["long"]  # they differ in more of its segments


def test_a_video_without_segments_can_be_drawn() -> None:
    videos = the_videos(["none", "long"], segments=4)
    videos.mask[0] = False
    (drawing,) = figure3(videos, {"m": videos.truth}, {"m": 0}, ["none"])
    assert not any(panel.patches for panel in drawing.figure.axes)


def test_the_pixels_of_a_picture_are_those_of_its_file() -> None:
    track = np.random.default_rng(0).random((10, 2, 3)) > 0.5
    figure = draw_timelines("a video \N{CJK UNIFIED IDEOGRAPH-5B57}", {"truth": track}, ("audio", "visual"), "abc")
    found = pixels(figure, dpi=120)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, (255 * imread(io.BytesIO(png(figure, dpi=120)))[..., :3]).round())


def test_captions_name_the_seed_of_each_run() -> None:
    videos = the_videos(["a", "b"])
    found = {name: torch.zeros_like(videos.truth) for name in ("mil", "ppl", "truth")}
    for drawing in figure3(videos, found, {"mil": 0, "ppl": 4, "truth": 5}, ["a", "b"]):
        assert "Each method is one run: mil of seed 0, ppl of seed 4, truth (method) of seed 5." in drawing.caption


def test_unknown_videos_are_named() -> None:
    videos = the_videos(["holiday"])
    with pytest.raises(InputError, match=r"'holidy' is not a video of the test split\. Did you mean 'holiday'\?"):
        figure3(videos, {}, {}, ["holidy"])
    assert len(figure3(the_videos(["Caf\xe9"]), {}, {}, ["Cafe\u0301"])) == 1


def test_a_method_called_truth_does_not_take_its_place() -> None:
    videos = the_videos(["a"])
    videos.truth[0, 0, 0, 0] = True
    (drawing,) = figure3(videos, {"truth": torch.zeros_like(videos.truth)}, {"truth": 0}, ["a"])
    legend = drawing.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["truth", "truth (method)"]
    assert len(drawing.figure.axes[0].patches) == 2  # black, and its shade


def test_numbers_are_bars_of_that_opacity() -> None:
    labels = np.zeros((3, 1, 1))
    labels[:, 0, 0] = (0.75, 0.0, 0.25)
    figure = draw_timelines("v", {"pseudo labels": labels}, ["audio"], ["Dog"], segment_seconds=2.0)
    bars = [(bar.get_x(), bar.get_width(), bar.get_alpha()) for bar in boxes(figure.axes[0])]
    assert bars == [(0.0, 2.0, 0.75), (4.0, 2.0, 0.25)]


def test_methods_differ_without_colors() -> None:
    looks = [look(place) for place in range(6)]
    for part in ("color", "dashes", "marker", "hatch"):
        assert len({str(getattr(own, part)) for own in looks}) == 6
