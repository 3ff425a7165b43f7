"""From a configuration to objects: the only place that knows both."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, ListConfig

from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, quote
from avvp_pl.methods.ppl import PPL
from avvp_pl.processes.randomness import reseed
from avvp_pl.runs.checkpoints import (
    CheckpointFiles,
    check_data,
    load_weights,
    network_of,
    read_checkpoint,
    trained_config,
)
from avvp_pl.settings.limits import INFERENCES
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import ParsingNetwork

THREADS = torch.get_num_threads()  # what torch likes: the job before may have set another number


def prepare_process(cfg: DictConfig) -> None:
    """Seed everything, set the number of threads, and silence what is noise on every run."""
    reseed(cfg.seed)
    torch.set_num_threads(cfg.threads or THREADS)
    for message in ("does not have many workers", "LeafSpec", "module\\(s\\) in eval mode", "sync_dist=True"):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    for noisy in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:  # of several processes one speaks; all may complain
        handler.addFilter(_speaks)


def _speaks(record: logging.LogRecord) -> bool:
    first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    return first or record.levelno >= logging.ERROR


def build_videos(
    cfg: DictConfig, splits: Collection[str] = ("train", "val", "test"), truth_required: bool = True
) -> ParsingSet:
    """The wanted splits of the data set ``cfg.data``."""
    videos: ParsingSet = instantiate(
        cfg.data.source, splits=list(splits), truth_required=truth_required, _convert_="all"
    )
    return videos


def build_data(cfg: DictConfig, videos: ParsingSet) -> ParsingData:
    """Loaders of these videos."""
    return ParsingData(videos, cfg.data.batch_size, cfg.data.eval_batch_size, cfg.seed)


def build_network(cfg: DictConfig, videos: ParsingSet) -> ParsingNetwork:
    """The network ``cfg.network``, sized for these videos."""
    torch.manual_seed(cfg.seed)  # the same start whatever the data drew before
    network: ParsingNetwork = instantiate(
        cfg.network,
        modalities={name: list(streams) for name, streams in videos.modalities.items()},
        stream_dims=videos.stream_dims,
        num_events=len(videos.events),
        _convert_="all",
    )
    return network


def build_method(cfg: DictConfig, videos: ParsingSet, network: ParsingNetwork | None = None) -> ParsingModule:
    """The method ``cfg.method`` around ``network``, or around a new one as ``cfg.network`` says."""
    method: ParsingModule = instantiate(
        cfg.method,
        network=build_network(cfg, videos) if network is None else network,
        modalities=list(videos.modalities),
        events=list(videos.events),
        _convert_="all",
    )
    return method


def speed_up(cfg: DictConfig, method: ParsingModule) -> None:
    """Set the precision of matrix products, and compile the trained network if asked to."""
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    if cfg.compile is not None:
        method.network.compile(**cfg.compile)


def build_trainer(cfg: DictConfig, *more: pl.Callback) -> pl.Trainer:
    """The trainer with the configured callbacks and loggers; a progress bar where someone can see it."""
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None] + [*more]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    loggers = [instantiate(logger, _convert_="all") for logger in cfg.logger.values() if logger is not None]
    plugins = [*(instantiate(cfg.trainer.get("plugins")) or []), CheckpointFiles()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():  # torchrun may run inside SLURM
        # Lightning's own way to queue a job again would save a checkpoint of another kind
        plugins.append(SLURMEnvironment(auto_requeue=False))
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        plugins=plugins,
        logger=loggers or False,
        enable_progress_bar=sys.stdout.isatty(),
    )
    _refuse_ddp_in_sweep(trainer)
    return trainer


def _refuse_ddp_in_sweep(trainer: pl.Trainer) -> None:
    """Lightning would start its other processes with the command line of the whole sweep."""
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep and trainer.world_size > 1 and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        raise InputError(
            "trainer=ddp cannot start processes inside a sweep; give each job one (trainer=default), start them by "
            "fork on CPUs (+trainer.strategy.start_method=fork), or leave it to SLURM (docs/cluster.md)"
        )


class BestEpoch(NamedTuple):
    """The checkpoint of the best epoch by validation, and its score; None where none was selected."""

    path: str | None
    score: float | None


def best_epoch(trainer: pl.Trainer) -> BestEpoch:
    """What the trainer has selected, in whichever process it did."""
    found = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
    best = next(found, None)
    if best is None:
        return BestEpoch(None, None)
    score = best.best_model_score
    if score is None and best.best_model_path:  # forked processes hand back the path only
        score = read_checkpoint(Path(best.best_model_path))["callbacks"][best.state_key]["best_model_score"]
    return BestEpoch(best.best_model_path or None, None if score is None else float(score))


class Restored(NamedTuple):
    """A method with the weights of a checkpoint, the videos that it is for, and the configuration of both.

    ``inferences`` are what it is asked to parse by, one after the other.
    """

    config: DictConfig
    videos: ParsingSet
    method: ParsingModule
    inferences: tuple[str, ...]


def restore(cfg: DictConfig, splits: Collection[str], truth_required: bool, several: bool = False) -> Restored:
    """The method of ``cfg.checkpoint``, on ``cfg.data`` or, where that is not given, the data of its training.

    Where ``cfg.method`` is given, it is that method around the checkpoint's network; if it is then to parse by
    prototypes, which it does not have yet, the training videos are among the splits. :class:`InputError` where
    ``cfg.inference`` is not for this method, or a list unless ``several`` are wanted.
    """
    path = Path(cfg.checkpoint)
    checkpoint = read_checkpoint(path)
    config = trained_config(checkpoint, path, {} if cfg.data is None else {"data": cfg.data})
    other = cfg.get("method")
    if other is not None:
        config.trained_method = {name: part for name, part in config.method.items() if name != "seed"}
        config.method = other
    inferences = _inferences(cfg.inference, config, several)
    if "inference" in config.method:
        config.method.inference = inferences[0]
    by_prototypes = any(inference != "classifier" for inference in inferences)
    if other is not None and by_prototypes:
        splits = dict.fromkeys(("train", *splits))
    videos = build_videos(config, splits, truth_required)
    check_data(videos, checkpoint, path)
    network = build_network(config, videos)
    if other is not None:
        load_weights(network, network_of(checkpoint), path)
    method = build_method(config, videos, network)
    if other is None:
        load_weights(method, checkpoint, path)
        if isinstance(method, PPL) and by_prototypes and not method.positive_mask.any():
            raise InputError(
                f"{cfg.checkpoint} has no prototypes: its epoch came before method.start_epoch={method.start_epoch}; "
                "give inference=classifier, or a checkpoint of a later epoch"
            )
    return Restored(config, videos, method, inferences)


def _inferences(asked: str | ListConfig | None, config: DictConfig, several: bool) -> tuple[str, ...]:
    """What a method with this configuration is to parse by."""
    if asked is None:
        trained = config.method.get("inference", ParsingModule.inference)
        if trained not in INFERENCES:
            raise InputError(f"method.inference={quote(str(trained))} in the checkpoint: it must be {INFERENCES}")
        return (trained,)
    words = (asked,) if isinstance(asked, str) else tuple(asked)
    if len(words) > 1 and not several:
        raise InputError(f"inference=[{','.join(words)}]: it must be one of these; evaluate takes several")
    for word in words:
        if word != ParsingModule.inference and "inference" not in config.method:
            name = config.method._target_.rpartition(".")[2]
            raise InputError(
                f"inference={word}: {name} has no prototypes; PPL has, and evaluate with method=ppl makes them from "
                "the training data"
            )
    return words
