"""Video parsing as a task: its results, their scores, and the files that contain them."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure
from torch import Tensor, nn

from avvp_pl.data.activitynet import write_detections
from avvp_pl.data.annotations import intervals, write_timelines
from avvp_pl.data.known import digest_of
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.figures import draw_timelines, png
from avvp_pl.files import atomic_write, atomic_write_bytes
from avvp_pl.metrics import AVVPMetric, ParsingScores
from avvp_pl.metrics.avvp import exclusive, with_exclusive
from avvp_pl.runs.names import (
    DETECTIONS,
    MISSING,
    PICTURES,
    PREDICTIONS,
    PROBABILITIES,
    SCORES,
    TIMELINES,
    predictions_of,
)
from avvp_pl.runs.tested import EpochTested
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.task import Task
from avvp_pl.tasks.terminal import print_table
from avvp_pl.types import Batch


class Found(NamedTuple):
    """One event that was found: when it begins and ends, in seconds, and its mean probability in between."""

    video: str
    modality: str
    event: str
    onset: float
    offset: float
    probability: float


def found_events(names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> Iterator[Found]:
    """Yield all events that were found: video by video, in each by modality, then by event, then by time."""
    timelines, probs = (map(Tensor.numpy, parsed.videos(flat)) for flat in (parsed.timelines, parsed.probs))
    for name, timeline, prob in zip(names, timelines, probs, strict=True):
        for m, modality in enumerate(videos.modalities):
            for event, start, end in intervals(timeline[:, m]):
                times = start * videos.segment_seconds, end * videos.segment_seconds
                yield Found(name, modality, videos.events[event], *times, float(prob[start:end, m, event].mean()))


class ParsingMetric(nn.Module):
    """The scores of parsed videos and, if they are wanted, those of what is in one modality only."""

    def __init__(self, modalities: Sequence[str], num_events: int, with_exclusive: bool) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.all = AVVPMetric(modalities, num_events)
        self.exclusive = AVVPMetric(modalities, num_events) if with_exclusive else None

    def update(
        self, timelines: Bool[Tensor, "B T M C"], truth: Bool[Tensor, "B T M C"], mask: Bool[Tensor, "B T"]
    ) -> None:
        """Add a batch."""
        self.all.update(timelines, truth, mask)
        if self.exclusive is not None:
            self.exclusive.update(exclusive(timelines), exclusive(truth), mask)

    def scores(self) -> ParsingScores:
        """Return the scores of all that was added, and begin anew."""
        scores: ParsingScores = self.all.compute()
        self.all.reset()
        if self.exclusive is None:
            return scores
        average = with_exclusive(scores, self.exclusive.compute(), self.modalities).average
        self.exclusive.reset()
        return scores._replace(exclusive_average=average)


class ParsingTask(Task):
    """Segment- and event-level F1 (:mod:`avvp_pl.metrics.avvp`), LLP-format tables, and a table on the terminal.

    With ``exclusive``, a validation also has the score ``exclusive_average``, the mean of all scores where those of
    modalities are about what is in one of them only (:func:`~avvp_pl.metrics.avvp.with_exclusive`).
    """

    name, score = "parsing", "f1"

    def __init__(self, exclusive: bool = False) -> None:
        self.exclusive = exclusive

    def metric(self, modalities: Sequence[str], num_events: int, validation: bool = False) -> ParsingMetric:
        """Return what collects the results of batches."""
        return ParsingMetric(modalities, num_events, self.exclusive and validation)

    def update(self, metric: ParsingMetric, parsed: Parsed, batch: Batch, videos: VideoSet) -> None:
        """Add the timelines of a batch and its truth."""
        assert batch.truth is not None
        metric.update(parsed.timelines, batch.truth, batch.mask)

    def scores(self, metric: ParsingMetric, videos: VideoSet, events: Sequence[str]) -> ParsingScores:
        """Return the scores of all that was added, and begin anew."""
        return metric.scores()

    def write(
        self,
        folder: Path,
        names: Sequence[str],
        parsed: Parsed,
        scores: ParsingScores,
        videos: ParsingSet,
        protocol: str,
        tested: EpochTested | None = None,
    ) -> None:
        """Write ``scores.json`` and ``predictions/`` of a split."""
        write_predictions(folder / PREDICTIONS, names, parsed, videos)
        of_run = {"tested": None if tested is None else tested.as_dict(), "test_videos": digest_of(names)}
        write_scores(folder / SCORES, scores, videos.events, protocol, of_run)

    def show(self, scores: ParsingScores, title: str) -> None:
        """Print the scores."""
        print_scores(scores, title)


def scores_as_dict(
    scores: ParsingScores, events: Sequence[str], protocol: str, of_run: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the content of ``scores.json``: unrounded percentages, null for events neither predicted nor true.

    ``of_run`` is what a run has beside scores: the tested epoch, and a checksum of the names of the test videos.
    """
    return {
        "protocol": protocol,
        **(of_run or {}),
        "segment": scores.segment,
        "event": scores.event,
        "videos": {"listed": scores.listed, "with_predictions": scores.with_predictions},
        "per_event": {
            level: {track: dict(zip(events, f1, strict=True)) for track, f1 in tracks.items()}
            for level, tracks in scores.per_event.items()
        },
    }


