"""What the page gets of a video, compared with a slow reference and with the event-level score."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avvp_pl.metrics.avvp import score_timelines
from avvp_pl.pages.page import relative_address
from avvp_pl.reporting.browser import Browser, Found, Group, Track, browse, compare
from avvp_pl.reporting.videos import Probabilities, TestVideos

pairs = st.integers(1, 12).flatmap(lambda size: st.tuples(*[st.lists(st.booleans(), min_size=size, max_size=size)] * 2))


def bits(text: str) -> npt.NDArray[np.bool_]:
    return np.array([sign == "1" for sign in text], dtype=bool)


def stretches(track: list[bool]) -> list[frozenset[int]]:
    """Maximal intervals, as sets of segments."""
    found: list[set[int]] = []
    for t, active in enumerate(track):
        if active and (t == 0 or not track[t - 1]):
            found.append(set())
        if active:
            found[-1].add(t)
    return [frozenset(interval) for interval in found]


def reference(predicted: list[bool], true: list[bool]) -> list[Group]:
    """The same from sets of segments: join what shares a segment until nothing does."""
    groups = [[("predicted", interval)] for interval in stretches(predicted)]
    groups += [[("true", interval)] for interval in stretches(true)]
    while True:
        joined = next(
            ((a, b) for a in groups for b in groups if a is not b and any(x[1] & y[1] for x in a for y in b)), None
        )
        if joined is None:
            break
        groups = [group for group in groups if group not in joined] + [joined[0] + joined[1]]
    answer = []
    for group in groups:
        of = {side: {interval for name, interval in group if name == side} for side in ("predicted", "true")}
        matched = {(p, t) for p in of["predicted"] for t in of["true"] if len(p & t) / len(p | t) >= 0.5}
        if not of["predicted"]:
            kind = "missed"
        elif not of["true"]:
            kind = "false"
        elif of["predicted"] == of["true"]:
            kind = "exact"
        elif {p for p, _ in matched} == of["predicted"] and {t for _, t in matched} == of["true"]:
            kind = "inexact"
        else:
            kind = "extent"
        segments = frozenset[int]().union(*(interval for _, interval in group))
        answer.append(Group(kind, min(segments), max(segments) + 1))
    return sorted(answer, key=lambda group: group.onset)


@given(pairs)
def test_groups_are_those_of_a_slow_reference(pair: tuple[list[bool], list[bool]]) -> None:
    predicted, true = pair
    assert compare(np.array(predicted), np.array(true)) == reference(predicted, true)


@given(pairs)
def test_only_the_three_errors_cost_event_level_score(pair: tuple[list[bool], list[bool]]) -> None:
    predicted, true = (torch.tensor(track)[None, :, None, None] for track in pair)
    score = score_timelines(predicted, true, modalities=("audio",)).event["audio"]
    kinds = {group.kind for group in compare(np.array(pair[0]), np.array(pair[1]))}
    assert (score == 100) == (not kinds & {"missed", "false", "extent"})


@pytest.mark.parametrize(
    ("predicted", "true", "groups"),
    [
        ("0000", "0000", []),
        ("1100", "1100", [("exact", 0, 2)]),
        ("1100", "1111", [("inexact", 0, 4)]),  # an IoU of exactly 0.5 matches
        ("1000", "1110", [("extent", 0, 3)]),
        ("1100", "0011", [("false", 0, 2), ("missed", 2, 4)]),  # neighbors do not overlap
        ("1111111010", "1111111110", [("extent", 0, 9)]),  # one of the two predicted intervals matches nothing
        ("1010", "0001", [("false", 0, 1), ("false", 2, 3), ("missed", 3, 4)]),
    ],
)
def test_groups_by_hand(predicted: str, true: str, groups: list[tuple[str, int, int]]) -> None:
    assert compare(bits(predicted), bits(true)) == groups


def small(names: tuple[str, ...] = ("one", "two")) -> TestVideos:
    truth = torch.zeros(len(names), 4, 2, 3, dtype=torch.bool)
    truth[0, :3, 0, 1] = True  # Dog is heard for three of four seconds, never seen
    mask = torch.ones(len(names), 4, dtype=torch.bool)
    mask[1, 2:] = False
    return TestVideos(names, ("Speech", "Dog", "Car_horn"), ("audio", "visual"), truth, mask, 1.0)


def found(videos: TestVideos, known: bool = True) -> Found:
    prediction = torch.zeros_like(videos.truth)
    prediction[0, 1:3, 0, 1] = True
    prediction[0, 0, 1, 1] = True
    prediction[1, 3, 0, 0] = True  # padding
    segment = torch.full(prediction.shape, 0.02)
    segment[0, :, 0, 1] = torch.tensor([0.4967, 0.5, 0.996, 0.0])
    segment[1, 3, 0, 0] = 0.9  # padding
    video = torch.full((len(videos.names), 2, 3), 0.1)
    video[0, 1, 1] = 0.3
    video[1, 0, 2] = 0.51  # likely, although found nowhere
    return Found(prediction, Probabilities(segment, video) if known else None, 5)


def browsed(tmp_path: Path) -> Browser:
    videos = small()
    return browse(videos, {"b": found(videos, known=False), "a": found(videos)}, {}, tmp_path)


def test_a_video_shows_what_is_true_found_or_likely(tmp_path: Path) -> None:
    browser = browsed(tmp_path)
    assert [(method.label, method.seed, method.probabilities) for method in browser.methods] == [
        ("b", 5, False),
        ("a", 5, True),
    ]
    one, two = browser.videos
    assert one.segments == 4
    assert [shown.event for shown in one.shown] == [1]
    heard, seen = one.shown[0].tracks
    assert heard == ("1110", "01100110", "Iii.Iii.", "49509900", "10")  # .4967 is below the threshold and stays there
    assert seen == ("", "10001000", "F...F...", "02020202", "30")
    assert two.segments == 2  # the rest is padding, and what is found there is ignored
    assert [shown.event for shown in two.shown] == [2]
    assert two.shown[0].tracks == (("", "", "", "0202", "51"), ("", "", "", "0202", "10"))


def test_videos_of_different_lengths_have_their_own_segments(tmp_path: Path) -> None:
    """5 segments beside 40: every string has the length of its video, and every number is of the right segment."""
    lengths, longest = (5, 40, 12), 40
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(0)
    shape = (3, longest, 3, 2)
    real = mask[:, :, None, None]
    truth, *predictions = (real & (torch.rand(shape, generator=generator) < 0.4) for _ in range(3))
    probabilities = [torch.rand(shape, generator=generator) * 0.49 for _ in range(2)]  # 0.49 is never rounded up to 0.5
    of_videos = [torch.rand(3, 3, 2, generator=generator) * 0.49 for _ in range(2)]
    videos = TestVideos(("a", "b", "c"), ("x", "y"), ("audio", "visual", "touch"), truth, mask, 0.5)
    methods = {
        f"m{k}": Found(predictions[k], Probabilities(probabilities[k] * real, of_videos[k]), k) for k in range(2)
    }
    for n, video in enumerate(browse(videos, methods, {}, tmp_path).videos):
        length = lengths[n]
        assert video.segments == length
        assert [shown.event for shown in video.shown] == [0, 1]
        for shown in video.shown:
            assert len(shown.tracks) == 3
            for m, track in enumerate(shown.tracks):
                at = (n, slice(length), m, shown.event)
                assert track.truth == "".join(str(int(bit)) for bit in truth[at])
                assert track.predictions == "".join(str(int(bit)) for one in predictions for bit in one[at])
                percents = [int(track.percents[i : i + 2]) for i in range(0, len(track.percents), 2)]
                assert percents == [round(100 * float(p)) for one in probabilities for p in one[at]]
                assert track.likely == "".join(f"{round(100 * float(one[n, m, shown.event])):02d}" for one in of_videos)
                assert len(track.marks) == 2 * length


def test_a_video_without_segments_has_empty_tracks(tmp_path: Path) -> None:
    mask = torch.tensor([[True, True], [False, False]])
    nothing = torch.zeros(2, 2, 1, 1, dtype=torch.bool)
    videos = TestVideos(("a", "b"), ("x",), ("audio",), nothing, mask, 1.0)
    likely = Probabilities(nothing.float(), torch.full((2, 1, 1), 0.9))
    _, video = browse(videos, {"m": Found(nothing, likely, 0)}, {}, tmp_path).videos
    assert (video.segments, video.shown[0].tracks) == (0, (("", "", "", "", "90"),))


def test_scores_are_of_each_video_alone(tmp_path: Path) -> None:
    browser = browsed(tmp_path)
    # segments: A 80, V 0, AV undefined, so 100, Type 60, Event 2 * 2 / (4 + 1 + 1); events: A 100, V 0, AV 100, ...
    expected = (80 + 0 + 100 + 60 + 200 / 3 + 100 + 0 + 100 + 200 / 3 + 200 / 3) / 10
    assert browser.videos[0].scores == pytest.approx((expected, expected))
    assert list(browser.videos[1].scores) == [100.0, 100.0]
    videos = small()
    whole = score_timelines(found(videos).prediction, videos.truth, videos.mask)
    assert np.mean([video.scores[0] for video in browser.videos]) == pytest.approx(whole.average)


def test_marks_agree_with_compare(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (6, 9, 2, 2)
    truth, prediction = torch.rand(shape) > 0.5, torch.rand(shape) > 0.5
    videos = TestVideos(
        tuple("abcdef"), ("x", "y"), ("audio", "visual"), truth, torch.ones(6, 9, dtype=torch.bool), 0.5
    )
    listed = browse(videos, {"m": Found(prediction, None, 0)}, {}, tmp_path).videos
    letters = {"missed": "M", "false": "F", "extent": "X", "inexact": "I", "exact": "C"}
    for n, video in enumerate(listed):
        for shown in video.shown:
            for m, track in enumerate(shown.tracks):
                groups = reference(prediction[n, :, m, shown.event].tolist(), truth[n, :, m, shown.event].tolist())
                expected = "." * 9
                for kind, on, off in groups:
                    word = letters[kind] + letters[kind].lower() * (off - on - 1)
                    expected = expected[:on] + word + expected[off:]
                assert isinstance(track, Track)
                assert (track.marks or "." * 9) == expected


def test_media_are_named_relative_to_the_page(tmp_path: Path) -> None:
    videos = small()
    media = {"two": tmp_path / "raw" / "a #1?.mp4", "stranger": tmp_path / "other.mp4"}
    one, two = browse(videos, {"a": found(videos)}, media, tmp_path / "out").videos
    assert one.media is None
    assert two.media == "../raw/a%20%231%3F.mp4"


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9))
def test_any_file_name_is_an_address(name: str) -> None:
    if name in {".", ".."}:
        return
    address = relative_address(Path("/media") / name, Path("/page"))
    assert not set(address) & set("#?:\"'<> ")
    assert unquote(address) == f"../media/{name}"
