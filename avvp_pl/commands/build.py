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
from omegaconf import DictConfig

from avvp_pl.commands.objects import build
from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.parts import Decision, Inference, Labeling, Method
from avvp_pl.processes.randomness import reseed
from avvp_pl.runs.checkpoints import CheckpointFiles, read_checkpoint
from avvp_pl.tasks.parsing import ParsingTask
from avvp_pl.training.callbacks import in_order
from avvp_pl.training.module import ParsingModule
from avvp_pl.training.optimization import Optimization
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
    """Return the wanted splits of the data set ``cfg.data``."""
    given = {"splits": list(splits), "truth_required": truth_required}
    return build("data.source", cfg.data.source, ParsingSet, given)


def build_data(cfg: DictConfig, videos: ParsingSet, predicted: str = "test") -> ParsingData:
    """Return loaders of these videos; ``predicted`` is the split that a prediction parses."""
    data = cfg.data
    resident = data.get("resident", "auto")
    return ParsingData(videos, data.batch_size, data.eval_batch_size, cfg.seed, resident, predicted)


def build_network(cfg: DictConfig, videos: ParsingSet) -> ParsingNetwork:
    """Return the network ``cfg.network``, sized for these videos."""
    torch.manual_seed(cfg.seed)  # the same start whatever the data drew before
    given = {
        "modalities": {name: list(streams) for name, streams in videos.modalities.items()},
        "stream_dims": videos.stream_dims,
        "num_events": len(videos.events),
    }
    return build("network", cfg.network, ParsingNetwork, given)


def build_model(
    cfg: DictConfig, videos: ParsingSet, network: ParsingNetwork | None = None, trained: bool = True
) -> ParsingModule:
    """Return the module that ``cfg`` composes around ``network``, or around a new one as ``cfg.network`` says.

    Each part is given those of ``network``, ``modalities`` and ``events`` that its constructor names, and parts inside
    it those of ``modalities`` and ``events``. Without ``trained`` the module has no optimizer: it can be tested only.
    """
    if network is None:
        network = build_network(cfg, videos)
    words = {"modalities": list(videos.modalities), "events": list(videos.events)}
    given = {"network": network, **words}
    inferences = {
        str(name): build(f"inference.{name}", node, Inference, given, words)
        for name, node in cfg.inference.items()
        if node is not None
    }
    if not inferences:
        raise InputError("inference: give one at least, such as inference=classifier")
    return ParsingModule(
        network=network,
        method=build("method", cfg.method, Method, given, words),
        labeling=build("labeling", cfg.labeling, Labeling, given, words),
        inferences=inferences,
        decision=build("protocol.decision", cfg.protocol.decision, Decision, given, words),
        optimization=build("optimizer", cfg.optimizer, Optimization) if trained else None,
        task=build("protocol.task", cfg.protocol.task, ParsingTask),
        modalities=words["modalities"],
        events=words["events"],
        protocol=str(cfg.protocol.name),
    )


def speed_up(cfg: DictConfig, model: ParsingModule) -> None:
    """Set the precision of matrix products, and compile the trained network if asked to."""
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    if cfg.compile is not None:
        model.network.compile(**cfg.compile)


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
        callbacks=in_order(callbacks),
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
