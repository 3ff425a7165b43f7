"""The folder of a training run: begun once, then gone on with from its checkpoint, and never begun over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.checkpoints import changed_settings, check_data, check_weights, read_checkpoint
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, remove_unfinished
from avvp_pl.methods.base import ParsingModule

log = logging.getLogger(__name__)


class RunFolder:
    """What a run finds in ``paths.run_dir`` and, by ``resume``, begins with: nothing, or a checkpoint that fits it.

    :class:`InputError` where the folder holds a run that this one would overwrite, or the checkpoint is not one, or
    ``resume=auto`` would go on with other settings than before.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.path = Path(cfg.paths.run_dir)
        self.checkpoint = self._checkpoint(cfg.resume)
        self.content: dict[str, Any] | None = None
        if self.checkpoint is not None:
            self.content = read_checkpoint(self.checkpoint)
            self._compare(self.content["config"], cfg)
            self._check_length(self.content["epoch"], cfg)

    def begin(self, cfg: DictConfig) -> None:
        """Write ``config.yaml``, remove what an earlier attempt left unfinished, and let loggers go on with its run."""
        if self.content is not None and "wandb" in cfg.logger:
            cfg.logger.wandb.id = self.content.get("wandb_id")
        if self.content is not None and "tensorboard" in cfg.logger:
            cfg.logger.tensorboard.purge_step = self.content["global_step"] + 1
        self._clear(cfg)

    def check(self, method: ParsingModule, videos: ParsingSet) -> None:
        """Raise :class:`InputError` where the checkpoint is of other data or another network."""
        if self.checkpoint is not None and self.content is not None:
            check_data(videos, self.content, self.checkpoint)
            check_weights(method, self.content, self.checkpoint)
            self.content = None  # it is read again, into the trainer

    @rank_zero_only
    def _clear(self, cfg: DictConfig) -> None:
        remove_unfinished(self.path)
        if self.checkpoint is None:  # killed before its first checkpoint, a run left nothing that still holds
            for name in ("metrics.csv", "timings.csv", "pseudo_labels.csv", "scores.json"):
                (self.path / name).unlink(missing_ok=True)
        with atomic_write(self.path / "config.yaml") as file:
            file.write(OmegaConf.to_yaml(cfg, resolve=True))

    def _checkpoint(self, resume: str | None) -> Path | None:
        last = self.path / "checkpoints" / "last.ckpt"
        if resume == "auto":
            return last if last.exists() else None
        path = None if resume is None else Path(resume)
        if path is not None and not path.exists():
            raise InputError(f"resume={resume}: no such file; give a checkpoint, auto or null")
        if last.exists() and (path is None or path.resolve().parent != last.resolve().parent):
            raise InputError(
                f"{self.path} holds a run already: resume=auto goes on with it; to begin anew, give another "
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
