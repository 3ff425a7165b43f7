"""ResNet-152: 2,048 numbers for each of 8 pictures a second, as the features of LLP have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from avvp_pl.video.extractor import Pictures
from avvp_pl.video.fitting import IMAGENET, cropped, fitted
from avvp_pl.video.networks.resnet import ResNet
from avvp_pl.video.pretrained import Pretrained, sha256_of
from avvp_pl.video.weights import device_of, in_batches, load, run


class Res152(Pretrained):
    """What the classifier of ResNet-152 reads.

    ``weights`` is torchvision's file of the first weights for ImageNet (IMAGENET1K_V1: resnet152-394f9c45.pth, or the
    older resnet152-b121ed2d.pth with the same values). The shorter side of a picture is resized to 256 pixels, and
    224 x 224 of the middle are cut.
    """

    name = "res152"
    modality = "visual"
    rows_per_segment = 8
    input = Pictures(8, "llp")

    def __init__(self, weights: str, device: str, batch_size: int, pca: str | None, name: str) -> None:
        self.batch_size, self.device = batch_size, device_of(device)
        super().__init__(sha256_of([Path(weights)]), 2048, pca, name)
        self.network = load(ResNet, Path(weights), self.device, but="fc.", of="ResNet-152")
        self.fit = cropped(256, 224)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R 2048"]:
        """Return a row for each picture."""
        pictures = block.reshape(-1, *block.shape[-3:])
        batches = in_batches(pictures, self.batch_size)
        return run(self.network, (IMAGENET(fitted(batch, self.fit)).to(self.device) for batch in batches))
