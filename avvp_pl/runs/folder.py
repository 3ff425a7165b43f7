"""The folder of a training run, which is created once, resumed from its checkpoint, and never overwritten.

An evaluation has a folder too. It may be repeated there, but it never uses the folder of a training run. While a run or
an evaluation is in a folder, no other one can use it.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, read_rows, remove_unfinished
from avvp_pl.parts import Part, overrides
from avvp_pl.runs import names
from avvp_pl.runs.checkpoints import (
    check_data,
    check_weights,
    read_checkpoint,
    stopped_inside_epoch,
)
from avvp_pl.runs.trust import packages_outside
from avvp_pl.settings.identity import changed_settings
from avvp_pl.training.module import ParsingModule, digest

log = logging.getLogger(__name__)


class LockedFolder:
    """A folder that no other run or evaluation can use while it is open.

    The first of several processes holds the lock. Raises :class:`InputError` if the folder is in use, or cannot be
    written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        self.lock = self._lock() if self.is_first else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.close()

    def _lock(self) -> IO[bytes]:
        """Lock the folder until the lock is closed or the process ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / names.LOCK).open("wb")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another hydra.run.dir") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InputError(f"{self.path}: another run is using this folder; give another hydra.run.dir") from None
        except OSError:
            log.info("%s: this disk has no locks, so make sure that no other run uses the folder", self.path)
        return lock


class RunFolder(LockedFolder):
    """The folder ``paths.run_dir``, and the checkpoint from which ``resume`` lets the run continue, if any.

    Raises :class:`InputError` if another run is using the folder, if it holds a run that would be overwritten, if the
    checkpoint is not one, and if ``resume=auto`` would continue with other settings.
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(Path(cfg.paths.run_dir))
        self.resume = cfg.resume
        self.checkpoint: Path | None = None
        self.content: dict[str, Any] | None = None
        try:
            self._open(cfg)
        except BaseException:
            self.__exit__()
            raise

    def _open(self, cfg: DictConfig) -> None:
        if cfg.trainer.get("fast_dev_run") and any(
            path.exists() for path in (names.last_checkpoint(self.path), self.path / names.SCORES)
        ):
            raise InputError(f"{self.path} holds a run; trainer.fast_dev_run needs a folder of its own (hydra.run.dir)")
        self.checkpoint = self._checkpoint()
        if self.checkpoint is not None:
            self.content = read_checkpoint(self.checkpoint)
            self._compare(self.content["config"], cfg)
            self._check_length(self.content["epoch"], cfg)
            for name in names.TABLES:
                read_rows(self.path / name)  # a damaged table is refused now, and not after an epoch

    def begin(self, cfg: DictConfig) -> None:
        """Write ``config.yaml``, and let the loggers continue the run that the folder holds, if it does."""
        if self.content is not None and self._is_own(self.checkpoint):
            if cfg.logger.get("wandb"):
                cfg.logger.wandb.id = self.content.get("wandb_id")
            if cfg.logger.get("tensorboard"):
                cfg.logger.tensorboard.purge_step = self.content["global_step"] + 1
        if self.is_first:
            with atomic_write(self.path / names.CONFIG) as file:
                file.write(OmegaConf.to_yaml(cfg, resolve=True))

    def check(self, model: ParsingModule, videos: ParsingSet) -> None:
        """Raise :class:`InputError` if the checkpoint was trained on other data, or another network.

        Otherwise remove what earlier attempts left unfinished.
        """
        if self.checkpoint is not None and self.content is not None:
            check_data(videos, self.content, self.checkpoint)
            check_weights(model, self.content, self.checkpoint)
            self._check_train_videos(videos)
            self._check_files(model, videos)
            self.content = None  # the trainer reads the checkpoint again
        if self.is_first:
            tested = [self.path, *(self.path / inference for inference in model.inferences)]
            for folder in (*tested, *(folder / names.PREDICTIONS for folder in tested), self.path / names.CHECKPOINTS):
                remove_unfinished(folder)
            if self.checkpoint is None:  # of a run that was killed before its first checkpoint, nothing is continued
                for name in names.TABLES:
                    (self.path / name).unlink(missing_ok=True)
            for folder in tested:  # there are no scores until the run ends
                (folder / names.SCORES).unlink(missing_ok=True)

    def _check_train_videos(self, videos: ParsingSet) -> None:
        """Refuse to combine what the checkpoint has for each training video with other videos."""
        assert self.content is not None
        assert videos.train is not None
        if self.content["train_videos"] == digest(videos.train):
            return
        self._refuse_unless_asked(
            "on other videos: their names, lengths or order have changed"
            + (", or their proposals" if videos.train.proposals is not None else ""),
            "the table of training videos",
        )
        log.warning(
            "%s was trained on other training videos; the run is resumed with those of the data", self.checkpoint
        )

    def _check_files(self, model: ParsingModule, videos: ParsingSet) -> None:
        """Refuse to continue with another content of the files that parts have read, wherever they are now."""
        assert self.content is not None
        assert videos.train is not None
        for part in model.parts.values():
            if overrides(part, Part.digest):
                part.start(videos.train)
        before, now = self.content["digests"], model.digests()
        changed = [f"{part}.file" for part in dict.fromkeys((*before, *now)) if before.get(part) != now.get(part)]
        if not changed:
            return
        content = f"with another content of {' and '.join(changed)}"
        self._refuse_unless_asked(content, "the file")
        log.warning("%s was trained %s; from now on the present one is used", self.checkpoint, content)

    def _refuse_unless_asked(self, difference: str, to_restore: str) -> None:
        """Refuse to resume a training ``difference``, unless ``resume`` names a checkpoint from the end of an epoch."""
        assert self.content is not None
        inside = stopped_inside_epoch(self.content)
        if inside or self.resume == "auto":
            where = "the middle of an epoch of " if inside else ""
            raise InputError(
                f"{self.checkpoint} is from {where}a training {difference}, so the run cannot be resumed; restore "
                f"{to_restore}, or start another run (hydra.run.dir)"
            )

    def _is_own(self, checkpoint: Path | None) -> bool:
        return checkpoint is not None and checkpoint.resolve().parent == (self.path / names.CHECKPOINTS).resolve()

    def _checkpoint(self) -> Path | None:
        """Return the checkpoint to resume from, if any, or raise if the folder holds a run that is not resumed."""
        last, scores = names.last_checkpoint(self.path), self.path / names.SCORES
        if self.resume not in {None, "auto"} and not Path(str(self.resume)).exists():
            raise InputError(f"resume={self.resume}: no such file; give a checkpoint, auto or null")
        if self.resume == "auto" and last.exists():
            return last
        path = None if self.resume in {None, "auto"} else Path(str(self.resume))
        if last.exists() and not self._is_own(path):
            raise InputError(
                f"{self.path} already holds a run: resume=auto resumes it; to start another one, give another "
                "hydra.run.dir or remove the folder"
            )
        if scores.exists() and path is None:
            raise InputError(
                f"{self.path} holds a finished run without {names.CHECKPOINTS}/{names.LAST}, so it cannot be resumed; "
                "give another hydra.run.dir or remove the folder"
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
        # a file may have moved: its content is compared once it has been read
        files = [f"{part}.file" for part in (self.content or {}).get("digests", {})]
        changed = changed_settings(before, now, files)
        if not changed:
            return
        if self.resume == "auto":
            raise InputError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}); give the same settings again, or "
                f"another hydra.run.dir, or resume={self.checkpoint} to resume with the new settings"
            )
        log.warning("resuming with other settings than before: %s", "; ".join(changed))


