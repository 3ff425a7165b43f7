"""LSTMs over the segments of padded videos, and what AVE and AVSDN have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.han import StreamFusion
from avvp_pl.types import Batch, ParsingNetwork


class State(NamedTuple):
    """The state of an LSTM: its hidden state and its cells, of each direction."""

    hidden: Float[Tensor, "directions B H"]
    cells: Float[Tensor, "directions B H"]


class Reading(NamedTuple):
    """What an LSTM made of some videos: its outputs, those of both directions side by side, and its last state."""

    outputs: Float[Tensor, "B T H"]
    last: State


class SegmentLSTM(nn.Module):
    """An LSTM over the segments of videos, in one direction or in two; padding never matters.

    Nothing is packed, because that needs the lengths of the videos on the host. Instead, padding comes before a video
    that is read from a zero state, and after a video that is read from a given state. In the first case the state is
    still 0 at the video's first segment: an LSTM without biases turns zeros into zeros. So the bias is the weight of
    one more input, which is 1 in segments and 0 in padding. It is the sum of the two biases that torch's LSTM has.
    """

    def __init__(self, dim: int, hidden_dim: int, bidirectional: bool) -> None:
        super().__init__()
        self.directions = nn.ModuleList(
            nn.LSTM(dim + 1, hidden_dim, bias=False, batch_first=True) for _ in range(1 + bidirectional)
        )

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], start: State | None = None) -> Reading:
        """Read the videos from a zero state, or from ``start``.

        ``last`` is the state after a video's last segment (backwards: its first one). It is unknown where ``start`` is
        given, because then padding comes after it.
        """
        on_cpu = x.device.type == "cpu"  # where many processors have no LSTM in bfloat16
        if on_cpu:
            own = next(self.directions.parameters()).dtype
            x, start = x.to(own), None if start is None else State(start.hidden.to(own), start.cells.to(own))
        x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1).masked_fill(~mask[:, :, None], 0)
        lengths = mask.sum(dim=1)
        outputs, states = [], []
        with torch.autocast(x.device.type, enabled=not on_cpu and torch.is_autocast_enabled(x.device.type)):
            for number, lstm in enumerate(self.directions):
                backwards = number == 1
                # rotating puts padding first, and flipping exchanges first and last
                rotated = (start is None) != backwards
                ordered = rotate(x, lengths) if rotated else x
                given = None if start is None else (start.hidden[number, None], start.cells[number, None])
                output, state = lstm(ordered.flip(1) if backwards else ordered, given)
                output = output.flip(1) if backwards else output
                outputs.append(rotate(output, -lengths) if rotated else output)
                states.append(state)
        hidden, cells = (torch.cat(of_directions) for of_directions in zip(*states, strict=True))
        return Reading(torch.cat(outputs, dim=-1), State(hidden, cells))


def rotate(x: Float[Tensor, "B T D"], by: Int[Tensor, " B"]) -> Float[Tensor, "B T D"]:
    """Return x[b, (t + by[b]) mod T] in the place of x[b, t].

    >>> rotate(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    segments = x.shape[1]
    source = (torch.arange(segments, device=x.device) + by[:, None]) % segments
    return x.take_along_dim(source[:, :, None], dim=1)


class RecurrentNetwork(ParsingNetwork):
    """The first part of AVE and AVSDN: join the streams of each modality, and read each modality by an LSTM of its own.

    ``modalities`` maps each modality to its streams, in the order of the modality axis; ``stream_dims`` maps each
    stream to its dimension. Several streams are joined to ``dim`` features as in HAN; a single stream is read as it is.
    ``hidden_dim`` is the size of the state of an LSTM in each direction.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        dim: int,
        hidden_dim: int,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.fusions = nn.ModuleDict(
            {
                name: StreamFusion([stream_dims[stream] for stream in streams], dim, fuse=True)
                for name, streams in modalities.items()
                if len(streams) > 1
            }
        )
        self.input_dims = {
            name: dim if name in self.fusions else stream_dims[streams[0]] for name, streams in modalities.items()
        }
        self.encoders = nn.ModuleDict(
            {name: SegmentLSTM(size, hidden_dim, bidirectional) for name, size in self.input_dims.items()}
        )

    @property
    def attending(self) -> None:
        """None: nothing here attends to anything, so an empty list is right as well."""

    @attending.setter
    def attending(self, names: tuple[str, ...] | None) -> None:
        if names:
            raise InputError(
                f"labeling.attending={list(names)}: it has no effect on network={type(self).__name__.lower()}, which "
                "has no attention between modalities; give labeling.attending=null"
            )

    def inputs(self, batch: Batch) -> list[Float[Tensor, "B T _"]]:
        """Return the joined streams of each modality."""
        inputs = []
        for name, streams in self.modalities.items():
            given = [batch.features_in[stream] for stream in streams]
            inputs.append(self.fusions[name](given) if name in self.fusions else given[0])
        return inputs

    def encode(self, inputs: Sequence[Float[Tensor, "B T _"]], mask: Bool[Tensor, "B T"]) -> list[Reading]:
        """Read each modality by its own LSTM."""
        return [encoder(x, mask) for encoder, x in zip(self.encoders.values(), inputs, strict=True)]
