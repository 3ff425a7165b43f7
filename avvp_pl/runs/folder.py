"""The folder of a training run: begun once, then gone on with from its checkpoint, and never begun over.

And those of evaluations, which may be done again, but never in a training run's.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, read_rows, remove_unfinished
from avvp_pl.runs.checkpoints import changed_settings, check_data, check_weights, read_checkpoint
from avvp_pl.tasks.parsing import PREDICTIONS_FOLDER, SCORES_FILE
from avvp_pl.training.module import ParsingModule, digest

TABLES = ("metrics.csv", "timings.csv", "pseudo_labels.csv")

log = logging.getLogger(__name__)


class RunFolder:
    """What a run finds in ``paths.run_dir`` and, by ``resume``, begins with: nothing, or a checkpoint that fits it.

    While it is open, no other run can be in the folder. :class:`InputError` where one is, or where the folder holds one
    that would be overwritten, or the checkpoint is not one, or ``resume=auto`` would go on with other settings.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.path = Path(cfg.paths.run_dir)
        self.is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        self.checkpoint: Path | None = None
        self.content: dict[str, Any] | None = None
        self.lock = self._lock() if self.is_first else None
        try:
            self._look(cfg)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.close()

    def _look(self, cfg: DictConfig) -> None:
        self.resume = cfg.resume
        self.checkpoint = self._checkpoint(cfg.resume)
        if self.checkpoint is not None:
            self.content = read_checkpoint(self.checkpoint)
            self._compare(self.content["config"], cfg)
            self._check_length(self.content["epoch"], cfg)
            for name in TABLES:
                read_rows(self.path / name)  # a damaged one is refused now, and not after an epoch

    def begin(self, cfg: DictConfig) -> None:
        """Write ``config.yaml`` and let loggers go on with the run that the folder holds, if it does."""
        if self.content is not None and self._is_own(self.checkpoint):
            if cfg.logger.get("wandb"):
                cfg.logger.wandb.id = self.content.get("wandb_id")
            if cfg.logger.get("tensorboard"):
                cfg.logger.tensorboard.purge_step = self.content["global_step"] + 1
        if self.is_first:
            with atomic_write(self.path / "config.yaml") as file:
                file.write(OmegaConf.to_yaml(cfg, resolve=True))

    def check(self, model: ParsingModule, videos: ParsingSet) -> None:
        """Raise :class:`InputError` where the checkpoint is of other data or another network.

        If all is well, remove what earlier attempts left unfinished.
        """
        if self.checkpoint is not None and self.content is not None:
            check_data(videos, self.content, self.checkpoint)
            check_weights(model, self.content, self.checkpoint)
            self._check_train_videos(videos)
            self.content = None  # it is read again, into the trainer
        if self.is_first:
            for folder in (self.path, self.path / "checkpoints", self.path / "predictions"):
                remove_unfinished(folder)
            if self.checkpoint is None:  # killed before its first checkpoint, a run left nothing that still holds
                for name in TABLES:
                    (self.path / name).unlink(missing_ok=True)
            (self.path / SCORES_FILE).unlink(missing_ok=True)  # the run has not ended any more

    def _check_train_videos(self, videos: ParsingSet) -> None:
        """Refuse to pair what the checkpoint has for each training video with other videos."""
        assert self.content is not None
        assert videos.train is not None
        if self.content.get("train_videos") == digest(videos.train):
            return
        inside = dict(self.content.get("ParsingData") or {}).get("batches", 0)
        if inside or self.resume == "auto":
            where = " from the middle of an epoch" if inside else ""
            raise InputError(
                f"{self.checkpoint} was trained on other training videos than data.root now lists, so the run cannot be "
                f"resumed{where}; restore the tables, or start another run (hydra.run.dir)"
            )
        log.warning("%s was trained on other training videos than data.root now lists", self.checkpoint)

    def _lock(self) -> IO[bytes]:
        """Held until it is closed, or the process is killed."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("wb")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another hydra.run.dir") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InputError(f"{self.path}: another run is in this folder now; give another hydra.run.dir") from None
        except OSError:
            log.info("%s: its disk has no locks, so take care that no other run is in it", self.path)
        return lock

    def _is_own(self, checkpoint: Path | None) -> bool:
        return checkpoint is not None and checkpoint.resolve().parent == (self.path / "checkpoints").resolve()

    def _checkpoint(self, resume: str | None) -> Path | None:
        last, scores = self.path / "checkpoints" / "last.ckpt", self.path / SCORES_FILE
        if resume not in {None, "auto"} and not Path(str(resume)).exists():
            raise InputError(f"resume={resume}: no such file; give a checkpoint, auto or null")
        if resume == "auto" and last.exists():
            return last
        path = None if resume in {None, "auto"} else Path(str(resume))
        if last.exists() and not self._is_own(path):
            raise InputError(
                f"{self.path} holds a run already: resume=auto goes on with it; to begin anew, give another "
                "hydra.run.dir or remove the folder"
            )
        if scores.exists() and path is None:
            raise InputError(
                f"{self.path} holds a finished run, and no checkpoints/last.ckpt to go on from; give another "
                "hydra.run.dir or remove the folder"
            )
        return path

    def _check_length(self, epoch: int, cfg: DictConfig) -> None:
        limit = cfg.trainer.max_epochs
        if limit is not None and 0 <= limit <= epoch:
            raise InputError(
                f"trainer.max_epochs={limit} ends with epoch {limit - 1}, but {self.checkpoint} is of epoch {epoch}; "
                "give more epochs, or another checkpoint"
            )

    def _compare(self, before: dict[str, Any], cfg: DictConfig) -> None:
        now: Any = OmegaConf.to_container(cfg, resolve=True)
        changed = changed_settings(before, now)
        if not changed:
            return
        if cfg.resume == "auto":
            raise InputError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}); give these again, or another "
                f"hydra.run.dir, or resume={self.checkpoint} to go on with the new ones all the same"
            )
        log.warning("going on with other settings than before: %s", "; ".join(changed))


def begin_evaluations(cfg: DictConfig, config: DictConfig, inferences: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each inference that a checkpoint is tested by, with the ``config.yaml`` of what is tested.

    A single one has ``paths.run_dir`` itself, several have each its own folder in it. ``config`` is that of the
    checkpoint's training, with what is replaced. Raises :class:`InputError` where a training run is in the way.
    """
    whole = Path(cfg.paths.run_dir)
    folders = {inference: whole / inference if len(inferences) > 1 else whole for inference in inferences}
    for folder in {whole, *folders.values()}:
        if any((folder / name).exists() for name in ("checkpoints", *TABLES)):
            raise InputError(
                f"{folder} holds a training run, whose files would be overwritten; give another hydra.run.dir"
            )
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        # what an earlier evaluation by other inferences has left
        earlier = [path.parent for path in whole.glob("*/config.yaml") if (path.parent / PREDICTIONS_FOLDER).is_dir()]
        for folder in {whole, *earlier}:
            for name in ("config.yaml", SCORES_FILE):
                (folder / name).unlink(missing_ok=True)
        for inference, folder in folders.items():
            tested = config.copy()
            tested.name, tested.tags = cfg.name or config.name, cfg.tags or config.get("tags", [])
            tested.checkpoint = str(Path(cfg.checkpoint).absolute())
            tested.inference = {inference: config.inference[inference]}
            with atomic_write(folder / "config.yaml") as file:
                file.write(OmegaConf.to_yaml(tested, resolve=True))
    return folders
