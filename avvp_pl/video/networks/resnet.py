"""ResNet-152 without its classifier (He et al., CVPR 2016), with the names of weights of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

RESNET152 = (3, 8, 36, 3)  # blocks in each of the four stages


class ResNet(nn.Module):
    """A residual network of bottlenecks: pictures of any size in, the mean of the last maps out.

    ``blocks`` are the numbers of blocks of the stages, of 64, 128, ... channels inside and four times as many outside.
    From the second stage on, the first block halves the size of the maps.
    """

    def __init__(self, blocks: Sequence[int] = RESNET152) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, count in enumerate(blocks):
            inside, stride = 64 * 2**stage, 1 if stage == 0 else 2
            first = Bottleneck(channels, inside, stride)
            channels = Bottleneck.expansion * inside
            others = (Bottleneck(channels, inside) for _ in range(count - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
        self.stages = len(blocks)

    def forward(self, pictures: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Return the embeddings of pictures: 2,048 numbers each for four stages."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        mean: Tensor = x.mean((2, 3))
        return mean

    if TYPE_CHECKING:

        def __call__(self, pictures: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
            """Run :meth:`forward`."""
            ...


class Bottleneck(nn.Module):
    """x + conv1x1(conv3x3(conv1x1(x))), each convolution with batch normalization; the middle one has the stride.

    x itself is taken through a convolution where the shape changes.
    """

    expansion = 4

    def __init__(self, channels: int, inside: int, stride: int = 1) -> None:
        super().__init__()
        outside = self.expansion * inside
        self.conv1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Float[Tensor, "N channels H W"]) -> Float[Tensor, "N outside h w"]:
        """Return the maps after the block."""
        kept = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        result: Tensor = self.relu(y + kept)
        return result
