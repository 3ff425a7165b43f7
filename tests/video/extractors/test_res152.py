from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.video.extractors.res152 import Res152
from avvp_pl.video.networks.resnet import ResNet
from tests.video.oracles import empty

BLOCK = np.random.default_rng(0).integers(0, 256, (2, 8, 30, 40, 3), dtype=np.uint8)


class Seen(nn.Module):
    """In the place of the network, which has tests of its own: its embeddings are some of the values that it reads."""

    def forward(self, pictures: Tensor) -> Tensor:
        assert pictures.shape[1:] == (3, 224, 224)
        return pictures[:, :, ::9, ::7].flatten(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("weights") / "resnet152.pth"
    torch.save({**empty(ResNet), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, file)
    return str(file)


@pytest.fixture(scope="module")
def extractor(weights: str) -> Res152:
    return Res152(weights, "cpu", 5, None, "res152")


def test_the_file_is_what_the_network_has(extractor: Res152) -> None:
    assert sum(weight.numel() for weight in extractor.network.parameters()) == 58_143_808  # without the classifier
    assert (extractor.dim, extractor.rows_per_segment, len(extractor.identity()["weights"])) == (2048, 8, 64)


def test_rows_are_the_network_of_each_picture(extractor: Res152, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "network", Seen())
    rows = extractor.rows(BLOCK)
    assert len(rows) == 16
    for number, row in enumerate(rows):
        picture = Image.fromarray(BLOCK[number // 8, number % 8]).resize((341, 256), Image.Resampling.BILINEAR)
        middle = np.asarray(picture)[16:240, 58:282] / 255  # (341 - 224) / 2 = 58.5, which rounds to even
        read = (middle - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(row, read.transpose(2, 0, 1)[:, ::9, ::7].reshape(-1), rtol=1e-5, atol=1e-6)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(empty(lambda: ResNet((1, 1, 1, 1))), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: is not a state dict of ResNet-152: it lacks layer1\.1\.bn1\.bias"):
        Res152(str(tmp_path / "w.pth"), "cpu", 1, None, "res152")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pth: cannot be read"):
        Res152(str(tmp_path / "absent.pth"), "cpu", 1, None, "res152")
