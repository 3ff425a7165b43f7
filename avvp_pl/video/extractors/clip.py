"""CLIP: an embedding of one picture a second, as VALOR's features for LLP have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from avvp_pl.video.extractor import Pictures
from avvp_pl.video.fitting import Normalization, as_tensor
from avvp_pl.video.huggingface import load_folder
from avvp_pl.video.pretrained import Pretrained
from avvp_pl.video.weights import device_of, in_batches, run

CLIP_PICTURES = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Clip(Pretrained):
    """The embedding that CLIP compares with a text, of length 1 (Radford et al., ICML 2021).

    ``weights`` is a folder as transformers saves it; VALOR's is openai/clip-vit-large-patch14, with 768 numbers.
    Pictures are squashed to the network's size, bilinear and not antialiased: so did torchvision with tensors when
    VALOR's features were made.
    """

    name = "clip"
    modality = "visual"
    input = Pictures(1, "llp")

    def __init__(self, weights: str, device: str, batch_size: int, pca: str | None, name: str) -> None:
        self.batch_size, self.device = batch_size, device_of(device)
        self.network, sha256 = load_folder(
            "CLIPVisionModelWithProjection", "clip", Path(weights), self.name, self.device
        )
        self.size = int(self.network.config.image_size)
        super().__init__(sha256, int(self.network.config.projection_dim), pca, name)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T dim"]:
        """Return a row for each picture."""
        pictures = block.reshape(-1, *block.shape[-3:])
        batches = in_batches(pictures, self.batch_size)
        return run(self.direction, (self.read(batch).to(self.device) for batch in batches))

    def read(self, pictures: npt.NDArray[np.uint8]) -> Float32[Tensor, "N 3 size size"]:
        """Return pictures, [N, H, W, 3], as the network reads them."""
        size = (self.size, self.size)
        return CLIP_PICTURES(F.interpolate(as_tensor(pictures), size, mode="bilinear", align_corners=False))

    def direction(self, pictures: Float32[Tensor, "N 3 size size"]) -> Float32[Tensor, "N dim"]:
        """Return the embeddings, divided by their lengths."""
        return F.normalize(self.network(pixel_values=pictures).image_embeds, dim=1)