def log_packages(cfg: DictConfig) -> None:
    """Log the packages outside this one that must be trusted by those who use the checkpoints of a run.

    Raises :class:`InputError` if its checkpoints could not be used at all.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    if packages := packages_outside(settings):
        log.info(
            "the checkpoints of this run use the packages %s, so evaluate and predict need trust=[%s]",
            ", ".join(packages),
            ",".join(packages),
        )


class EvaluationFolder(LockedFolder):
    """The folder ``paths.run_dir`` of an evaluation of a checkpoint by one or several ``inferences``.

    A single inference uses the folder itself; several have a folder each in it. Raises :class:`InputError` if one of
    them holds a training run, or if the folder is in use.
    """

    def __init__(self, cfg: DictConfig, inferences: Sequence[str]) -> None:
        path = Path(cfg.paths.run_dir)
        self.cfg = cfg
        self.folders = {inference: path / inference if len(inferences) > 1 else path for inference in inferences}
        for folder in {path, *self.folders.values()}:
            if any((folder / name).exists() for name in (names.CHECKPOINTS, *names.TABLES)):
                raise InputError(
                    f"{folder} holds a training run, whose files would be overwritten; give another hydra.run.dir"
                )
        super().__init__(path)

    def replace(self, config: DictConfig) -> dict[str, Path]:
        """Remove what an earlier evaluation has left, and write ``config.yaml`` for each inference.

        Return their folders. This comes after the test, so that a test that fails loses nothing. ``config`` is the
        configuration of the checkpoint's training, with what is replaced.
        """
        earlier = [
            path.parent for path in self.path.glob(f"*/{names.CONFIG}") if (path.parent / names.PREDICTIONS).is_dir()
        ]
        for folder in {self.path, *earlier}:
            for name in (names.CONFIG, names.SCORES):
                (folder / name).unlink(missing_ok=True)
        for inference, folder in self.folders.items():
            tested = config.copy()
            tested.name, tested.tags = self.cfg.name or config.name, self.cfg.tags or config.get("tags", [])
            tested.checkpoint = str(Path(self.cfg.checkpoint).absolute())
            tested.inference = {inference: config.inference[inference]}
            with atomic_write(folder / names.CONFIG) as file:
                file.write(OmegaConf.to_yaml(tested, resolve=True))
        return self.folders
