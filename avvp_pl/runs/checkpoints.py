"""Checkpoint files: written completely or not at all, and read without trusting them.

A checkpoint is plain data: tensors, numbers and strings. Nothing in it is unpickled, and from the configuration in it
only classes of this package, and of the packages that the user trusts, are ever built.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import nn

from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, brief
from avvp_pl.files import atomic_write_bytes
from avvp_pl.parts import Part
from avvp_pl.settings.identity import FREE, OF_THE_RUN, OF_TRAINING
from avvp_pl.tasks.parsing import ParsingTask
from avvp_pl.types import ParsingNetwork

# The entries of a checkpoint that are needed, and the type of each
CONTENTS = {
    "config": dict,
    "events": list,
    "streams": list,
    "state_dict": dict,
    "callbacks": dict,
    "losses": dict,
    "progress": dict,
    "train_videos": str,
    "epoch": int,
    "global_step": int,
}
# What the configuration in a checkpoint may build, by the start of the key: a class, or (None) a function that reads
# data
BUILT: dict[str, type | None] = {
    "network._target_": ParsingNetwork,
    "data.source._target_": None,
    "protocol.task._target_": ParsingTask,
    "protocol.decision.": Part,
    "method.": Part,
    "labeling.": Part,
    "inference.": Part,
}
NEEDED = (
    "network._target_",
    "data.source._target_",
    "method._target_",
    "labeling._target_",
    "inference",
    "protocol.name",
)
# A group that is kept as information about the training, and that a test never builds
NEVER_BUILT = ("optimizer.",)
FILE_NAME = re.compile(r"[\w=-][\w.=-]*\.ckpt")


class CheckpointFiles(TorchCheckpointIO):
    """Writes and reads checkpoints for Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file, or raise :class:`InputError` and leave it unchanged.

        Lightning would copy a temporary file from elsewhere, and a kill can interrupt the copying.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            atomic_write_bytes(Path(path), content.getbuffer())
        except InputError as error:
            kept = "the previous checkpoint is unharmed" if Path(path).exists() else "there is no checkpoint yet"
            raise InputError(f"{error}; {kept}. Free some space, then resume with resume=auto") from None

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a file without unpickling. The paths in it are restricted to files in its own folder."""
        checkpoint = _load(Path(path))
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_model_path" in state:
                _keep_to(Path(path).resolve().parent, state)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint file, but never a folder."""
        if FILE_NAME.fullmatch(Path(path).name):
            Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``avvp_pl.train`` into main memory; :class:`InputError` for any other file."""
    checkpoint = _load(path)
    for name, kind in CONTENTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise _foreign(path, f"it has no {name}")
    return checkpoint


def stopped_inside_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was saved in the middle of an epoch."""
    progress = checkpoint.get(ParsingData.__qualname__)
    return isinstance(progress, dict) and bool(progress.get("batches"))


