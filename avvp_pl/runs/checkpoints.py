"""Checkpoint files: written whole or not at all, and read as if a stranger had sent them.

A checkpoint is plain data: tensors, numbers, words. Nothing in it is unpickled, and of the configuration in it only
classes of this package are ever built.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import nn

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write_bytes
from avvp_pl.parts import Part
from avvp_pl.settings.identity import FREE, OF_THE_RUN, OF_TRAINING
from avvp_pl.tasks.parsing import ParsingTask
from avvp_pl.types import ParsingNetwork

# What a checkpoint has beside Lightning's own entries, and the kind of each
CONTENTS = {
    "config": dict,
    "events": list,
    "streams": list,
    "state_dict": dict,
    "callbacks": dict,
    "losses": dict,
    "progress": dict,
    "epoch": int,
    "global_step": int,
}
# What the configuration in a checkpoint may build, by the start of its place: a class, or (None) a function that reads data
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
# Groups that are kept to tell how it was trained, and that a test never builds
TOLD = ("trainer.", "optimizer.")
FILE_NAME = re.compile(r"[\w=-][\w.=-]*\.ckpt")


class CheckpointFiles(TorchCheckpointIO):
    """What Lightning writes and reads checkpoints by."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file, or raise :class:`InputError` and leave it as it was.

        Lightning's own way goes by a temporary file elsewhere, whose copying a kill can interrupt.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            atomic_write_bytes(Path(path), content.getbuffer())
        except InputError as error:
            kept = "the checkpoint that was there is unharmed" if Path(path).exists() else "there is none yet"
            raise InputError(f"{error}; {kept}. Make room, then go on with resume=auto") from None

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a file, without unpickling; what it says of files beside it can mean no others."""
        checkpoint = _load(Path(path))
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_model_path" in state:
                _keep_to(Path(path).resolve().parent, state)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one file, and never a folder."""
        if FILE_NAME.fullmatch(Path(path).name):
            Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of ``avvp_pl.train``, in main memory; :class:`InputError` on any other file."""
    checkpoint = _load(path)
    for name, kind in CONTENTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise _foreign(path, f"it has no {name}")
    return checkpoint


def _load(path: Path) -> dict[str, Any]:
    """A dictionary of plain data, in main memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare checksums
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such checkpoint") from None
    except pickle.UnpicklingError:  # torch would advise to unpickle it all the same
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
    """Let the state of a callback that saves checkpoints be that of a run whose folder is, and always was, here.

    Of a folder that was moved, Lightning would forget which score was the best so far; and it removes what it believes
    to be an older checkpoint, wherever a path in the state points.
    """

    def here(path: Any) -> str:
        name = str(path).rpartition("/")[2]
        return str(folder / name) if FILE_NAME.fullmatch(name) else ""

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state.get(key))
    state["best_k_models"] = {here(path): score for path, score in dict(state.get("best_k_models", {})).items()}
    state["dirpath"] = str(folder)


def _foreign(path: Path, reason: str) -> InputError:
    return InputError(f"{path.absolute()}: not a checkpoint of avvp_pl.train ({reason}); give another, or train anew")


def last_good(path: Path) -> str:
    """In words, what a training that failed can go on from."""
    try:
        epoch = read_checkpoint(path)["epoch"]
    except InputError:
        return "there is no checkpoint to go on from. Try a smaller optimizer.learning_rate"
    return (
        f"the last good checkpoint is {path} (epoch {epoch}). To go on from it otherwise: "
        f"resume={path} hydra.run.dir=ANOTHER, with a smaller optimizer.learning_rate for instance"
    )


