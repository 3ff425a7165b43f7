"""What networks for localization have in common: streams of a single modality, and sums over its segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.types import Batch, ParsingNetwork


class OneModality(ParsingNetwork):
    """A network for data with one modality, which has the ``streams`` of these ``input_dims``.

    Raises :class:`InputError` if there are more modalities.
    """

    def __init__(self, modalities: Mapping[str, Sequence[str]], stream_dims: Mapping[str, int], called: str) -> None:
        super().__init__()
        if len(modalities) > 1:
            streams = ", ".join(stream for own in modalities.values() for stream in own)
            raise InputError(
                f"network={called} is for data with one modality, and there are {', '.join(modalities)}; give one "
                f"modality all streams, as in data.modalities={{fused: [{streams}]}}, or choose another network"
            )
        (own,) = modalities.values()
        self.streams = tuple(own)
        self.input_dims = tuple(stream_dims[stream] for stream in own)

    def inputs(self, batch: Batch) -> list[Float[Tensor, "B T _"]]:
        """Return the streams in their order."""
        return [batch.features_in[stream] for stream in self.streams]


def mean_over_segments(x: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B ..."]:
    """Return the mean over the real segments of each video; 0 if there are none.

    >>> x, mask = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> mean_over_segments(x, mask)
    tensor([2.])
    """
    ones = [1] * (x.ndim - 2)
    real = mask.view(*mask.shape, *ones)
    return x.masked_fill(~real, 0).sum(1) / mask.sum(1).clamp(min=1).view(-1, *ones)


def extremes_over_segments(
    x: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
    """Return the minimum and the maximum over the real segments of each video; both are 0 if there are none.

    >>> x, mask = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> extremes_over_segments(x, mask)
    (tensor([1.]), tensor([3.]))
    """
    real = mask.view(*mask.shape, *[1] * (x.ndim - 2))
    lowest, highest = x.masked_fill(~real, torch.inf).amin(1), x.masked_fill(~real, -torch.inf).amax(1)
    empty = lowest > highest
    return lowest.masked_fill(empty, 0), highest.masked_fill(empty, 0)