def _load(path: Path) -> dict[str, Any]:
    """Read a dictionary of plain data into main memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare checksums
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such checkpoint") from None
    except pickle.UnpicklingError:  # torch's message advises to unpickle it anyway
        raise _foreign(path, "it holds more than plain data") from None
    except Exception as error:  # torch raises a dozen kinds on a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _foreign(path, reason) from None
    if damaged:
        raise _foreign(path, f"its part {damaged} is damaged")
    if not isinstance(content, dict):
        raise _foreign(path, f"it is a {type(content).__name__}")
    return content


def _keep_to(folder: Path, state: dict[str, Any]) -> None:
    """Let all paths in the state of a checkpoint callback point into ``folder``, as if the run had always been there.

    If the folder was moved, Lightning would forget which score was the best so far. And it removes what the state says
    is an older checkpoint, wherever that path points.
    """

    def here(path: Any) -> str:
        name = str(path).rpartition("/")[2]
        return str(folder / name) if FILE_NAME.fullmatch(name) else ""

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state.get(key))
    state["best_k_models"] = {here(path): score for path, score in dict(state.get("best_k_models", {})).items()}
    state["dirpath"] = str(folder)


def _foreign(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path.absolute()}: not a checkpoint of avvp_pl.train ({reason}); give another one, or train again"
    )


def last_good(path: Path) -> str:
    """Describe the checkpoint from which a failed training can be resumed."""
    try:
        epoch = read_checkpoint(path)["epoch"]
    except InputError:
        return "there is no checkpoint to resume from. Try a smaller optimizer.learning_rate"
    return (
        f"the last good checkpoint is {path} (epoch {epoch}). To resume from it with other settings, such as a smaller "
        f"optimizer.learning_rate: resume={path} hydra.run.dir=ANOTHER"
    )


def trained_config(
    checkpoint: Mapping[str, Any], path: Path, replaced: Mapping[str, DictConfig], trust: Sequence[str] = ()
) -> DictConfig:
    """Return the configuration of the model in a checkpoint, with some groups ``replaced``.

    Of the trainer, only the settings that say what was trained are kept, as information. Raises :class:`InputError` if
    the configuration would build anything but parts of this package or of the packages in ``trust``, or if it refers to
    anything outside itself, such as the environment.
    """
    config = {name: part for name, part in checkpoint["config"].items() if name not in {*OF_THE_RUN, *replaced}}
    trainer = checkpoint["config"].get("trainer")
    if isinstance(trainer, dict):
        config["trainer"] = {name: trainer[name] for name in OF_TRAINING if name in trainer}
    check_built(config, path, trust)
    trained = OmegaConf.create({**config, **replaced})
    for key in NEEDED:
        if OmegaConf.select(trained, key) is None:
            raise _foreign(path, f"its configuration has no {key}")
    return trained


def check_built(config: Mapping[str, Any], path: Path, trust: Sequence[str] = ()) -> None:
    """Raise :class:`InputError` if the configuration in a file would build anything that is not trusted.

    Trusted are the parts, networks and data readers of this package, and everything that is defined in the packages
    that the user names in ``trust`` (never Python's own). Nothing of another package is imported. A configuration that
    refers to anything outside itself, such as the environment, is refused as well.
    """
    for key, value in leaves(dict(config)):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{path}: its configuration refers to something outside it ({key}={value}): do not trust it"
            )
        if key.rpartition(".")[2] == "_target_" and not key.startswith(NEVER_BUILT):
            _check_target(key, value, path, trust)


def packages_outside(config: Mapping[str, Any]) -> list[str]:
    """Return the packages outside this one from which the configuration of a run builds parts of the model."""
    targets = (
        str(value)
        for key, value in leaves(dict(config))
        if key.rpartition(".")[2] == "_target_" and key.startswith(tuple(BUILT))
    )
    packages = dict.fromkeys(target.partition(".")[0] for target in targets)
    return [package for package in packages if package != "avvp_pl"]


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in nested containers, with its full key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{key}[{number}]")
    else:
        yield key, value


def _check_target(key: str, target: Any, path: Path, trust: Sequence[str]) -> None:
    """Raise :class:`InputError` unless ``target`` is what ``key`` may build, and a trusted package defines it.

    A name such as ``avvp_pl.files.os.system`` only passes through this package.
    """
    refused = f"{path}: its configuration would build {brief(target)} as {key}, which avvp_pl does not trust"
    module, _, name = str(target).rpartition(".")
    package = module.partition(".")[0]
    places = [place for place in BUILT if key.startswith(place)]
    trusted = {"avvp_pl", *trust} - sys.stdlib_module_names
    if places and package not in trusted and package.isidentifier() and package not in sys.stdlib_module_names:
        raise InputError(f"{refused}; if you trust the package {package}, give trust=[{package}]")
    if not places or package not in trusted:
        raise InputError(refused)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module raises while it is imported
        if package == "avvp_pl":
            raise InputError(refused) from None
        raise InputError(
            f"{path}: {brief(target)}, its {key}, cannot be imported ({type(error).__name__}: {brief(error)}); install "
            f"the package {package}, or run in the folder that has it"
        ) from error
    home, kind = str(getattr(found, "__module__", "")), BUILT[places[0]]
    if home.partition(".")[0] not in trusted:
        raise InputError(refused)
    if home.partition(".")[0] != "avvp_pl":
        allowed = callable(found)
    elif kind is None:
        allowed = inspect.isfunction(found) and home.startswith("avvp_pl.data.")
    else:
        allowed = inspect.isclass(found) and issubclass(found, kind)
    if not allowed:
        raise InputError(refused)


def check_data(videos: ParsingSet, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`InputError` if a checkpoint was trained on other events or streams."""
    if list(videos.events) != checkpoint["events"]:
        raise InputError(
            f"{path} was trained on {len(checkpoint['events'])} events that are not those of the data "
            f"({len(videos.events)}); give the data of the same events in the same order (data/classes.txt)"
        )
    if videos.streams != checkpoint["streams"]:
        raise InputError(f"{path} was trained on the streams {checkpoint['streams']}, the data has {videos.streams}")


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Load the weights of a checkpoint; :class:`InputError` if they belong to another network.

    Weights whose names start with one of ``new`` belong to parts that were replaced, and are unchanged.
    """
    check_weights(module, checkpoint, path, new)
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if not str(name).startswith(new)}
    module.load_state_dict(weights, strict=not new)


def part_of(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the weights whose names start with ``prefix``, without it, in the form that :func:`load_weights` takes."""
    weights = {str(name): weight for name, weight in checkpoint["state_dict"].items()}
    return {"state_dict": {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}}


def check_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Raise :class:`InputError` if a weight of a checkpoint is missing, unknown, or has another shape."""
    needed = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    found = {name: tuple(getattr(weight, "shape", ("no tensor",))) for name, weight in checkpoint["state_dict"].items()}
    for name in sorted({*needed, *found}, key=str):
        if not str(name).startswith(new) and needed.get(name) != found.get(name):
            raise InputError(
                f"{path}: its weights are of another network: {name} has {_shape(found, name)}, "
                f"the settings need {_shape(needed, name)}"
            )


def _shape(shapes: Mapping[str, tuple[Any, ...]], name: str) -> str:
    return f"the shape {list(shapes[name])}" if name in shapes else "nothing"


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the changed settings that decide what a run computes, as ``key: old, now new``."""
    old, new = (
        {key: value for key, value in leaves(dict(config)) if not FREE.fullmatch(key)} for config in (before, now)
    )
    return [
        f"{key}: {old.get(key, 'missing')}, now {new.get(key, 'missing')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
