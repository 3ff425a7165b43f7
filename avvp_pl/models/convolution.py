"""A convolution over the segments of videos, whose work is proportional to the number of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class SegmentConvolution(nn.Module):
    """A convolution over ``kernel_size`` neighboring segments; before, after and between videos there are zeros.

    Videos of very different lengths are mostly padding when they are side by side. On a CPU, the real segments of such
    a batch are therefore multiplied with the weights of all ``kernel_size`` places at once, and each segment then adds
    the products of its neighbors: at the size of THUMOS14, this takes less than a third of the time. Other devices
    convolve the whole batch, which does not wait for the host.

    Raises ValueError for an even ``kernel_size``.
    """

    def __init__(self, dim: int, to_dim: int, kernel_size: int = 3) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; it must be odd, so that a segment is in the middle")
        super().__init__()
        convolution = nn.Conv1d(dim, to_dim, kernel_size)
        assert convolution.bias is not None
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T _"]:
        """Convolve; what ``x`` has at padding does not matter, and neither does what is returned there."""
        places = self.weight.shape[2]
        reach = places // 2
        if x.device.type != "cpu" or bool(mask.all()):
            whole = x.masked_fill(~mask[:, :, None], 0).transpose(1, 2)
            return F.conv1d(whole, self.weight, self.bias, padding=reach).transpose(1, 2)
        videos, times = mask.nonzero(as_tuple=True)
        products = x[videos, times] @ self.weight.permute(1, 2, 0).flatten(1)
        products = F.pad(products, (0, 0, 0, 1)).view(-1, places, len(self.bias))  # [N + 1, K, D']; the last is padding
        number = torch.full((len(x), x.shape[1] + 2 * reach), len(videos))
        number[videos, times + reach] = torch.arange(len(videos))
        neighbors = (products[:, place].index_select(0, number[videos, times + place]) for place in range(places))
        convolved = sum(neighbors, self.bias).to(products.dtype)
        return convolved.new_zeros(*mask.shape, len(self.bias)).index_put((videos, times), convolved)

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T _"]:
            """Run :meth:`forward`."""
            ...
