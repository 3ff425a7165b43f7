"""What was found in videos and how well, as objects that give data frames and write files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.metrics import ParsingScores, score_timelines
from avvp_pl.runs.names import MISSING
from avvp_pl.tasks.localization import LocalizationTask, intervals_of
from avvp_pl.tasks.localization import write_scores as write_localization_scores
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.parsing import (
    Found,
    ParsingTask,
    draw_video,
    found_events,
    write_parsed,
    write_pictures,
    write_scores,
)
from avvp_pl.tasks.scoring import Scored
from avvp_pl.tasks.task import Task
from avvp_pl.timelines.saving import FILES, save, save_all
from avvp_pl.timelines.timeline import Fact, Interval, Source, Timeline
from avvp_pl.types import Detections, Instances

if TYPE_CHECKING:
    import pandas as pd

PRINTED = 10  # videos of which `print` shows tables
Truth: TypeAlias = Tensor | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Scores in percent, unrounded: ``values`` are those of the metric, and ``events`` name the events in them.

    Only scores of the same ``protocol`` are comparable. Tables are scored as *common*.
    """

    values: ParsingScores
    events: tuple[str, ...]
    protocol: str = "common"

    @property
    def average(self) -> float:
        """The mean of all scores of both levels (ten of them for two modalities)."""
        return self.values.average

    def frame(self) -> pd.DataFrame:
        """Return a row for each score: ``level`` (segment, event), ``name`` (audio, ..., event_av) and ``score``."""
        import pandas as pd

        levels = {"segment": self.values.segment, "event": self.values.event}
        rows = [(level, name, score) for level, scores in levels.items() for name, score in scores.items()]
        return pd.DataFrame(rows, columns=["level", "name", "score"])

    def per_event(self) -> pd.DataFrame:
        """Return the F1 of each event: ``level``, ``track`` (a modality, or all at once), ``event`` and ``score``.

        ``score`` is NaN for an event that is neither predicted nor true.
        """
        import pandas as pd

        rows = [
            (level, track, event, score)
            for level, tracks in self.values.per_event.items()
            for track, scores in tracks.items()
            for event, score in zip(self.events, scores, strict=True)
        ]
        return pd.DataFrame(rows, columns=["level", "track", "event", "score"]).astype({"score": float})

    def write(self, path: str | Path) -> None:
        """Write the scores as JSON; ``schema("scores")`` describes the file."""
        write_scores(Path(path), self.values, self.events, self.protocol)


@dataclass(frozen=True)
class DetectionScores:
    """Scores of detections in percent, unrounded: ``values`` are the scores, and of what they are the scores.

    Only scores of the same :attr:`protocol` are comparable.
    """

    values: Scored

    @property
    def protocol(self) -> str:
        """The name of the protocol, with a note if the truth is another one than that for which it is defined."""
        return self.values.protocol

    @property
    def average(self) -> float:
        """The mean over all thresholds of tIoU."""
        return self.values.scores.average

    def frame(self) -> pd.DataFrame:
        """Return a row for each score: ``tiou``, a threshold (0.1) or a range (average_0.1_0.7), and ``score``, mAP."""
        import pandas as pd

        return pd.DataFrame(list(self.values.scores.map.items()), columns=["tiou", "score"])

    def per_event(self) -> pd.DataFrame:
        """Return the average precision of each event: ``tiou``, ``event`` and ``score``, NaN without instances."""
        import pandas as pd

        rows = [
            (tiou, event, score)
            for tiou, scores in self.values.scores.per_event.items()
            for event, score in zip(self.values.events, scores, strict=True)
        ]
        return pd.DataFrame(rows, columns=["tiou", "event", "score"]).astype({"score": float})

    def write(self, path: str | Path) -> None:
        """Write the scores as JSON; ``schema("localization")`` describes the file."""
        write_localization_scores(Path(path), self.values)


