"""Networks with weights from files that the user names, on the device that the user names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from avvp_pl.errors import InputError, brief

Network = TypeVar("Network", bound=nn.Module)


def device_of(name: str) -> torch.device:
    """Return the device: ``cpu``, ``cuda``, or ``auto``, which is a GPU if there is one."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InputError("device=cuda: this machine has no GPU that torch can use; set device=cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and found) else "cpu")


def load(
    build: Callable[[], Network], path: Path, device: torch.device, but: str | None = None, of: str = ""
) -> Network:
    """Return a network with the weights of a file, which holds a state dict as torchvision publishes it.

    ``but`` is the beginning of the names of weights that the network does not have and the file may, such as those of
    a classifier. ``of`` says what the weights should be of, for the message if they are not.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        network = build()
    given = {name: value.float() for name, value in _read(path).items() if but is None or not name.startswith(but)}
    given = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    problem = _difference(wanted, given)
    if problem:
        raise InputError(f"{path}: is not a state dict of {of}: {problem}")
    network.load_state_dict(given, assign=True)
    return network.requires_grad_(False).eval().to(device)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict without unpickling anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # of a damaged file, torch raises whatever its reader stumbles over
        raise InputError(f"{path}: is not a file of weights that torch has saved ({brief(error)})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds something else than a state dict, which maps names to tensors")
    return state


def _difference(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Say how the names and shapes of some weights differ from those of a network; nothing if they do not."""
    absent, beside = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    if absent:
        return f"it lacks {first_of(absent)}"
    if beside:
        return f"it has {first_of(beside)}, which this network does not have"
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            return f"{name} has the shape {list(given[name].shape)}, not {list(value.shape)}"
    return ""


def first_of(names: Iterable[str]) -> str:
    """Return the first name, and how many there are beside it."""
    first, *others = sorted(names)
    return f"{first} and {len(others)} others" if others else first


def in_batches(inputs: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    """Yield ``size`` inputs at a time; the last ones may be fewer."""
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def run(network: Callable[[Any], Tensor], batches: Iterable[Any]) -> Float32[np.ndarray, "N D"]:
    """Return the embeddings of inputs that come in batches.

    Convolutions are computed in full precision also on a GPU, so that its rows are those of a CPU.
    """
    # on a GPU, convolutions otherwise round their inputs to 10 bits
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return torch.cat([network(batch).float().cpu() for batch in batches]).numpy()
