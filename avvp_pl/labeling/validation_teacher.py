"""A teacher that a small annotated split makes possible: a classifier of segments for each modality."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.from_logits import best_threshold, finite_thresholds
from avvp_pl.parts import Conversion, Converted

log = logging.getLogger(__name__)


class ValidationTeacher(Conversion):
    """Logits of the training segments, by classifiers that are trained on the annotated validation segments.

    A modality has a classifier of its own, which sees a segment's features of this modality and nothing else: its
    streams side by side, standardized, then Linear, ReLU, dropout, Linear. It is trained by Adam with weight decay on
    the binary cross-entropy of all events. Everything else is chosen by cross-validation over videos, counting only
    events of the weak labels of left-out videos, because only those can become labels: the number of epochs (at most
    ``max_epochs``) with the highest F1, as a mean over events that are each cut at their best threshold; and these
    thresholds, which are subtracted from the logits, so that 0 is where an event begins. The classifier is then trained
    anew on all validation videos.

    Everything is drawn from ``seed``. The ``note`` of the product says that validation annotation was used. The scores
    on validation videos of a network that learns from these labels are too good, and still the test is fair.
    """

    kind = "logits"

    def __init__(
        self,
        streams: Mapping[str, Sequence[str]],
        events: Sequence[str],
        hidden_dim: int,
        dropout: float,
        learning_rate: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        folds: int,
        seed: int,
    ) -> None:
        self.streams, self.events = {name: tuple(of) for name, of in streams.items()}, tuple(events)
        self.hidden_dim, self.dropout = hidden_dim, dropout
        self.learning_rate, self.weight_decay, self.batch_size = learning_rate, weight_decay, batch_size
        self.max_epochs, self.folds, self.seed = max_epochs, folds, seed

    def needs(self) -> tuple[str, ...]:
        """Return ``val``, whose annotation is learned."""
        return ("val",)

    def __call__(self, splits: Mapping[str, VideoSet]) -> Converted:
        """Return the logits of the training videos."""
        videos, train = splits["val"], splits["train"]
        if len(videos) < self.folds or not videos.num_segments:
            raise InputError(
                f"refine=validation_teacher: the data has {len(videos)} validation videos with {videos.num_segments} "
                f"segments, and cross-validation needs at least {self.folds} videos; give a smaller refinement.folds "
                "(2 or more), or annotate more videos"
            )
        log.warning(
            "the teacher learns from the annotated segments of the %d validation videos. Methods that learn from weak "
            "labels alone do not see these; say so beside your scores",
            len(videos),
        )
        assert videos.truth is not None
        logits = []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            for m, (modality, streams) in enumerate(self.streams.items()):
                has_event = videos.segment_weak_labels > 0
                examples = Examples(features_of(videos, streams), videos.truth[:, m].float(), has_event)
                logits.append(self._logits(modality, examples, videos.rows, features_of(train, streams)))
        note = f"the teacher has learned from the annotated segments of {len(videos)} validation videos"
        return Converted(torch.stack(logits, dim=1), note)

    def _logits(self, modality: str, examples: Examples, row: Int[Tensor, " S"], asked: Tensor) -> Tensor:
        """Return the logits of the segments ``asked`` [S, D]; ``row`` is the video of each example."""
        torch.manual_seed(self.seed)
        fold = (torch.randperm(int(row.max()) + 1) % self.folds)[row]
        # of each segment after each epoch, by the classifier that has not seen its video
        left_out = torch.zeros(self.max_epochs, *examples.truth.shape)
        for number in range(self.folds):
            if (fold == number).all():  # all other videos are empty
                continue
            seen = examples.at(fold != number)
            for epoch, classifier in self._epochs(seen):
                left_out[epoch, fold == number] = score(classifier, examples.features[fold == number])
        thresholds, f1 = cut(left_out, examples)
        best = int(f1.argmax())
        log.info(
            "%s: %d epochs, after which the labels of left-out videos have an F1 of %.1f percent (mean of the events)",
            modality,
            best + 1,
            100 * float(f1[best]),
        )
        torch.manual_seed(self.seed)
        classifier = next(classifier for epoch, classifier in self._epochs(examples) if epoch == best)
        return score(classifier, asked) - thresholds[best]

    def _epochs(self, examples: Examples) -> Iterator[tuple[int, SegmentClassifier]]:
        """Train a new classifier, and yield it with the number of each epoch when that is over."""
        classifier = SegmentClassifier(examples.features, len(self.events), self.hidden_dim, self.dropout)
        optimizer = torch.optim.AdamW(classifier.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        for epoch in range(self.max_epochs):
            classifier.train()
            for rows in torch.split(torch.randperm(len(examples.truth)), self.batch_size):
                optimizer.zero_grad()
                logits = classifier(examples.features[rows])
                torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, examples.truth[rows]))
                optimizer.step()
            yield epoch, classifier


class Examples(NamedTuple):
    """Segments of a modality: features, which events they show, and which events their video has."""

    features: Float[Tensor, "S D"]
    truth: Float[Tensor, "S C"]
    has_event: Bool[Tensor, "S C"]

    def at(self, which: Bool[Tensor, " S"]) -> Examples:
        """Return a part of them."""
        return Examples(*(of_segments[which] for of_segments in self))


class SegmentClassifier(nn.Module):
    """Standardize features as those of ``seen`` [S, D] are, and score the events: Linear, ReLU, dropout, Linear."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, seen: Float[Tensor, "S D"], num_events: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        deviation = seen.std(dim=0, correction=0)
        self.register_buffer("mean", seen.mean(dim=0))
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1))
        self.layers = nn.Sequential(
            nn.Linear(seen.shape[1], hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, num_events)
        )

    def forward(self, features: Float[Tensor, "S D"]) -> Float[Tensor, "S C"]:
        """Return the logit of each event."""
        logits: Tensor = self.layers((features - self.mean) / self.deviation)
        return logits


@torch.no_grad()
def score(classifier: SegmentClassifier, features: Float[Tensor, "S D"]) -> Float[Tensor, "S C"]:
    """Return the logits of segments, without dropout."""
    logits: Tensor = classifier.eval()(features)
    return logits


def cut(logits: Float[Tensor, "E S C"], examples: Examples) -> tuple[Float[Tensor, "E C"], Float[Tensor, " E"]]:
    """Return the best threshold of each event after each epoch, and their F1, as a mean over events that occur.

    Only segments of videos with the event count. An event that no video has gets the threshold 0.
    """
    thresholds, f1 = torch.zeros(len(logits), logits.shape[2]), []
    for event in range(logits.shape[2]):
        counted = examples.has_event[:, event]
        truth = examples.truth[counted, event] > 0
        if not counted.any():
            continue
        of_event = logits[:, counted, event]  # [E, segments]
        best = np.array([best_threshold(of_epoch, truth.numpy()) for of_epoch in of_event.numpy()])
        thresholds[:, event] = torch.from_numpy(finite_thresholds(best, of_event.T.numpy()))
        found = of_event > thresholds[:, None, event]
        if truth.any():
            f1.append(2 * (found & truth).sum(1) / (found.sum(1) + truth.sum()))
    return thresholds, torch.stack(f1).mean(0) if f1 else torch.zeros(len(logits))


def features_of(videos: VideoSet, streams: Sequence[str]) -> Float[Tensor, "S D"]:
    """Return the features of all segments, those of several streams side by side."""
    return torch.cat([videos.streams[stream].float() for stream in streams], dim=1)
