from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from avvp_pl.video.extractors.r2plus1d_18 import R2Plus1D18
from avvp_pl.video.networks.r2plus1d import R2Plus1D
from tests.video.oracles import empty

BLOCK = np.random.default_rng(0).integers(0, 256, (3, 8, 30, 40, 3), dtype=np.uint8)


class Seen(nn.Module):
    """In the place of the network, which has tests of its own: its embeddings are some of the values that it reads."""

    def forward(self, clips: Tensor) -> Tensor:
        assert clips.shape[1:] == (3, 8, 112, 112)
        return clips[:, :, :, ::9, ::7].flatten(1)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> R2Plus1D18:
    file = tmp_path_factory.mktemp("weights") / "r2plus1d.pth"
    torch.save({**empty(R2Plus1D), "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, file)
    return R2Plus1D18(str(file), "cpu", 2, None, "r2plus1d_18")


def test_the_file_is_what_the_network_has(extractor: R2Plus1D18) -> None:
    assert sum(weight.numel() for weight in extractor.network.parameters()) == 31_300_125  # without the classifier
    identity = extractor.identity()
    assert (identity["extractor"], identity["dim"], identity["rows"]) == ("r2plus1d_18", 512, 1)
    assert len(identity["weights"]) == 64


def test_rows_are_the_network_of_the_pictures_of_a_second(
    extractor: R2Plus1D18, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "network", Seen())
    rows = extractor.rows(BLOCK)
    assert len(rows) == 3
    mean, std = np.array([0.43216, 0.394666, 0.37645]), np.array([0.22803, 0.22145, 0.216989])
    for second, row in enumerate(rows):
        clip = np.zeros((3, 8, 112, 112))
        for number in range(8):
            picture = Image.fromarray(BLOCK[second, number]).resize((112, 112), Image.Resampling.BILINEAR)
            clip[:, number] = ((np.asarray(picture) / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(row, clip[:, :, ::9, ::7].reshape(-1), rtol=1e-5, atol=1e-6)
