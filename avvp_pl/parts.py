"""The parts that a run is composed of, and what each of them is given: torch without Lightning, Hydra or collectives.

A run has one network and one part of each kind:

``Method``     what weak labels teach
``Targets``    the label of each modality that a method asks for
``Labeling``   where the pseudo labels of the training segments come from, and what they teach
``Inference``  from a network's output to the probabilities that are tested
``Decision``   from these probabilities to timelines

A method of several stages has a ``Refinement`` for each stage between two trainings, such as better labels, or a
``Search``, whose intervals the next network is told. A ``Conversion`` makes the same of what comes from outside, such
as the logits of another network.

Every part is a plain ``nn.Module`` with four clocks: the run (:meth:`Part.start`), the epoch (:meth:`Part.refresh`),
the step (``forward``, :meth:`Part.before_step` and :meth:`Part.after_step`) and the test (:meth:`Inference.fit`). A
paper's idea is one part in one file.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avvp_pl.data.products import Kind
from avvp_pl.data.videos import VideoSet
from avvp_pl.types import Batch, Detections, ParsingNetwork, ParsingOutput

if TYPE_CHECKING:
    from avvp_pl.labeling.bank import PrototypeBank

Item = TypeVar("Item")


def _itself(x: Tensor) -> Tensor:
    return x


class Team(NamedTuple):
    """The processes of a run as a part sees them: by default one process that is alone.

    ``add_up`` sums a tensor over all processes in place, ``gather`` joins rows of which each process may have its own
    number, and ``gather_batch`` joins what each has of its batch, [B, ...], and lets gradients find their way back: all
    processes have equally many videos in a step, padded to the same length. All processes have to call them together.
    """

    rank: int = 0
    size: int = 1
    add_up: Callable[[Tensor], Tensor] = _itself
    gather: Callable[[Tensor], Tensor] = _itself
    gather_batch: Callable[[Tensor], Tensor] = _itself

    def share(self, work: Sequence[Item]) -> list[Item]:
        """Return the pieces of the work that this process does."""
        return list(work[self.rank :: self.size])


class Step(NamedTuple):
    """Everything that one training step knows.

    ``epoch`` counts from 0 and ``done`` is the fraction of it that is over: a ramp is a function of these two, so that
    it is the same after a resume. ``number`` is that of the batch in its epoch, from 0, for what takes turns, and
    ``epochs`` is the number of epochs of the whole training.
    """

    network: ParsingNetwork
    batch: Batch
    output: ParsingOutput
    epoch: int
    done: float
    team: Team = Team()
    number: int = 0
    epochs: int = 1

    @property
    def progress(self) -> float:
        """The fraction of the whole training that is over."""
        return (self.epoch + self.done) / max(1, self.epochs)


class Term(NamedTuple):
    """One term of the loss. The unweighted value is logged."""

    value: Float[Tensor, ""]
    weight: float = 1.0


def total(terms: Mapping[str, Term]) -> Float[Tensor, ""]:
    """Sum the weighted terms.

    >>> total({"mil": Term(torch.tensor(2.0)), "pseudo_label": Term(torch.tensor(3.0), 0.1)})
    tensor(2.3000)
    """
    first, *others = (term.weight * term.value for term in terms.values())
    for other in others:
        first = first + other
    return first


@dataclass
class Report:
    """What a refresh did: how long each stage took in seconds, what is logged of it, and what is counted by event.

    ``values`` are logged every epoch; ``per_event`` has columns of one number for each event, which go into
    ``pseudo_labels.csv``; ``warnings`` are logged once in a run, and ``summary`` where a test is prepared.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    per_event: dict[str, list[int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to that of ``stage``."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now


def overrides(part: Part, method: Callable[..., Any]) -> bool:
    """Return whether the class of a part has a method of its own in the place of ``method`` of a base class."""
    return getattr(type(part), method.__name__) is not method


class Part(nn.Module):
    """What all parts have in common. Every method below may be left as it is.

    ``note`` is what whoever reads the scores should know about the files that :meth:`start` has read, such as that they
    were made with annotated validation videos. It is kept in checkpoints and beside the scores.
    """

    note: str | None = None

    def start(self, videos: VideoSet) -> None:
        """Take from the training videos what depends on all of them, once, before training. All processes call it."""

    def refresh(self, videos: VideoSet, epoch: int, team: Team) -> Report | None:
        """Prepare an epoch, before its first step. All processes call it."""
        return None

    def before_step(self, network: ParsingNetwork, epoch: int) -> None:
        """Change the gradients of this step, once all processes have the same: a weight without one rests.

        The optimizer neither moves such a weight nor counts the step for it, as it would with a gradient of 0.
        """

    def after_step(self, network: ParsingNetwork, step: int) -> None:
        """Follow the network after optimizer step number ``step``, counted from 0."""

    def keep_best(self) -> None:
        """Remember the present state: the epoch that has just been validated is the best so far."""

    @property
    def needs_best(self) -> bool:
        """Whether this part uses what :meth:`keep_best` remembers, so that the run must select a best epoch."""
        return overrides(self, Part.keep_best)

    def digest(self) -> str | None:
        """Return a checksum of what :meth:`start` has read from the file that the setting ``file`` names.

        The run is then resumed only if the content is unchanged, whatever its path is now. A part with this method is
        started once more before a resume, to compare. None: nothing was read.
        """
        return None

    def progress(self) -> dict[str, Tensor]:
        """Return what a resumed run needs and what is not part of the model, such as the labels of this epoch."""
        return {}

    def resume(self, progress: Mapping[str, Tensor]) -> None:
        """Continue with what :meth:`progress` returned; the tensors are on the part's device."""

    def notes(self, device: torch.device) -> list[str]:
        """Return what a user should read once at the start of a run, such as where k-means runs."""
        return []


class Targets(Part, ABC):
    """The label of each modality, made from the weak label of the video."""

    @abstractmethod
    def forward(self, step: Step) -> Float[Tensor, "B M C"]:
        """Return the label of each modality in [0, 1]."""

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, step: Step) -> Float[Tensor, "B M C"]:
            """Run :meth:`forward`."""
            ...


class Method(Part, ABC):
    """What weak labels teach."""

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Term]:
        """Return the terms of the loss by the names under which they are logged."""

    if TYPE_CHECKING:

        def __call__(self, step: Step) -> dict[str, Term]:
            """Run :meth:`forward`."""
            ...


