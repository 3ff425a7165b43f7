"""From a configuration to objects. This is the only place that knows both."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from avvp_pl.commands.launching import started_by
from avvp_pl.commands.objects import build
from avvp_pl.data.module import ParsingData
from avvp_pl.data.order import BatchOrder
from avvp_pl.data.proposals import with_proposals
from avvp_pl.data.sampling import SegmentSampling
from avvp_pl.data.videos import ParsingSet
from avvp_pl.data.windows import WHOLE, Cutting
from avvp_pl.errors import InputError, quote
from avvp_pl.parts import Decision, Inference, Labeling, Method
from avvp_pl.processes.memory import keep_freed_memory
from avvp_pl.processes.randomness import reseed
from avvp_pl.runs.checkpoints import CheckpointFiles, read_checkpoint
from avvp_pl.runs.loggers import EpochCSVLogger, Guarded, warn_of_failure
from avvp_pl.runs.own_folder import OwnFolder
from avvp_pl.tasks.task import Task
from avvp_pl.training.callbacks import in_order
from avvp_pl.training.callbacks.best_epoch import BestEpoch
from avvp_pl.training.module import ParsingModule
from avvp_pl.training.optimization import Optimization
from avvp_pl.types import ParsingNetwork

INFERENCE_NAME = re.compile(r"\w[\w-]*")  # each of several inferences has a folder of its name
# errors of what is built that are due to its settings
OF_SETTINGS = (ImportError, TypeError, ValueError, AttributeError, InputError, MisconfigurationException)
THREADS = torch.get_num_threads()  # torch's own choice: an earlier job in this process may set another number


def prepare_process(cfg: DictConfig) -> None:
    """Seed all generators, set the number of threads, keep freed memory, and silence messages that appear in every run.

    Find out which process of its run this one is: at its import, Lightning has only guessed that.
    """
    reseed(cfg.seed)
    torch.set_num_threads(cfg.threads or THREADS)
    keep_freed_memory()
    for message in (
        "does not have many workers",
        "Total length of `list`",  # there may be no validation videos
        "LeafSpec",
        "module\\(s\\) in eval mode",
        "sync_dist=True",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    for noisy in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    processes = next(plugin for plugin in _plugins(cfg) if isinstance(plugin, ClusterEnvironment))
    if OwnFolder.is_new and (processes.creates_processes_externally or cfg.trainer.get("num_nodes", 1) > 1):
        raise InputError(
            "the processes of this run must have one folder, and not one by the time of each: hydra.run.dir=DIR"
        )
    for handler in logging.getLogger().handlers:  # of several processes only the first one logs; all may log errors
        handler.addFilter(_is_logged)


def _is_logged(record: logging.LogRecord) -> bool:
    first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    return first or record.levelno >= logging.ERROR


def build_videos(
    cfg: DictConfig,
    splits: Collection[str] = ("train", "val", "test"),
    truth_required: bool = True,
    events: Sequence[str] | None = None,
    names: str | None = None,
) -> ParsingSet:
    """Return the wanted splits of the data set ``cfg.data``.

    ``events`` are those of a checkpoint, for data that does not name its own, and ``names`` is a file with the names
    of the videos to parse. Raises :class:`InputError` if a split that is scored has no truth, unless ``truth_required``
    is false.
    """
    given = {"splits": list(splits), "truth_required": truth_required, "events": events, "names": names}
    videos = build("data.source", cfg.data.source, ParsingSet, given)
    for name, split in videos.splits.items():
        if truth_required and name != "train" and split.truth is None:
            raise InputError(
                f"data.source: the {name} videos have no truth, the annotation of their segments, which is needed to "
                "score them"
            )
    file = cfg.data.get("proposals")
    return videos if file is None else with_proposals(videos, Path(file))


def build_data(cfg: DictConfig, videos: ParsingSet, predicted: str = "test", cutting: Cutting = WHOLE) -> ParsingData:
    """Return the loaders of these videos; ``predicted`` is the split that ``predict`` parses, in such windows."""
    data = cfg.data
    resident = data.get("resident", "auto")
    sampling = order = None
    if data.get("sampling") is not None:
        sampling = build("data.sampling", data.sampling, SegmentSampling)
        if data.get("proposals") is not None:
            raise InputError(
                "data.sampling: a network that is told proposals needs whole videos, of which it takes samples itself; "
                "give data.sampling=null"
            )
    if data.get("order") is not None:
        order = build("data.order", data.order, BatchOrder)
    sizes = data.batch_size, data.eval_batch_size
    return ParsingData(videos, *sizes, cfg.seed, resident, predicted, sampling, order, cutting)


def build_network(cfg: DictConfig, videos: ParsingSet) -> ParsingNetwork:
    """Return the network ``cfg.network``, with the sizes that these videos need."""
    torch.manual_seed(cfg.seed)  # the same weights whatever the data drew before
    given = {
        "modalities": {name: list(streams) for name, streams in videos.modalities.items()},
        "stream_dims": videos.stream_dims,
        "num_events": len(videos.events),
    }
    return build("network", cfg.network, ParsingNetwork, given)


def build_model(
    cfg: DictConfig, videos: ParsingSet, network: ParsingNetwork | None = None, trained: bool = True
) -> ParsingModule:
    """Return the module that ``cfg`` describes, around ``network`` or a new network.

    Of ``network``, ``modalities`` and ``events``, each part is given those that its constructor has as arguments, and
    an inference also the ``decision``; parts inside it are given no network. If not ``trained``, the module has no
    optimizer and can only be tested.
    """
    if network is None:
        network = build_network(cfg, videos)
    words = {"modalities": list(videos.modalities), "events": list(videos.events)}
    given = {"network": network, **words}
    of_time = {**given, "segment_seconds": videos.segment_seconds}
    decision = build("protocol.decision", cfg.protocol.decision, Decision, of_time, words)
    inferences = {
        str(name): build(f"inference.{name}", node, Inference, {**given, "decision": decision}, words)
        for name, node in cfg.inference.items()
        if node is not None
    }
    if not inferences:
        raise InputError("inference: give at least one, such as inference=classifier")
    for name in inferences:
        if not INFERENCE_NAME.fullmatch(name):
            raise InputError(f"the name of an inference is {quote(name)}; it must consist of letters, digits, _ and -")
    task = build("protocol.task", cfg.protocol.task, Task)
    task.check(videos)
    return ParsingModule(
        network=network,
        method=build("method", cfg.method, Method, given, words),
        labeling=build("labeling", cfg.labeling, Labeling, given, words),
        inferences=inferences,
        decision=decision,
        optimization=build("optimizer", cfg.optimizer, Optimization) if trained else None,
        task=task,
        modalities=words["modalities"],
        events=words["events"],
        protocol=str(cfg.protocol.name),
    )


def speed_up(cfg: DictConfig, model: ParsingModule) -> None:
    """Set the precision of matrix products, and compile the network if ``cfg.compile`` is given."""
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    if cfg.compile is not None:
        model.network.compile(**cfg.compile)


def build_loggers(cfg: DictConfig) -> list[Logger]:
    """Return the loggers of a run, of which none but ``metrics.csv`` can harm it.

    One that cannot be built is left out with a warning, such as one whose server does not answer. Settings that are
    wrong, and a package that is not installed, are errors.
    """
    loggers: list[Logger] = []
    for key, node in cfg.logger.items():
        if node is None:
            continue
        try:
            logger: Logger = instantiate(node, _convert_="all")
        except InstantiationException as error:
            if error.__cause__ is None or isinstance(error.__cause__, OF_SETTINGS):
                raise
            warn_of_failure(str(key), error.__cause__)
            continue
        loggers.append(logger if isinstance(logger, EpochCSVLogger) else cast("Logger", Guarded(str(key), logger)))
    return loggers


def build_trainer(cfg: DictConfig, *more: pl.Callback) -> pl.Trainer:
    """Return the trainer with the configured callbacks and loggers, and with a progress bar in a terminal."""
    for name, instead in (("logger", "logger=csv"), ("callbacks", "+callbacks.NAME={_target_: CLASS}")):
        if name in cfg.trainer:
            raise InputError(f"trainer.{name}: it would have no effect; give {instead}")
    shows_progress = cfg.trainer.get("enable_progress_bar", sys.stdout.isatty())
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None] + [*more]
    if shows_progress:
        callbacks.append(RichProgressBar(leave=False))
    loggers = build_loggers(cfg)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=in_order(callbacks),
        plugins=[*_plugins(cfg), CheckpointFiles()],
        logger=loggers or False,
        enable_progress_bar=shows_progress,
    )
    _refuse_ddp_in_sweep(trainer)
    return trainer


def _plugins(cfg: DictConfig) -> list[Any]:
    """Return the plugins of the trainer, with what has started the processes of this run (which Lightning guesses)."""
    plugins = list(instantiate(cfg.trainer.get("plugins")) or [])
    given = next((plugin for plugin in plugins if isinstance(plugin, ClusterEnvironment)), None)
    with warnings.catch_warnings():  # the real trainer warns again
        warnings.simplefilter("ignore")
        environment = given or LightningEnvironment()
        others = [plugin for plugin in plugins if plugin is not given]
        trainer: pl.Trainer = instantiate(cfg.trainer, plugins=[*others, environment], logger=False)
    if given is not None:
        rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
        return plugins
    return [*plugins, started_by(trainer.num_devices, trainer.num_nodes)]


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _refuse_ddp_in_sweep(trainer: pl.Trainer) -> None:
    """Refuse to start processes by their command, because Lightning would start the whole sweep in each of them."""
    launcher = trainer.strategy.launcher
    starts = isinstance(launcher, _SubprocessScriptLauncher) and not (
        launcher.cluster_environment.creates_processes_externally
    )
    if _in_sweep() and trainer.world_size > 1 and starts:
        raise InputError(
            "trainer=ddp cannot start processes inside a sweep; run each job in one process (trainer=default), fork "
            "the processes on CPUs (+trainer.strategy.start_method=fork), or let SLURM start them (docs/cluster.md)"
        )


def refuse_search_without_score(cfg: DictConfig) -> None:
    """Refuse a job of a search, such as ``+sweep=optuna``, in which no epoch has a score that could be searched for."""
    if not _in_sweep():
        return
    sweeper = str(HydraConfig.get().sweeper.get("_target_"))
    if not sweeper.endswith(".BasicSweeper") and cfg.protocol.selection.monitor is None:
        raise InputError(
            "protocol.selection.monitor=null: a search looks for the settings with the best monitored score, and there "
            "is none; name a score, such as val/segment/type_av"
        )
    mode, direction = cfg.protocol.selection.mode, str(HydraConfig.get().sweeper.get("direction", "maximize"))
    wanted = "minimize" if mode == "min" else "maximize"
    if not sweeper.endswith(".BasicSweeper") and not direction.endswith(wanted):
        raise InputError(
            f"hydra.sweeper.direction={direction}: it must be {wanted}, because protocol.selection.mode={mode} says "
            "which score is the best"
        )


class Selected(NamedTuple):
    """The checkpoint of the epoch that is tested, and its validation score; None if there is none."""

    path: str | None
    score: float | None


def selected_epoch(trainer: pl.Trainer) -> Selected:
    """Return the epoch that the trainer has selected, in whichever process it did.

    Raises :class:`InputError` if the training has ended before there was one.
    """
    best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, BestEpoch)), None)
    if best is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return Selected(None, None)
    if not best.best_model_path:
        raise InputError(
            "the training has ended before an epoch could be selected for the test; let it train longer "
            "(trainer.max_steps, trainer.max_time)"
        )
    score = best.best_model_score
    if score is None:  # forked processes return only the path
        score = read_checkpoint(Path(best.best_model_path))["callbacks"][best.state_key]["best_model_score"]
    return Selected(best.best_model_path, None if score is None else float(score))
