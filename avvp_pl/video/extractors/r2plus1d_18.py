"""R(2+1)D-18: 512 numbers for the motion in each second, as the features of LLP have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32
from torch import Tensor

from avvp_pl.video.extractor import Pictures
from avvp_pl.video.fitting import Normalization, fitted, squashed
from avvp_pl.video.networks.r2plus1d import R2Plus1D
from avvp_pl.video.pretrained import Pretrained, sha256_of
from avvp_pl.video.weights import device_of, in_batches, load, run

KINETICS = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


class R2Plus1D18(Pretrained):
    """What the classifier of R(2+1)D-18 reads; the 8 pictures of a second are one clip.

    ``weights`` is torchvision's file for Kinetics-400 (r2plus1d_18-91a641e6.pth). Pictures are squashed to 112 x 112,
    as those of LLP were, and not resized to 128 x 171 and cut, as the network was trained.
    """

    name = "r2plus1d_18"
    modality = "visual"
    input = Pictures(8, "llp")

    def __init__(self, weights: str, device: str, batch_size: int, pca: str | None, name: str) -> None:
        self.batch_size, self.device = batch_size, device_of(device)
        super().__init__(sha256_of([Path(weights)]), 512, pca, name)
        self.network = load(R2Plus1D, Path(weights), self.device, but="fc.", of="R(2+1)D-18")
        self.fit = squashed(112)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T 512"]:
        """Return a row for each second."""
        batches = in_batches(block, self.batch_size)
        return run(self.network, (self.clips(batch).to(self.device) for batch in batches))

    def clips(self, seconds: npt.NDArray[np.uint8]) -> Float32[Tensor, "T 3 8 112 112"]:
        """Return the pictures of some seconds, [T, 8, H, W, 3], as the clips that the network reads."""
        pictures = KINETICS(fitted(seconds.reshape(-1, *seconds.shape[-3:]), self.fit))
        return pictures.reshape(*seconds.shape[:2], *pictures.shape[1:]).transpose(1, 2)