class Labeling(Part, ABC):
    """Where pseudo labels come from, and what they teach.

    ``pseudo_labels`` are those of all S segments of the training videos, [S, M, C]; None as long as there are none.
    ``label_threshold`` says from which value on a label counts as positive. ``bank`` holds the prototypes of a labeling
    that has some. If there is an attribute ``start_epoch``, it is the first epoch (from 0) with labels.
    """

    def __init__(self, label_threshold: float = 0.5) -> None:
        super().__init__()
        self.label_threshold = label_threshold
        self.pseudo_labels: Tensor | None = None
        self.bank: PrototypeBank | None = None

    @property
    def ready(self) -> bool:
        """Whether the training segments have labels."""
        return self.pseudo_labels is not None

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Term]:
        """Return what the pseudo labels teach; called only while they are :attr:`ready`."""

    def labels(self, batch: Batch) -> Float[Tensor, "B T M C"] | None:
        """Return the pseudo labels of any videos whose weak labels are known; None if it has none for them."""
        return None

    def build(self, videos: VideoSet, team: Team) -> Report | None:
        """Build what an inference compares with, such as prototypes, from training videos and without training."""
        return None

    if TYPE_CHECKING:

        def __call__(self, step: Step) -> dict[str, Term]:
            """Run :meth:`forward`."""
            ...


class CurveAxis(NamedTuple):
    """The axis of curves whose points are not the segments of the video.

    ``lengths`` are the numbers of points of the curves of B videos. ``to_segments(row, edges, value)`` returns where
    edges [X] between the points of the video ``row`` are among its segments, on the CPU and in float64: point i and
    segment i are from i to i + 1, and have their value at i + ``value``.
    """

    lengths: Int[Tensor, " B"]
    to_segments: Callable[[int, Tensor, float], Tensor]

    @classmethod
    def even(cls, lengths: Int[Tensor, " B"], segments: Int[Tensor, " B"]) -> CurveAxis:
        """Return the axis of points that divide each video evenly.

        >>> CurveAxis.even(torch.tensor([4]), torch.tensor([2])).to_segments(0, torch.tensor([1.0, 4.0]), 0.5)
        tensor([0.5000, 2.0000])
        """
        scales = (segments / lengths.clamp(min=1)).tolist()
        return cls(lengths, lambda row, edges, value: edges * scales[row])