def trained_config(
    checkpoint: Mapping[str, Any], path: Path, replaced: Mapping[str, DictConfig], trust: Sequence[str] = ()
) -> DictConfig:
    """Return the configuration in a checkpoint, with some groups ``replaced``, without those of the run that wrote it.

    What its trainer says about the training is kept as ``trainer``: to be told, not to be built. Raises
    :class:`InputError` where the configuration would build anything but parts of this package, or of the packages in
    ``trust``, or refers to anything outside itself, such as the environment.
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
    """Raise :class:`InputError` where the configuration in a file would build anything that is not trusted.

    Trusted are the parts, networks and data readers of this package, and everything in the packages that the user names in
    ``trust``. A configuration that refers to anything outside itself, such as the environment, is refused as well.
    """
    for key, value in leaves(dict(config)):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{path}: its configuration refers to something outside it ({key}={value}): do not trust it"
            )
        if key.rpartition(".")[2] == "_target_" and not key.startswith(TOLD) and not _may_build(key, value, trust):
            package = str(value).partition(".")[0]
            can_be_trusted = package.isidentifier() and package not in {"avvp_pl", *trust}
            hint = f"; if you trust the package {package}, give trust=[{package}]" if can_be_trusted else ""
            raise InputError(
                f"{path}: its configuration would build {value} as {key}, which avvp_pl does not trust{hint}"
            )


def packages_outside(config: Mapping[str, Any]) -> list[str]:
    """Return the packages outside this one that the configuration of a run builds parts from."""
    targets = (
        str(value)
        for key, value in leaves(dict(config))
        if key.rpartition(".")[2] == "_target_" and any(key.startswith(place) for place in BUILT)
    )
    packages = dict.fromkeys(target.partition(".")[0] for target in targets)
    return [package for package in packages if package != "avvp_pl"]


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested containers, with its full name."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{key}[{number}]")
    else:
        yield key, value


def _may_build(key: str, target: Any, trust: Sequence[str]) -> bool:
    """Return whether ``target`` is of the kind that has its place at ``key``, and defined where it may be.

    A name such as ``avvp_pl.files.os.system`` only passes through this package. Nothing of a package that is not trusted
    is imported.
    """
    module, _, name = str(target).rpartition(".")
    package = module.partition(".")[0]
    places = [place for place in BUILT if key.startswith(place)]
    if package not in {"avvp_pl", *trust} or not places:
        return False
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return False
    home, kind = getattr(found, "__module__", ""), BUILT[places[0]]
    if home.partition(".")[0] != package:
        return False
    if package != "avvp_pl":
        return callable(found)
    if kind is None:
        return inspect.isfunction(found) and home.startswith("avvp_pl.data.")
    return inspect.isclass(found) and issubclass(found, kind)


def check_data(videos: ParsingSet, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`InputError` where a checkpoint was trained on other events or streams."""
    if list(videos.events) != checkpoint["events"]:
        raise InputError(
            f"{path} was trained on {len(checkpoint['events'])} events that are not those of the data "
            f"({len(videos.events)}); give the data of the same events in the same order (data/classes.txt)"
        )
    if videos.streams != checkpoint["streams"]:
        raise InputError(f"{path} was trained on the streams {checkpoint['streams']}, the data has {videos.streams}")


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Load the weights of a checkpoint; :class:`InputError` where they are of another network.

    Weights whose names start with one of ``new`` are those of parts that were replaced: they stay as they are.
    """
    check_weights(module, checkpoint, path, new)
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if not str(name).startswith(new)}
    module.load_state_dict(weights, strict=not new)


def part_of(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the weights whose names start with ``prefix``, without it, in the form that :func:`load_weights` takes."""
    weights = {str(name): weight for name, weight in checkpoint["state_dict"].items()}
    return {"state_dict": {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}}


def check_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Raise :class:`InputError` where the weights of a checkpoint do not fit: one is missing, unknown or misshapen."""
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
    """What a run would go on with that is not as it was, and decides what it computes: ``key: old, now new``."""
    old, new = (
        {key: value for key, value in leaves(dict(config)) if not FREE.fullmatch(key)} for config in (before, now)
    )
    return [
        f"{key}: {old.get(key, 'not there')}, now {new.get(key, 'not there')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