def write_scores(
    path: Path,
    scores: ParsingScores,
    events: Sequence[str],
    protocol: str,
    of_run: Mapping[str, Any] | None = None,
) -> None:
    """Write ``scores.json``."""
    with atomic_write(path) as file:
        json.dump(scores_as_dict(scores, events, protocol, of_run), file, indent=2)
        file.write("\n")


def print_scores(scores: ParsingScores, title: str) -> None:
    """Print the scores of both levels, their mean, and how many videos have predictions.

    A terminal that is too narrow for the table gets a line for each score.
    """
    print(title)
    levels: dict[str, Mapping[str, float]] = {"segment": scores.segment, "event": scores.event}
    print_table(
        {level: {_heading(name): f"{value:.1f}" for name, value in values.items()} for level, values in levels.items()}
    )
    print(
        f"F1 in percent, average {scores.average:.1f}; "
        f"{scores.with_predictions} of {scores.listed} videos have predictions"
    )


def _heading(name: str) -> str:
    special = {"type_av": "Type@AV", "event_av": "Event@AV"}
    return special.get(name, name.capitalize().replace("_", "-"))


def write_predictions(folder: Path, names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> None:
    """Write ``MODALITY.csv`` for each modality, and the probabilities from which they were decided.

    Intervals that a decision for localization has found are written into ``detections.json``.
    """
    timelines = [timeline.numpy() for timeline in parsed.videos(parsed.timelines)]
    for m, modality in enumerate(videos.modalities):
        rows = [timeline[:, m] for timeline in timelines]
        write_timelines(predictions_of(folder, modality), names, rows, videos.events, videos.segment_seconds)
    _write_probabilities(folder / PROBABILITIES, names, parsed, videos)
    if parsed.detections is not None:
        write_detections(folder / DETECTIONS, names, videos.events, parsed.detections)


def _write_probabilities(path: Path, names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> None:
    """Write names, lengths and, as float16, probabilities before any threshold.

    Those of segments are ``segment`` [S, M, C] and those of videos are ``video`` [N, M, C]; they are NaN in modalities
    that a video does not have. The same content gives the
    same bytes, because numpy writes no time into the archive.
    """
    with atomic_write_bytes(path) as file:
        np.savez_compressed(
            file,
            names=np.array(names, dtype=np.str_),
            events=np.array(videos.events, dtype=np.str_),
            modalities=np.array(tuple(videos.modalities), dtype=np.str_),
            lengths=parsed.lengths.numpy(),
            segment=parsed.probs.half().numpy(),
            video=parsed.video_probs.half().numpy(),
        )


def write_parsed(
    folder: Path,
    names: Sequence[str],
    parsed: Parsed,
    videos: ParsingSet,
    missing: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Write the predictions, and ``timelines.json`` with the mean probability of every event that occurs.

    ``missing`` are modalities that videos do not have, by name. Nothing is known about them, so ``timelines.json`` has
    no list of events for them; as a table cannot tell that from a modality in which nothing occurs, they are also
    listed in ``missing.csv``.
    """
    missing = missing or {}
    write_predictions(folder, names, parsed, videos)
    entries: dict[str, Any] = {}
    for name, length in zip(names, parsed.lengths.tolist(), strict=True):
        known = [modality for modality in videos.modalities if modality not in missing.get(name, ())]
        entries[name] = {"segments": length, "events": {modality: [] for modality in known}}
        if missing.get(name):
            entries[name]["missing"] = list(missing[name])
    for found in found_events(names, parsed, videos):
        entries[found.video]["events"][found.modality].append(
            {
                "event": found.event,
                "onset": found.onset,
                "offset": found.offset,
                "probability": round(found.probability, 4),
            }
        )
    content = {"events": videos.events, "segment_seconds": videos.segment_seconds, "videos": entries}
    with atomic_write(folder / TIMELINES) as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    _write_missing(folder / MISSING, missing)


def _write_missing(path: Path, missing: Mapping[str, Collection[str]]) -> None:
    """Write a row for each modality that a video does not have; no file where all videos have all of them."""
    if not any(missing.values()):
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as file:
        rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        rows.writerow(("filename", "modality"))
        rows.writerows((name, modality) for name, modalities in missing.items() for modality in modalities)


def write_pictures(folder: Path, split: VideoSet, parsed: Parsed, videos: ParsingSet, count: int) -> None:
    """Draw the first ``count`` videos into ``pictures/KEY.png``: the prediction, below the truth if it is known.

    KEY is the name of the video's feature files, so no video's name can lead out of the folder.
    """
    for row in range(min(count, len(split))):
        figure = draw_video(row, split, parsed, videos)
        with atomic_write_bytes(folder / PICTURES / f"{split.file_stems[row]}.png") as file:
            file.write(png(figure, dpi=120))


def draw_video(row: int, split: VideoSet, parsed: Parsed, videos: ParsingSet) -> Figure:
    """Draw the prediction of one video, below its truth if that is known."""
    sources = {"prediction": parsed.videos(parsed.timelines)[row].numpy()}
    if split.truth is not None:
        sources = {"truth": parsed.videos(split.truth.cpu())[row].numpy(), **sources}
    missing, title = split.missing.get(split.names[row], ()), split.names[row]
    shown = {name: m for m, name in enumerate(videos.modalities) if name not in missing}
    if missing and shown:  # an empty panel would say that nothing was found
        title = f"{title} ({' and '.join(missing)} not known)"
        sources = {name: source[:, list(shown.values())] for name, source in sources.items()}
    return draw_timelines(title, sources, list(shown or videos.modalities), videos.events, videos.segment_seconds)