class Evidence(NamedTuple):
    """What an inference says about a batch, before any threshold.

    ``video_probs`` say for each modality whether the event occurs in the video at all, by what all modalities show
    together; ``modality_probs`` say the same by what this modality alone shows (None: the inference does not know).

    The others are for localization only. ``curves`` are what detections are made of and scored by, one for each
    event, on any scale (None: ``segment_probs``, the mean over the modalities), and ``attention`` says how much a
    segment shows any event (None: the inference has none). Both have a point for each segment, or those of an ``axis``.
    """

    segment_probs: Float[Tensor, "B T M C"]
    video_probs: Float[Tensor, "B M C"]
    modality_probs: Float[Tensor, "B M C"] | None = None
    curves: Float[Tensor, "B P C"] | None = None
    attention: Float[Tensor, "B P"] | None = None
    axis: CurveAxis | None = None


class Inference(Part, ABC):
    """From a network and its output to the probabilities by which events are found.

    An inference that is fitted, such as one with a threshold for each event, keeps what it was fitted to in buffers,
    and so in checkpoints. Until then, in the validation of a training, it uses the values that it starts with.
    """

    @abstractmethod
    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the probabilities; ``output`` is what the network returned for the batch."""

    def check(self, labeling: Labeling) -> None:
        """Raise :class:`~avvp_pl.errors.InputError` where this inference cannot work with the labeling of the run."""

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        """Return the splits (``train``, ``val``) that :meth:`fit` uses; none where there is nothing left to fit."""
        return ()

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        """Fit what is tested to the splits that it :meth:`needs`, once, before a test. All processes call it.

        ``network`` is the one that is tested. It is in evaluation mode, and gradients are off.
        """
        return None

    if TYPE_CHECKING:

        def __call__(
            self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling
        ) -> Evidence:
            """Run :meth:`forward`."""
            ...


class Decision(Part, ABC):
    """From probabilities to timelines, and to detections where the task needs them."""

    @abstractmethod
    def forward(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
        """Return which events occur in which segments; nothing occurs at padding."""

    def detections(self, evidence: Evidence, batch: Batch) -> Detections | None:
        """Return the intervals that are found, in seconds; their videos are rows of the batch. None: it finds none."""
        return None

    def video_probs(self, evidence: Evidence) -> Float[Tensor, "B M C"]:
        """Return the probabilities of videos that decide. They are written beside those of segments."""
        return evidence.video_probs

    if TYPE_CHECKING:

        def __call__(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
            """Run :meth:`forward`."""
            ...


class FromNetwork:
    """What is computed with a trained network for a later stage of a method: a refinement, or a search."""


class Search(FromNetwork, ABC):
    """What a trained network finds in the videos of all splits, for a later stage of a method."""

    @abstractmethod
    def __call__(self, network: ParsingNetwork, videos: VideoSet, batch_size: int, weakly_labeled: bool) -> Detections:
        """Return the intervals in seconds; if ``weakly_labeled``, only those of events of the weak labels.

        The network is in evaluation mode, gradients are off, and it is on the device of ``videos``.
        """


class Refinement(FromNetwork, ABC):
    """What a trained network tells about the training videos, for a later stage of a method.

    ``kind`` is the kind of the product (:mod:`avvp_pl.data.products`) that the values become.
    """

    kind: Kind

    @abstractmethod
    def __call__(self, network: ParsingNetwork, videos: VideoSet, batch_size: int) -> Tensor:
        """Return the values, on any device.

        The network is in evaluation mode, gradients are off, and it is on the device of ``videos``.
        """


class Converted(NamedTuple):
    """What a :class:`Conversion` makes; see :class:`~avvp_pl.data.products.Product`."""

    values: Tensor
    note: str | None = None
    thresholds: Float[Tensor, "M C"] | None = None


class Conversion(ABC):
    """What files from outside tell about the training videos, for a training that learns from it.

    ``kind`` is the kind of the product (:mod:`avvp_pl.data.products`) that the values become.
    """

    kind: Kind

    def needs(self) -> tuple[str, ...]:
        """Return the splits that are needed beside ``train``: ``val`` for what is fitted to its truth, or none."""
        return ()

    @abstractmethod
    def __call__(self, splits: Mapping[str, VideoSet]) -> Converted:
        """Return the values of the split ``train``; all videos are on the CPU."""
