from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.video.weights import device_of, load, run

CPU = torch.device("cpu")


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(small().state_dict())


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def load_small(path: Path) -> nn.Module:
    return load(small, path, CPU, but="fc.", of="Small")


def test_the_network_has_the_weights_of_the_file(tmp_path: Path) -> None:
    network = load_small(saved(tmp_path / "w.pth", {**state(), "fc.weight": torch.zeros(2, 2)}))
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    for name, value in state().items():
        torch.testing.assert_close(network.state_dict()[name], value)
    expected = small()
    expected.load_state_dict(state())
    x = torch.randn(4, 2)
    found = run(network, [x[:3], x[3:]])
    np.testing.assert_allclose(found, expected.eval()(x).detach().numpy(), rtol=1e-6)


def test_old_and_half_files_can_be_read(tmp_path: Path) -> None:
    """torchvision's first files have no counters of batches and another format; halves are computed with as floats."""
    old = {name: value.half() for name, value in state().items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    network = load_small(tmp_path / "old.pth")
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network.state_dict()["0.weight"], state()["0.weight"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"0.weight": None}, r"is not a state dict of Small: it lacks 0\.weight$"),
        ({"0.weight": None, "0.bias": None}, r"it lacks 0\.bias and 1 others"),
        ({"conv1.weight": torch.zeros(1)}, r"it has conv1\.weight, which this network does not have"),
        ({"0.weight": torch.zeros(3, 5)}, r"0\.weight has the shape \[3, 5\], not \[3, 2\]"),
        ({"epoch": 3}, "holds something else than a state dict"),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    content = {name: value for name, value in {**state(), **changed}.items() if value is not None}
    with pytest.raises(InputError, match=rf"w\.pth: .*{message}"):
        load_small(saved(tmp_path / "w.pth", content))


class Touch:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"0.weight": Touch(tmp_path / "made")}, tmp_path / "torch")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Touch(tmp_path / "made")))
    for name in ("torch", "pickle"):
        with pytest.raises(InputError, match="is not a file of weights that torch has saved"):
            load_small(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: is not a file of weights that torch has saved"):
        load_small(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", state())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"w\.pth: is not a file of weights"):
        load_small(path)


def test_a_folder_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(InputError, match="cannot be read"):
            load_small(path)


def test_a_gpu_is_used_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("cpu") == device_of("auto") == CPU
    with pytest.raises(InputError, match="device=cuda: this machine has no GPU"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("cpu") == CPU
    assert device_of("cuda") == device_of("auto") == torch.device("cuda")
