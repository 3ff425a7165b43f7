from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avvp_pl.video.networks.r2plus1d import R2Plus1D
from avvp_pl.video.networks.resnet import ResNet
from avvp_pl.video.networks.vggish import VGGish
from tests.video.oracles import (
    INPUTS,
    SHORT,
    STORED,
    names_of,
    noise,
    of_torchvision,
    pictures,
    rows_of,
    torchvision,
    without_memory,
)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNet(SHORT),
    "resnet152": ResNet,
    "r2plus1d_18": R2Plus1D,
}


def stored() -> Any:
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_have_the_names_and_shapes_of_torchvision(name: str) -> None:
    assert names_of(without_memory(NETWORKS[name]).state_dict()) == stored()["names"][name]


@pytest.mark.parametrize("name", INPUTS)
def test_networks_compute_what_torchvision_has_computed(name: str) -> None:
    expected = torch.tensor(stored()["rows"][name])
    found = torch.tensor(rows_of(without_memory(NETWORKS[name]), name))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    first, second = expected
    assert (first - second).abs().mean() > 1e-3  # of two inputs: what is compared depends on them


def test_the_stored_numbers_are_those_of_torchvision() -> None:
    vision = torchvision()
    if vision is None:
        pytest.skip("needs torchvision, which tests/video/oracles.py says how to install")
    found = of_torchvision(vision)
    assert found["names"] == stored()["names"]
    for name, rows in found["rows"].items():
        torch.testing.assert_close(torch.tensor(rows), torch.tensor(stored()["rows"][name]))


def vggish_weights() -> dict[str, Tensor]:
    """Weights of VGGish under the names of torchvggish; those of a Linear share memory, so that they cost nothing."""
    state = {}
    convolutions = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
    for number, (outside, inside) in convolutions.items():
        values = noise(outside * inside * 9, number).reshape(outside, inside, 3, 3) * (24 / (9 * inside)) ** 0.5
        state[f"features.{number}.weight"] = torch.from_numpy(values).float()
        state[f"features.{number}.bias"] = torch.from_numpy(noise(outside, number) / 5).float()
    for number, (outside, inside) in {0: (4096, 12288), 2: (4096, 4096), 4: (128, 4096)}.items():
        values = torch.from_numpy(noise(inside + 7 * outside, number) * (24 / inside) ** 0.5).float()
        state[f"embeddings.{number}.weight"] = values.as_strided((outside, inside), (7, 1))
        state[f"embeddings.{number}.bias"] = torch.from_numpy(noise(outside, number) / 5).float()
    return state


def vggish_rows(state: dict[str, Tensor], spectrograms: Tensor) -> Tensor:
    """VGGish without a module: as its paper's table says, with channels last before the Linear layers."""
    x = spectrograms
    for number in (0, 3, 6, 8, 11, 13):
        x = F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1).clamp(min=0)
        if number not in (6, 11):
            x = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
    x = torch.stack([x[:, :, row, column] for row in range(6) for column in range(4)], dim=1).flatten(1)
    for number in (0, 2, 4):
        x = (x @ state[f"embeddings.{number}.weight"].T + state[f"embeddings.{number}.bias"]).clamp(min=0)
    return x


def test_vggish_is_its_layers_with_channels_last() -> None:
    network, state = without_memory(VGGish), vggish_weights()
    network.load_state_dict(state, assign=True)
    spectrograms = pictures(2, 1, 96, 64)
    with torch.inference_mode():
        found, expected = network(spectrograms), vggish_rows(state, spectrograms)
    assert found.shape == (2, 128)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert 0.2 < (found > 0).float().mean() < 0.9
    assert (found[0] - found[1]).abs().mean() > 1e-3
