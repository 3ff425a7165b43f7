"""VGGish (Hershey et al., ICASSP 2017), with the names of weights of torchvggish."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = ((64,), (128,), (256, 256), (512, 512))  # of the convolutions before each pooling


class VGGish(nn.Module):
    """Convolutions of 3 x 3 over a log-mel spectrogram, then three Linear layers with ReLU, the last one included."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for widths in WIDTHS:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = (6 * 4 * channels, 4096, 4096, 128)
        self.embeddings = nn.Sequential(
            *(layer for size, width in pairwise(sizes) for layer in (nn.Linear(size, width), nn.ReLU(inplace=True)))
        )

    def forward(self, spectrograms: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N 128"]:
        """Return the embeddings of spectrograms of 96 frames and 64 bands; none is below 0."""
        maps = self.features(spectrograms)  # [N, 512, 6, 4]
        # the weights come from TensorFlow, which has channels last
        embeddings: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embeddings

    if TYPE_CHECKING:

        def __call__(self, spectrograms: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N 128"]:
            """Run :meth:`forward`."""
            ...
