"""R(2+1)D-18 without its classifier (Tran et al., CVPR 2018), with the names of weights of torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

STAGES, BLOCKS = 4, 2  # of a network with 18 layers


class R2Plus1D(nn.Module):
    """A residual network whose convolutions over time and space are one over space and then one over time.

    It takes clips of any number of pictures of any size, and returns the mean of the last maps. The four stages have
    64, 128, 256 and 512 channels. From the second one on, the first block halves the maps in time and space.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
        )
        channels = 64
        for stage in range(STAGES):
            inside, stride = 64 * 2**stage, 1 if stage == 0 else 2
            blocks = [Block(channels, inside, stride), *(Block(inside, inside) for _ in range(BLOCKS - 1))]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = inside

    def forward(self, clips: Float[Tensor, "N 3 L H W"]) -> Float[Tensor, "N 512"]:
        """Return the embeddings of clips of L pictures."""
        x = self.stem(clips)
        for stage in range(1, STAGES + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        mean: Tensor = x.mean((2, 3, 4))
        return mean

    if TYPE_CHECKING:

        def __call__(self, clips: Float[Tensor, "N 3 L H W"]) -> Float[Tensor, "N 512"]:
            """Run :meth:`forward`."""
            ...


class Block(nn.Module):
    """x + conv(conv(x)) with factorized convolutions; x is taken through a convolution where the shape changes."""

    def __init__(self, channels: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        # as many channels between space and time as give a convolution of 3 x 3 x 3 the same number of weights
        between = 27 * channels * outside // (9 * channels + 3 * outside)
        self.conv1 = nn.Sequential(
            factorized(channels, between, outside, stride), nn.BatchNorm3d(outside), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(factorized(outside, between, outside), nn.BatchNorm3d(outside))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != outside:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, outside, 1, stride=stride, bias=False), nn.BatchNorm3d(outside)
            )

    def forward(self, x: Float[Tensor, "N channels L H W"]) -> Float[Tensor, "N outside l h w"]:
        """Return the maps after the block."""
        kept = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(self.conv2(self.conv1(x)) + kept)
        return result


def factorized(channels: int, between: int, outside: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution of 3 x 3 over space and one of 3 over time, with batch normalization and ReLU between."""
    return nn.Sequential(
        nn.Conv3d(channels, between, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, outside, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False),
    )
