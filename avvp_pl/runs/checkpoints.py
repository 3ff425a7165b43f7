"""Checkpoint files: written completely or not at all, and read without trusting them.

A checkpoint is plain data: tensors, numbers and strings. Nothing in it is unpickled. What may be built from the
configuration in it is decided in :mod:`avvp_pl.runs.trust`.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from avvp_pl import __version__
from avvp_pl.data.known import name_of
from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, nearest
from avvp_pl.files import atomic_write_bytes
from avvp_pl.runs.trust import check_built
from avvp_pl.settings.identity import OF_THE_RUN, OF_TRAINING
from avvp_pl.video.manifest import check_same

# The entries of a checkpoint that are needed, and the type of each
CONTENTS = {
    "config": dict,
    "events": list,
    "streams": list,
    "state_dict": dict,
    "callbacks": dict,
    "losses": dict,
    "progress": dict,
    "digests": dict,
    "train_videos": str,
    "epoch": int,
    "global_step": int,
}
# entries that checkpoints of earlier versions do not have
LENGTHS = "lengths"  # the numbers of segments of the shortest and the longest training video
EXTRACTORS = "extractors"  # of the streams whose features came with a manifest
FITTED = "fitted"  # an entry that a checkpoint has after its test, if an inference was fitted for it
NEEDED = (
    "network._target_",
    "data.source._target_",
    "method._target_",
    "labeling._target_",
    "inference",
    "protocol.name",
)

log = logging.getLogger(__name__)

FILE_NAME = re.compile(r"[\w=-][\w.=-]*\.ckpt")


class CheckpointFiles(TorchCheckpointIO):
    """Writes and reads checkpoints for Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file, or raise :class:`InputError` and leave it unchanged.

        Lightning would copy a temporary file from elsewhere, and a kill can interrupt the copying.
        """
        try:
            with atomic_write_bytes(Path(path)) as file:
                _write(checkpoint, file)
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
    if not isinstance(checkpoint.get(FITTED, {}), dict):
        raise _foreign(path, f"its {FITTED} is damaged")
    return checkpoint


def add_fitted(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Add to a checkpoint what is no longer as it was trained, because inferences were fitted before the test.

    It is kept apart from the trained weights, with which a training is resumed. ``weights`` are those of the whole
    module.
    """
    checkpoint = read_checkpoint(path)
    trained = checkpoint["state_dict"]
    new = {name: weight.cpu() for name, weight in weights.items() if not torch.equal(weight.cpu(), trained[name])}
    CheckpointFiles().save_checkpoint({**checkpoint, FITTED: new}, path)


def tested_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights for a test: those of the training, and what the inferences were fitted to."""
    return {**checkpoint["state_dict"], **checkpoint.get(FITTED, {})}


def stopped_inside_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was saved in the middle of an epoch."""
    progress = checkpoint.get(ParsingData.__qualname__)
    return isinstance(progress, dict) and bool(progress.get("batches"))


