"""torchvision as an oracle of networks, and what it computed, for where it cannot be imported.

Beside a torch that it does not fit, torchvision cannot be imported, and then neither can torchmetrics. So the tests
read the numbers that this module has stored, and one test compares them with torchvision itself where there is one:
    pip install --no-deps --target DIR torchvision==0.28.0
    AVVP_TORCHVISION=DIR python -m tests.video.oracles
writes them, and pytest with AVVP_TORCHVISION=DIR compares.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STORED = Path(__file__).with_name("torchvision.json")
NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
Library: Any = torch.library.Library  # without types
_kept: list[Any] = []  # a library is undone with its object


def torchvision() -> ModuleType | None:
    """torchvision, also from a folder of its own; None if there is none."""
    if folder := os.environ.get("AVVP_TORCHVISION"):
        sys.path.append(folder)
    if importlib.util.find_spec("torchvision") is None:
        return None
    if "torchvision" not in sys.modules and not _kept:
        library: Any = Library("torchvision", "DEF")  # what it misses beside another build of torch
        library.define(f"nms{NMS}")
        library.define(f"qnms{NMS}")
        _kept.append(library)
    return importlib.import_module("torchvision")


def noise(size: int, start: int) -> np.ndarray:
    """Numbers from -0.5 to 0.5 that look random and are the same everywhere."""
    values = np.sin(12.9898 * np.arange(start + 1, start + 60_000)) * 43758.5453 % 1 - 0.5
    return np.resize(values.astype(np.float32), size)


def filled(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights for a network with batch normalization, with outputs that neither grow nor fade from layer to layer."""
    state = {}
    for number, (name, shape) in enumerate(shapes.items()):
        values = noise(int(np.prod(shape)), 1000 * number).reshape(shape)
        if len(shape) > 1:
            values *= np.sqrt(24 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            values += 1
        elif name.endswith("weight"):
            values = (values + 1) / 2
        else:
            values /= 5
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def empty(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Weights of the right shapes that take no memory and no disk: one number each."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build().state_dict().items() if "num_batches" not in name}
    return {name: torch.full((1,), 0.5).expand(shape) for name, shape in shapes.items()}


def pictures(*shape: int) -> Tensor:
    """An input of a network."""
    return torch.from_numpy(4 * noise(int(np.prod(shape)), 7).reshape(shape).astype(np.float32))


def names_of(state: Mapping[str, Tensor]) -> str:
    """A checksum of the names and shapes of weights, but for those that files of old releases do not have."""
    listed = sorted(f"{name} {list(value.shape)}" for name, value in state.items() if "num_batches" not in name)
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


SHORT = (1, 2, 1, 1)  # blocks of a ResNet that has the same parts as one with 152 layers
INPUTS = {"resnet": (2, 3, 64, 80), "r2plus1d_18": (2, 3, 8, 32, 48)}


def without_memory(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose weights are still to be given."""
    with torch.device("meta"):
        network = build()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = torch.tensor(0)
    return network


def rows_of(network: nn.Module, name: str) -> list[list[float]]:
    """The first numbers of the embeddings of two inputs, and the mean of all."""
    wanted = {key: value.shape for key, value in network.state_dict().items() if "num_batches" not in key}
    network.load_state_dict(filled(wanted), strict=False, assign=True)
    with torch.inference_mode():
        rows = network.eval()(pictures(*INPUTS[name]))
    found: list[list[float]] = torch.cat([rows[:, :40], rows.mean(1, keepdim=True)], dim=1).tolist()
    return found


def of_torchvision(vision: ModuleType) -> dict[str, Any]:
    """What torchvision computes, and the names of its weights, without the classifiers."""
    resnet = vision.models.resnet
    networks = {
        "resnet": without_memory(lambda: resnet.ResNet(resnet.Bottleneck, SHORT)),
        "resnet152": without_memory(vision.models.resnet152),
        "r2plus1d_18": without_memory(vision.models.video.r2plus1d_18),
    }
    for network in networks.values():
        network.fc = nn.Identity()
    names = {name: names_of(network.state_dict()) for name, network in networks.items()}
    return {"names": names, "rows": {name: rows_of(networks[name], name) for name in INPUTS}}


if __name__ == "__main__":
    found = torchvision()
    if found is None:
        sys.exit(__doc__)
    STORED.write_text(json.dumps(of_torchvision(found), indent=1) + "\n", encoding="utf-8")
