"""CLAP: an embedding of each second of sound, or VALOR's features for LLP, which hear ten seconds at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, Float64
from torch import Tensor
from torch.nn import functional as F

from avvp_pl.video.extractor import Sound
from avvp_pl.video.huggingface import INSTALL, load_folder
from avvp_pl.video.pretrained import Pretrained, require
from avvp_pl.video.weights import device_of, in_batches, run

RATE = 48_000  # samples a second
HEARD = 10  # seconds; what is shorter is repeated
WINDOW, HOP = 1024, 480  # samples
BANDS, LOWEST, HIGHEST = 64, 50.0, 14_000.0  # Hz
ENLARGED = 1024  # positions in time of an enlarged map


class Clap(Pretrained):
    """CLAP (Wu et al., ICASSP 2023), with what ``output`` names.

    ``embedding``: what CLAP compares with a text, of length 1. Each second is heard alone, repeated ten times, as for
    VALOR's labels.

    ``map``: VALOR's features. Ten seconds are heard at once, and the last maps [768, 2, 32] are enlarged in time and
    averaged over frequency and over each second, which is what VALOR's network does with its published features. A
    shorter rest is repeated to ten seconds, and its rows are the first ones.

    ``weights`` is a folder as transformers saves it. VALOR's network is LAION's 630k-fusion-best, and
    laion/clap-htsat-fused has the same layers with other training data.
    """

    name = "clap"
    modality = "audio"
    input = Sound(RATE)

    def __init__(
        self,
        weights: str,
        output: Literal["embedding", "map"],
        device: str,
        batch_size: int,
        pca: str | None,
        name: str,
    ) -> None:
        self.output, self.batch_size, self.device = output, batch_size, device_of(device)
        self.network, sha256 = load_folder(
            "ClapAudioModelWithProjection", "clap", Path(weights), self.name, self.device
        )
        config = self.network.config
        dim = config.projection_dim if output == "embedding" else config.hidden_size
        super().__init__(sha256, int(dim), pca, name)
        # a network that can fuse several views of a longer sound was trained with other filters, and reads four views
        self.fusion = bool(config.enable_fusion)
        self.filters = mel_filters(self.fusion)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T dim"]:
        """Return a row for each second."""
        if self.output == "map":
            return self.maps(block)
        return run(self.direction, map(self.read, in_batches(block, self.batch_size)))

    def read(self, sounds: Float32[np.ndarray, "N samples"]) -> Float32[Tensor, "N views frames bands"]:
        """Return sounds of at most ten seconds as the network reads them, repeated to ten seconds."""
        spectrograms = np.stack([spectrogram(repeated(sound), self.filters) for sound in sounds])
        views = 4 if self.fusion else 1  # the same four times, as there is nothing longer to be seen
        return torch.from_numpy(spectrograms)[:, None].repeat(1, views, 1, 1).to(self.device)

    def heard(self, spectrograms: Float32[Tensor, "N views frames bands"]) -> Any:
        """Return the output of the network for sounds that are not longer than ten seconds."""
        longer = torch.zeros(len(spectrograms), 1, dtype=torch.bool, device=self.device)
        return self.network(input_features=spectrograms, is_longer=longer)

    def direction(self, spectrograms: Float32[Tensor, "N views frames bands"]) -> Float32[Tensor, "N dim"]:
        """Return the embeddings, divided by their lengths."""
        return F.normalize(self.heard(spectrograms).audio_embeds, dim=1)

    def maps(self, block: Float32[np.ndarray, "T rate"]) -> Float32[np.ndarray, "T dim"]:
        """Return the rows of at most ten seconds that are heard at once."""
        whole = np.trunc(block.clip(-1, 1).astype(np.float32) * 32767) / np.float32(32767)  # VALOR has them in 16 bits

        def rows(spectrograms: Float32[Tensor, "1 views frames bands"]) -> Tensor:
            return seconds_of(self.heard(spectrograms).last_hidden_state)[0, : len(block)]

        return run(rows, [self.read(whole.reshape(1, -1))])

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows."""
        return {**super().identity(), "output": self.output}


def repeated(sound: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " whole"]:
    """Return a sound as often as it fits into ten seconds, and silence after that."""
    whole = HEARD * RATE
    often = np.tile(sound, whole // len(sound))
    return np.pad(often, (0, whole - len(often)))


def mel_filters(fusion: bool) -> Float64[np.ndarray, "bins bands"]:
    """Return triangular filters: those of a network that fuses views (torchaudio's), or of another one (librosa's)."""
    audio = require("transformers.audio_utils", Clap.name, INSTALL)
    scale = {"norm": None, "mel_scale": "htk"} if fusion else {"norm": "slaney", "mel_scale": "slaney"}
    filters: Float64[np.ndarray, "bins bands"] = audio.mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=BANDS,
        min_frequency=LOWEST,
        max_frequency=HIGHEST,
        sampling_rate=RATE,
        **scale,
    )
    return filters


def spectrogram(
    sound: Float32[np.ndarray, " samples"], filters: Float64[np.ndarray, "bins bands"]
) -> Float32[np.ndarray, "frames bands"]:
    """Return the power in each band in decibels, for frames whose middles are 10 ms apart; the first is at sample 0."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    decibels: Float32[np.ndarray, "frames bands"] = (10 * np.log10(np.maximum(power @ filters, 1e-10))).astype(
        np.float32
    )
    return decibels


def seconds_of(maps: Float32[Tensor, "N D frequency time"]) -> Float32[Tensor, "N 10 D"]:
    """Return a row for each of the ten seconds that the maps are of."""
    enlarged = F.interpolate(maps, (maps.shape[2], ENLARGED), mode="bicubic", align_corners=False).mean(
        2
    )  # [N, D, time]
    return F.adaptive_avg_pool1d(enlarged, HEARD).transpose(1, 2)