def _write(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint; raise what goes wrong, which torch replaces by a RuntimeError about the place in the file."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        raise error.__context__ or error from None


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


def is_complete(data: DictConfig | None) -> bool:
    """Return whether these are all settings of a data set, and not single ones to be laid over those of a training."""
    return data is not None and OmegaConf.select(data, "source._target_") is not None


def laid_over(trained: DictConfig, given: DictConfig | None, path: Path) -> DictConfig:
    """Return the data settings of the training in ``path`` with the settings ``given`` in place of its own.

    An argument of ``data.source`` that has the value of a setting of its name changes with it. With another
    ``data.root``, everything inside the old folder is looked for in the new one, and a packed store outside it is not
    used, because it has the features of the old folder. The data has then the name of the new folder. Raises
    :class:`InputError` for a setting that is not there.
    """
    if given is None:
        return trained
    data: Any = OmegaConf.to_container(trained, resolve=True)
    new: Any = OmegaConf.to_container(given, resolve=True)
    for name in new:
        if name not in data:
            raise InputError(f"there is no setting 'data.{name}' in the data of {path}.{nearest(name, data)}")
    source = data["source"]
    if "root" in new:
        old = str(data["root"])
        for settings in (data, source):
            if settings.get("packed") is not None and not str(settings["packed"]).startswith(f"{old}/"):
                settings["packed"] = None
            for name, value in settings.items():
                if isinstance(value, str) and name != "name" and f"{value}/".startswith(f"{old}/"):
                    settings[name] = new["root"] + value[len(old) :]
        data["name"] = name_of(new["root"])
    if "modalities" in new:
        data["modalities"] = {}
    changed: Any = OmegaConf.merge(data, new)
    for name in set(new) & set(source):
        if source[name] == trained[name]:
            changed.source[name] = changed[name]
    return changed  # type: ignore[no-any-return]


def check_data(videos: ParsingSet, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`InputError` if a checkpoint was trained on other events or streams."""
    if list(videos.events) != checkpoint["events"]:
        raise InputError(
            f"{path} was trained on {len(checkpoint['events'])} events that are not those of the data "
            f"({len(videos.events)}); give the data of the same events in the same order (data/classes.txt)"
        )
    if videos.streams != checkpoint["streams"]:
        raise InputError(f"{path} was trained on the streams {checkpoint['streams']}, the data has {videos.streams}")
    check_extractors(videos.extractors, trained_extractors(checkpoint, path), path)


def check_extractors(
    made: Mapping[str, Mapping[str, Any]], trained: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    """Raise :class:`InputError` if features were ``made`` by other extractors than those of a training.

    Both have the entries of a manifest, by stream. A stream of which only one of them knows its extractor cannot be
    compared, which is logged.
    """
    wanted, found = ({stream: entry["identity"] for stream, entry in known.items()} for known in (trained, made))
    advice = "give features of the extractors of the training, or train again"
    check_same(wanted, found, f"the training of {path}", "the data", advice)
    if unknown := [stream for stream in trained if stream not in made]:
        log.warning(
            "the extractors of the features (%s) are not known, as they have no feats/manifest.json, so nothing could "
            "be compared with those of the training",
            ", ".join(unknown),
        )
    if unknown := [stream for stream in made if stream not in trained]:
        log.warning(
            "%s does not know by which extractors the features of its training were made (%s), so nothing could be "
            "compared with those of the data",
            path,
            ", ".join(unknown),
        )


def trained_on(checkpoint: Mapping[str, Any], path: Path, segment_seconds: float) -> ParsingSet:
    """Return the events, modalities and streams of the training that wrote a checkpoint, without any videos."""
    try:
        layers = [(str(name), streams) for name, *streams in checkpoint["streams"]]
        modalities = {name: tuple(str(stream) for stream, _ in streams) for name, streams in layers}
        dims = {str(stream): int(dim) for _, streams in layers for stream, dim in streams}
        nothing = {stream: torch.zeros(0, dim) for stream, dim in dims.items()}
    except (TypeError, ValueError, RuntimeError):
        raise _foreign(path, "its streams are damaged") from None
    events = tuple(map(str, checkpoint["events"]))
    none = VideoSet((), torch.zeros(0, dtype=torch.long), nothing, torch.zeros(0, len(events)))
    made = trained_extractors(checkpoint, path)
    return ParsingSet(events, modalities, None, None, none, segment_seconds=segment_seconds, extractors=made)


def trained_extractors(checkpoint: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of the manifest of the training's features, by stream; none where it had no manifest."""
    entries = checkpoint.get(EXTRACTORS, {})
    if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
        raise _foreign(path, f"its {EXTRACTORS} are damaged")
    return entries


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), dict) for name in ("identity", "settings"))


def facts_of(
    checkpoint: str | Path, made: Mapping[str, Mapping[str, Any]], protocol: str, inference: str
) -> dict[str, str | int | float | None]:
    """Return by what videos are parsed, as files of timelines say it: this version, the checkpoint, and how it is used.

    ``made`` are the entries of the extractors of the training.
    """
    path = Path(checkpoint)
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    facts: dict[str, str | int | float | None] = {
        "avvp_pl": __version__,
        "checkpoint": path.name,
        "checkpoint_sha256": checksum,
        "protocol": protocol,
        "inference": inference,
    }
    for stream, entry in made.items():
        facts |= {f"{stream}.{key}": value for key, value in entry["identity"].items() if key != "extractor"}
    return facts


def trained_lengths(checkpoint: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """Return the numbers of segments of the shortest and the longest training video of a checkpoint.

    A checkpoint that does not say was trained on a folder in LLP layout with videos of ``data.segments``, or (None) on
    videos of unknown lengths.
    """
    if LENGTHS in checkpoint:
        lengths = checkpoint[LENGTHS]
    else:
        data = checkpoint["config"].get("data")
        segments = data.get("segments") if isinstance(data, dict) else None
        lengths = None if segments is None else [segments, segments]
    if lengths is None:
        return None
    if not (isinstance(lengths, list) and len(lengths) == 2 and all(type(length) is int for length in lengths)):
        raise _foreign(path, f"its {LENGTHS} are damaged")
    return lengths[0], lengths[1]


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
