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
        padded = x.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.all()
        return self.of_segments(x, mask) if padded else self.of_whole(x, mask)

    def of_whole(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T _"]:
        """Convolve the whole batch."""
        whole = x.masked_fill(~mask[:, :, None], 0).transpose(1, 2)
        return F.conv1d(whole, self.weight, self.bias, padding=self.weight.shape[2] // 2).transpose(1, 2)

    def of_segments(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T _"]:
        """Convolve the real segments; all else is 0."""
        reach = self.weight.shape[2] // 2
        videos, times = mask.nonzero(as_tuple=True)  # [N]
        products = x[videos, times] @ self.weight.permute(1, 2, 0).flatten(1)
        products = F.pad(products, (0, 0, 0, 1))  # the last one is that of what is not there
        places = products.view(len(products), -1, len(self.bias)).unbind(1)  # K of [N + 1, D']
        number = torch.full((len(x), x.shape[1] + 2 * reach), len(videos), device=x.device)
        number[videos, times + reach] = torch.arange(len(videos), device=x.device)
        neighbors = (
            own[:-1] if place == reach else own.index_select(0, number[videos, times + place])
            for place, own in enumerate(places)
        )
        convolved = sum(neighbors, self.bias).to(products.dtype)
        return convolved.new_zeros(*mask.shape, len(self.bias)).index_put((videos, times), convolved)

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T _"]:
            """Run :meth:`forward`."""
            ...
