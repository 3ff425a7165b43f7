"""Figure 3: parsed videos, and how they are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from avvp_pl.data.names import composed
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.figures import TRUTH, draw_timelines, told_apart, words
from avvp_pl.reporting.drawings import Drawing, of_seeds, sentences
from avvp_pl.reporting.videos import TestVideos

CHOSEN_BY_DISAGREEMENT = (
    "This video was chosen automatically, among those on which these runs disagree most, if possible with different "
    "events. It shows how the runs differ and is not typical."
)


def choose_videos(videos: TestVideos, found: Mapping[str, Bool[Tensor, "N T M C"]], count: int) -> list[str]:
    """Return the names of ``count`` videos on which the methods disagree most, if possible with different events.

    Disagreement counts the (segment, modality, event) cells that some methods find and others do not; a single method
    is compared with the truth. Videos are taken one by one: among those with the fewest events that have already been
    shown, the one with the largest disagreement, and of equal ones the first in the list.
    """
    answers = [*found.values()] if len(found) > 1 else [*found.values(), videos.truth]
    real = videos.mask[:, :, None, None]
    every, some = answers[0] & real, answers[0] & real
    for answer in answers[1:]:
        every, some = every & answer, some | (answer & real)
    apart_by = (some & ~every).flatten(1).sum(1).tolist()
    occurring = [set(row.nonzero()[:, 0].tolist()) for row in (videos.truth & real).flatten(1, 2).any(1)]
    open_rows = [row for row in range(len(videos.names)) if apart_by[row] and occurring[row]]
    seen: set[int] = set()
    chosen: list[str] = []
    while open_rows and len(chosen) < count:
        row = min(open_rows, key=lambda row: (len(occurring[row] & seen), -apart_by[row], row))
        open_rows.remove(row)
        seen |= occurring[row]
        chosen.append(videos.names[row])
    return chosen


def figure3(
    videos: TestVideos,
    found: Mapping[str, Bool[Tensor, "N T M C"]],
    seeds: Mapping[str, int],
    chosen: Sequence[str],
    reason: str = "",
) -> list[Drawing]:
    """Draw the timelines of each chosen video: the truth, and below it what one run of each method found.

    ``seeds`` are the seeds of these runs, by the label of the method; the captions name them, and the ``reason`` for
    the choice of videos. Raises :class:`InputError` where a name is not a test video.
    """
    rows = {name: row for row, name in enumerate(videos.names)}
    drawings = []
    for number, name in enumerate(map(composed, chosen), start=1):
        if name not in rows:
            raise InputError(f"{quote(name)} is not a video of the test split.{nearest(name, videos.names)}")
        row = rows[name]
        length = max(1, videos.lengths[row])
        sources = {TRUTH: videos.truth, **{not_truth(label): timelines for label, timelines in found.items()}}
        figure = draw_timelines(
            name,
            {label: timelines[row, :length].numpy() for label, timelines in sources.items()},
            videos.modalities,
            videos.events,
            videos.segment_seconds,
        )
        caption = sentences(
            f"Test video {words(name)}. In each row, from top to bottom: {', '.join(told_apart(list(sources)))}.",
            said_runs({label: seeds[label] for label in found}),
            "Gray shade is where the event truly occurs: a bar without shade is false, shade without a bar is missed.",
            reason,
        )
        drawings.append(Drawing(f"fig3_{number}", f"Parsed video {words(name)}", caption, figure))
    return drawings


def said_runs(seeds: Mapping[str, int]) -> str:
    """Return ``Each method is one run, of seed 0.``, or the seed of each method where they differ."""
    own = {not_truth(label): seed for label, seed in seeds.items()}
    if not own:
        return ""
    if len(set(own.values())) == 1:
        return f"Each method is one run, of {of_seeds(set(own.values()))}."
    labels = told_apart(list(own))
    of_each = (f"{label} of seed {seed}" for label, seed in zip(labels, own.values(), strict=True))
    return f"Each method is one run: {', '.join(of_each)}."


def not_truth(label: str) -> str:
    """Return the label of a method, which must not look like that of the truth."""
    return f"{label} (method)" if label == TRUTH else label