class Detected(NamedTuple):
    """One detection: an interval of an event in a video, in seconds, and its score."""

    video: str
    event: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Parsing:
    """What was found in N videos; ``parsing[0]``, ``parsing["name"]`` and a loop give the :class:`Timeline` of each.

    ``parsed`` has the lengths, decisions and probabilities of all videos one after another; :attr:`timelines` and
    :attr:`probs` have them video by video. ``data`` has the events, the modalities and the duration of a segment, and
    ``task`` says how results are scored. ``sources`` say what is known of the files of videos, by their names, and
    ``made_by`` by what they were parsed. Where a video does not have a modality, nothing is known about it: it has no
    events, and the probabilities are NaN.
    """

    videos: VideoSet
    parsed: Parsed
    data: ParsingSet
    protocol: str
    task: Task = field(default_factory=ParsingTask)
    sources: Mapping[str, Source] = field(default_factory=dict)
    made_by: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parsed", self.parsed.without(self.videos.lacks(self.modalities)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the videos."""
        return self.videos.names

    @property
    def events(self) -> tuple[str, ...]:
        """The C events, in the order of the last axis of the tensors."""
        return self.data.events

    @property
    def modalities(self) -> tuple[str, ...]:
        """The M modalities, in the order of the last axis but one of the tensors."""
        return tuple(self.data.modalities)

    @property
    def segment_seconds(self) -> float:
        """The duration of a segment."""
        return self.data.segment_seconds

    @property
    def timelines(self) -> tuple[Tensor, ...]:
        """Which events occur in which segments: for each video, booleans [T, M, C]."""
        return self.parsed.videos(self.parsed.timelines)

    @property
    def probs(self) -> tuple[Tensor, ...]:
        """The probability of each event in each segment, before any threshold: for each video, [T, M, C]."""
        return self.parsed.videos(self.parsed.probs)

    @property
    def video_probs(self) -> Tensor:
        """The probability that each event occurs anywhere in a video, [N, M, C]."""
        return self.parsed.video_probs

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, video: int | str) -> Timeline:
        """Return the timeline of a video, by its number (from the end if it is negative) or by its name."""
        row = self._row(video)
        lengths, name = self.parsed.lengths, self.names[row]
        start = int(lengths[:row].sum())
        segments = slice(start, start + int(lengths[row]))
        source = self.sources.get(name, Source())
        return Timeline(
            name,
            self.events,
            self.modalities,
            self.segment_seconds,
            self.parsed.timelines[segments].numpy(),
            self.parsed.probs[segments].float().numpy(),
            self.parsed.video_probs[row].float().numpy(),
            source.duration,
            source.media,
            self.videos.missing.get(name, source.missing),
            self._detections_of(row),
            self.made_by,
        )

    def __iter__(self) -> Iterator[Timeline]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"Parsing({len(self)} videos, {len(self.found())} events found)"

    def __str__(self) -> str:
        tables = [str(self[row]) for row in range(min(PRINTED, len(self)))]
        if len(self) > PRINTED:
            tables.append(f"... and {len(self) - PRINTED} more videos: parsing[NAME] has each of them")
        return "\n\n".join(tables)

    def found(self) -> list[Found]:
        """Return every event that was found, as ``(video, modality, event, onset, offset, probability)``."""
        return list(found_events(self.names, self.parsed, self.data))

    def frame(self) -> pd.DataFrame:
        """Return a row for every event that was found.

        The columns are ``video``, ``modality``, ``event``, ``onset`` and ``offset`` in seconds, and ``probability``,
        the mean over the segments in between. They are the rows of the tables and of ``timelines.json``.
        """
        import pandas as pd

        frame = pd.DataFrame(self.found(), columns=list(Found._fields))
        return frame.astype({"onset": float, "offset": float, "probability": float})

    def segments_frame(self) -> pd.DataFrame:
        """Return a row for each segment, modality and event of each video.

        The columns are ``video``, ``segment`` (from 0), ``onset`` and ``offset`` in seconds, ``modality``, ``event``,
        ``probability`` and ``found``. Video, modality and event are categorical, because there are many rows. There are
        no rows for modalities that a video does not have.
        """
        import pandas as pd

        lengths = self.parsed.lengths.numpy()
        modalities, events = len(self.modalities), len(self.events)
        video = np.repeat(np.arange(len(self)), lengths)  # [S]
        segment = np.concatenate([np.arange(length) for length in lengths])
        each = modalities * events
        frame = pd.DataFrame(
            {
                "video": pd.Categorical.from_codes(np.repeat(video, each), pd.Index(self.names)),
                "segment": np.repeat(segment, each),
                "onset": np.repeat(segment * self.segment_seconds, each),
                "offset": np.repeat((segment + 1) * self.segment_seconds, each),
                "modality": pd.Categorical.from_codes(
                    np.tile(np.repeat(np.arange(modalities), events), len(segment)), pd.Index(self.modalities)
                ),
                "event": pd.Categorical.from_codes(
                    np.tile(np.arange(events), len(segment) * modalities), pd.Index(self.events)
                ),
                "probability": self.parsed.probs.flatten().numpy(),
                "found": self.parsed.timelines.flatten().numpy(),
            }
        )
        return frame[frame["probability"].notna()].reset_index(drop=True)

    @property
    def detections(self) -> list[Detected]:
        """The intervals that were found, by video, then by event, then by falling score.

        Raises :class:`InputError` if the model finds none, because it was not trained for localization.
        """
        return [
            Detected(one.video, one.event, one.start, one.end, one.score)
            for one in intervals_of(self._detections(), self.names, self.events)
        ]

    def detections_frame(self) -> pd.DataFrame:
        """Return a row for each of the :attr:`detections`: ``video``, ``event``, ``start``, ``end`` and ``score``."""
        import pandas as pd

        frame = pd.DataFrame(self.detections, columns=list(Detected._fields))
        return frame.astype({"start": float, "end": float, "score": float})

    def score(self, truth: Truth | Sequence[Truth] | Instances | None = None) -> Scores | DetectionScores:
        """Compare what was found with the truth.

        ``truth`` has booleans [T, M, C] for each video, as a list or as one array [N, T, M, C]; None: the annotation of
        the folder that was parsed. A model for localization is scored by intervals in seconds instead,
        :class:`~avvp_pl.types.Instances`, and the result is :class:`DetectionScores`. Raises :class:`InputError` if
        there is no truth, or if it is of another kind or has other shapes.
        """
        if isinstance(self.task, LocalizationTask):
            return self._score_detections(self.task, truth)
        if isinstance(truth, Instances):
            raise InputError("truth: these are intervals; what was found is scored by booleans for each segment")
        predicted = self.timelines
        true = self._own_truth() if truth is None else [torch.as_tensor(each) for each in truth]
        for name, found, wanted in zip(self.names, predicted, true, strict=False):
            if wanted.shape != found.shape or wanted.dtype != torch.bool:
                raise InputError(
                    f"truth of {name}: it is {wanted.dtype} {list(wanted.shape)}, but must be booleans "
                    f"{list(found.shape)}: segments, modalities, events"
                )
        if len(true) != len(predicted):
            raise InputError(f"truth: there are {len(true)} timelines for {len(predicted)} videos")
        mask = pad_sequence([torch.ones(len(found), dtype=torch.bool) for found in predicted], batch_first=True)
        found, wanted = (pad_sequence(list(timelines), batch_first=True) for timelines in (predicted, true))
        return Scores(score_timelines(found, wanted, mask, self.modalities), self.events, self.protocol)

    def write(
        self,
        folder: str | Path,
        pictures: int = 0,
        formats: str | Sequence[str] = (),
        *,
        embed_media: bool = False,
    ) -> None:
        """Write what ``python -m avvp_pl.predict`` writes: tables, probabilities, ``timelines.json`` and pictures.

        A model for localization also writes ``detections.json``, which ``score task=localization`` reads.

        ``pictures`` is the number of videos that are drawn. ``formats`` are those of :meth:`Timeline.save` in which the
        timeline of each video is written into ``timelines/``; ``html`` is one page of all, ``index.html``, which
        contains the media files if ``embed_media`` is set.
        """
        write_parsed(Path(folder), self.names, self.parsed, self.data, self.videos.missing)
        write_pictures(Path(folder), self.videos, self.parsed, self.data, pictures)
        save_all(list(self), Path(folder), formats, self.videos.file_stems, inside=FILES, embed_media=embed_media)

    def save(
        self, path: str | Path, formats: str | Sequence[str] | None = None, *, embed_media: bool = False
    ) -> list[Path]:
        """Write timelines in the formats of :meth:`Timeline.save`, and return the paths of the files.

        With ``formats``, such as ``["vtt", "html"]``, ``path`` is a folder: it gets ``NAME.ENDING`` for each video and
        format, and for ``html`` one page of all videos, ``index.html``. Without, ``path`` is one file: a page of all
        videos if its name ends with ``.html``; any other ending is possible if only one video was parsed.
        """
        timelines = list(self)
        if formats is None:
            return [save(timelines, Path(path), None, embed_media)]
        return save_all(timelines, Path(path), formats, self.videos.file_stems, embed_media=embed_media)

    def summary(self, where: str | Path) -> str:
        """Return on one line what was found and ``where`` it was written."""
        if self.parsed.detections is None:
            found, what = sum(bool(timeline.any()) for timeline in self.timelines), "events"
        else:
            found, what = len(set(self.parsed.detections.videos.tolist())), "intervals"
        lacking = f", {len(self.videos.missing)} lack a modality ({MISSING})" if self.videos.missing else ""
        return f"{len(self)} videos parsed, {what} found in {found} of them{lacking}: {where}"

    def draw(self, video: int | str = 0) -> Figure:
        """Draw the timeline of a video, below its truth if that is known."""
        return draw_video(self._row(video), self.videos, self.parsed, self.data)

    def _detections(self) -> Detections:
        if self.parsed.detections is None:
            raise InputError(
                f"protocol={self.protocol} finds no intervals; give a checkpoint that was trained for localization"
            )
        return self.parsed.detections

    def _detections_of(self, row: int) -> tuple[Interval, ...] | None:
        """Return the detections in one video; None: the model is not one for localization."""
        found = self.parsed.detections
        if found is None:
            return None
        own = found.videos == row
        columns = found.events[own].tolist(), found.bounds[own].tolist(), found.scores[own].tolist()
        track = "+".join(self.modalities)
        return tuple(
            Interval(track, self.events[event], start, end, score)
            for event, (start, end), score in zip(*columns, strict=True)
        )

    def _score_detections(self, task: LocalizationTask, truth: object) -> DetectionScores:
        instances = self.videos.instances if truth is None else truth
        if instances is None:
            raise InputError("the annotated intervals of these videos are not known; give truth=avvp_pl.Instances(...)")
        if not isinstance(instances, Instances):
            raise InputError("truth: localization is scored by intervals; give avvp_pl.Instances")
        scored = task.score_found(self.names, self.events, self._detections(), instances)
        return DetectionScores(scored._replace(protocol=f"{self.protocol}, {scored.protocol}"))

    def _own_truth(self) -> Sequence[Tensor]:
        if self.videos.truth is None:
            raise InputError("the annotation of these videos is not known; give truth=")
        return self.parsed.videos(self.videos.truth.cpu())

    def _row(self, video: int | str) -> int:
        if isinstance(video, str):
            if video not in self.names:
                raise InputError(f"{video!r} is not among the videos that were parsed")
            return self.names.index(video)
        if not -len(self) <= video < len(self):
            raise InputError(f"there is no video {video}; {len(self)} videos were parsed, and the first one is 0")
        return video % len(self)
