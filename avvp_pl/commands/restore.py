"""From a checkpoint to a module that can be tested, and the data for its test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.build import INFERENCE_NAME, build_model, build_network, build_videos
from avvp_pl.data.annotations import read_list
from avvp_pl.data.videos import ParsingSet
from avvp_pl.data.windows import cutting_of
from avvp_pl.errors import InputError
from avvp_pl.runs.checkpoints import (
    check_data,
    is_complete,
    laid_over,
    load_weights,
    part_of,
    read_checkpoint,
    tested_weights,
    trained_config,
    trained_lengths,
    trained_on,
)
from avvp_pl.runs.reading import active_inferences
from avvp_pl.settings.check import check_names
from avvp_pl.training.module import ParsingModule

# the groups that can be replaced in a test, each with the start of the names of its weights
REPLACEABLE = {"data": None, "labeling": "labeling.", "inference": "inferences.", "protocol": "decision."}


class Restored(NamedTuple):
    """A module with the weights of a checkpoint, the videos for its test, and the configuration of both.

    ``lengths`` are the numbers of segments of the shortest and the longest training video, if they are known.
    """

    config: DictConfig
    videos: ParsingSet
    model: ParsingModule
    lengths: tuple[int, int] | None


def restore(
    cfg: DictConfig,
    splits: Collection[str],
    truth_required: bool,
    extracted: Callable[[ParsingSet], ParsingSet] | None = None,
) -> Restored:
    """Restore the module in ``cfg.checkpoint``, with the data, labeling, inference and protocol that ``cfg`` gives.

    Groups that ``cfg`` does not give are those of the training, and single settings of the data are laid over those of
    the training. ``cfg.names`` is a list of videos in place of the tables of the data. In place of the data,
    ``extracted`` may read videos, once it is known that there is a model for them: it is given the events, modalities,
    streams and extractors of the training, in a set without videos. With another labeling, only the network of the
    checkpoint is used. The videos include the splits to which an inference has still to be fitted, such
    as the training videos from which prototypes are built. ``trained_inference`` of the configuration names the
    inference by which the training selected its best epoch. Raises :class:`InputError` if an inference is not possible.
    """
    if cfg.checkpoint is None:
        raise InputError("checkpoint=null: give a checkpoint file that train has written")
    path = Path(cfg.checkpoint)
    checkpoint = read_checkpoint(path)
    replaced = {group: cfg[group] for group in REPLACEABLE if cfg.get(group) is not None}
    single = None if is_complete(cfg.get("data")) else replaced.pop("data", None)
    config = trained_config(checkpoint, path, replaced, cfg.trust)
    config.data = laid_over(config.data, single, path)
    config.trained_inference = _validated_by(checkpoint["config"].get("inference"))
    if "labeling" in replaced:
        trained = checkpoint["config"].get("labeling") or {}
        config.trained_labeling = {name: part for name, part in trained.items() if name != "seed"}
    if extracted is not None:
        known = trained_on(checkpoint, path, float(config.data.get("segment_seconds", 1.0)))
        _check_names(cfg, known)
        model = restored_model(config, known, checkpoint, path, replaced)
        lengths = trained_lengths(checkpoint, path)
        cutting_of(
            cfg.window, cfg.overlap, lengths, model.network.longest
        )  # better known now than after the extraction
        return Restored(config, _with_splits_to_fit(config, extracted(known), model), model, lengths)
    listed = cfg.get("names")
    videos = build_videos(config, splits, truth_required, checkpoint["events"], listed)
    check_data(videos, checkpoint, path)
    _check_names(cfg, videos)
    if listed is not None and any(set(split.names) != set(read_list(Path(listed))) for split in videos.splits.values()):
        raise InputError(f"names={listed}: {config.data.source._target_} does not take a list of videos")
    model = restored_model(config, videos, checkpoint, path, replaced)
    videos = _with_splits_to_fit(config, videos, model)
    return Restored(config, videos, model, trained_lengths(checkpoint, path))


def restored_model(
    config: DictConfig, videos: ParsingSet, checkpoint: Mapping[str, Any], path: Path, replaced: Collection[str]
) -> ParsingModule:
    """Return the module that ``config`` describes, with the weights of a checkpoint.

    ``videos`` give the events, modalities and streams; there may be none. Groups that are ``replaced`` keep the weights
    that they are built with.
    """
    network = build_network(config, videos)
    load_weights(network, part_of(checkpoint, "network."), path)
    try:
        model = build_model(config, videos, network, trained=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    new = tuple(prefix for group, prefix in REPLACEABLE.items() if group in replaced and prefix is not None)
    load_weights(model, {**checkpoint, "state_dict": tested_weights(checkpoint)}, path, new=new)
    model.test_epoch_of(checkpoint)
    return model


def _check_names(cfg: DictConfig, videos: ParsingSet) -> None:
    """Refuse modalities that these videos do not have, in what ``cfg`` gives beside the checkpoint."""
    groups = {group: cfg[group] for group in (*REPLACEABLE, "refinement") if cfg.get(group) is not None}
    modalities = {name: list(streams) for name, streams in videos.modalities.items()}
    check_names(cast("DictConfig", OmegaConf.merge({}, groups, {"data": {"modalities": modalities}})))


def _validated_by(inferences: Any) -> str | None:
    """Return the first inference of a training, from its configuration; None where that has no proper name."""
    active = active_inferences(inferences) if isinstance(inferences, dict) else []
    return active[0] if active and INFERENCE_NAME.fullmatch(active[0]) else None


def _with_splits_to_fit(config: DictConfig, videos: ParsingSet, model: ParsingModule) -> ParsingSet:
    """Add the splits to which inferences are fitted."""
    needed = {split for inference in model.inferences for split in model.needs_of(inference)}
    missing = sorted(needed - set(videos.splits))
    if not missing:
        return videos
    read = build_videos(config, missing, "val" in missing)
    return replace(videos, **{split: read.splits[split] for split in missing})  # type: ignore[arg-type]
