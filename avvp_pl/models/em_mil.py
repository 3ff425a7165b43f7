"""EM-MIL's networks: which segments are key, which events they show, and which a video has (Luo et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.han import full_precision
from avvp_pl.models.one_modality import OneModality
from avvp_pl.types import Batch, ParsingOutput


@dataclass(frozen=True, kw_only=True)
class EMMILOutput(ParsingOutput):
    """A parsed batch with the probabilities by each of N streams.

    ``key_probs`` (q) say that a segment is key, which means that it shows an event at all, and ``event_probs`` (p)
    which events it shows. ``segment_probs`` are the mean of p over the streams, and ``video_probs`` those of the
    separate classifier, which sum to 1.
    """

    key_probs: Float[Tensor, "B T N"]
    event_probs: Float[Tensor, "B T N C"]


class EMMIL(OneModality):
    """Two branches for each stream, and a separate classifier of videos.

    A branch is a convolution over three segments to ``dim`` features, ReLU, Linear and sigmoid. The branch of keys has
    one output, and that of events has C. The :class:`VideoClassifier` shares no weights with them: it is here so that a
    checkpoint has all that a test needs. ``features`` are those of the branches of events, side by side.
    """

    def __init__(
        self, modalities: Mapping[str, Sequence[str]], stream_dims: Mapping[str, int], num_events: int, dim: int
    ) -> None:
        super().__init__(modalities, stream_dims, "em_mil")
        self.feature_dim = dim * len(self.streams)
        self.key_branches = nn.ModuleList(Branch(size, dim, 1) for size in self.input_dims)
        self.event_branches = nn.ModuleList(Branch(size, dim, num_events) for size in self.input_dims)
        self.video_classifier = VideoClassifier(self.input_dims, num_events)

    def forward(self, batch: Batch) -> EMMILOutput:
        """Parse a batch."""
        streams, mask = self.inputs(batch), batch.mask
        keys = [branch(x, mask)[1] for branch, x in zip(self.key_branches, streams, strict=True)]
        hidden, events = zip(
            *(branch(x, mask) for branch, x in zip(self.event_branches, streams, strict=True)), strict=True
        )
        event_probs = torch.stack(events, dim=2)  # [B, T, N, C]
        video_probs = self.video_classifier(streams, mask)
        return EMMILOutput(
            full_precision(torch.cat(hidden, dim=-1))[:, :, None],
            event_probs.mean(2, keepdim=True),
            video_probs,
            video_probs[:, None],
            key_probs=torch.cat(keys, dim=-1),
            event_probs=event_probs,
        )


class Branch(nn.Module):
    """A convolution over segments, ReLU, Linear and sigmoid."""

    def __init__(self, dim: int, hidden_dim: int, outputs: int) -> None:
        super().__init__()
        self.layer = SegmentConvolution(dim, hidden_dim)
        self.head = nn.Linear(hidden_dim, outputs)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T _"]]:
        """Return the features and the probabilities."""
        hidden = self.layer(x, mask).relu()
        return hidden, full_precision(self.head(hidden)).sigmoid()


class VideoClassifier(nn.Module):
    """P = sum over t of a_t k_t, where each stream has an attention softmax_t Linear, and events softmax_c Linear.

    a and k are the means over the streams. All P of a video sum to 1, and are 0 for one that is all padding.
    """

    def __init__(self, dims: Sequence[int], num_events: int) -> None:
        super().__init__()
        self.attention = nn.ModuleList(nn.Linear(dim, 1) for dim in dims)
        self.events = nn.ModuleList(nn.Linear(dim, num_events) for dim in dims)

    def forward(self, streams: Sequence[Float[Tensor, "B T _"]], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B C"]:
        """Return P."""
        real = mask[:, :, None]

        def over_segments(logits: Tensor) -> Tensor:
            return full_precision(logits).masked_fill(~real, torch.finfo(torch.float32).min).softmax(1) * real

        attention = [over_segments(head(x)) for head, x in zip(self.attention, streams, strict=True)]
        events = [full_precision(head(x)).softmax(-1) for head, x in zip(self.events, streams, strict=True)]
        return (torch.stack(attention).mean(0) * torch.stack(events).mean(0)).sum(1)

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(
            self, streams: Sequence[Float[Tensor, "B T _"]], mask: Bool[Tensor, "B T"]
        ) -> Float[Tensor, "B C"]:
            """Run :meth:`forward`."""
            ...
