"""VGGish: 128 numbers for each second of sound, as the features of LLP have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32

from avvp_pl.video.extractor import Sound
from avvp_pl.video.mel import RATE, log_mel
from avvp_pl.video.networks import vggish
from avvp_pl.video.pretrained import Pretrained, sha256_of
from avvp_pl.video.weights import device_of, load, run

LOG_OFFSET = 0.01


class VGGish(Pretrained):
    """The embeddings of VGGish as its last ReLU leaves them, without the PCA and the 8 bits of AudioSet's release.

    ``weights`` is the file that torchvggish publishes (vggish-10086976.pth), or any with these names. Each second is
    computed alone, from its first 96 frames, so that row k hears from k to k + 0.975 s.
    """

    name = "vggish"
    modality = "audio"
    input = Sound(RATE)

    def __init__(self, weights: str, device: str, pca: str | None, name: str) -> None:
        self.device = device_of(device)
        super().__init__(sha256_of([Path(weights)]), 128, pca, name)
        # the PCA that some publish in the same file is not used
        self.network = load(vggish.VGGish, Path(weights), self.device, but="pproc.", of="VGGish")

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T 128"]:
        """Return a row for each second."""
        spectrograms = torch.from_numpy(log_mel(block, LOG_OFFSET, 0, "mel"))
        return run(self.network, [spectrograms[:, None].to(self.device)])
