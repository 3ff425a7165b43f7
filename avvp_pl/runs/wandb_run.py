"""A run at Weights & Biases: its names, and the epoch that it was tested by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from avvp_pl.runs.names import BEST
from avvp_pl.runs.reading import label_of

LONGEST = 128  # characters of a name that W&B accepts


class WandbRun(WandbLogger):
    """Lightning's logger, with epochs as the axis of all charts, and with a summary of the selected epoch.

    With ``log_model``, the checkpoint that was tested becomes an artifact, also of a run that is sent later. All other
    arguments are those of Lightning's logger and of ``wandb.init``.
    """

    def __init__(self, save_dir: str, log_model: bool = False, **settings: Any) -> None:
        folder = Path(save_dir).absolute()  # W&B's own process is in the folder in which the first job began
        folder.mkdir(parents=True, exist_ok=True)  # W&B warns of a folder that is not there yet
        _leave_home(folder / "wandb" / "home")
        super().__init__(save_dir=str(folder), **settings)
        self.log_best = log_model
        self.defined: set[str] = set()  # names of values
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, whatever its value is

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log the settings, and the number of parameters also as a result."""
        super().log_hyperparams(params)
        if "parameters" in params:
            self.experiment.summary["parameters"] = params["parameters"]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values by epoch. Only test scores have a summary, until :meth:`log_selected` says which epoch counts."""
        for name, value in metrics.items():
            if name not in self.defined and isinstance(value, int | float):
                # one by one: which of several patterns applies to a name is not defined
                axis, summary = (None if name == "epoch" else "epoch"), (None if name.startswith("test/") else "none")
                self.experiment.define_metric(name, step_metric=axis, summary=summary)
                self.defined.add(name)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_selected(self, row: Mapping[str, float], epoch: int) -> None:
        """Let the summary of the run be what was logged in the selected epoch, and its number."""
        self.experiment.summary.update({**row, "selected_epoch": epoch})

    @rank_zero_only
    def log_tested(self, checkpoint: Path, score: float | None) -> None:
        """Log the checkpoint that was tested, if the settings ask for it."""
        import wandb  # slow to import

        if not self.log_best:
            return
        artifact = wandb.Artifact(f"model-{self.version}", type="model", metadata={"score": score})
        artifact.add_file(str(checkpoint), name=BEST)
        self.experiment.log_artifact(artifact, aliases=["best"])


def name_run(cfg: DictConfig) -> None:
    """Give the W&B run of a training the names that its settings leave to us (null)."""
    node = cfg.logger.get("wandb")
    if node is None:
        return
    hydra_cfg = HydraConfig.get() if HydraConfig.initialized() else None
    if "name" in node and node.name is None:
        given = [] if hydra_cfg is None else [str(override) for override in hydra_cfg.overrides.task]
        seed = f" seed={cfg.seed}"
        node.name = _shortened(label_of(cfg, given), LONGEST - len(seed)) + seed
    if "group" in node and node.group is None:
        group = str(cfg.name)
        if hydra_cfg is not None and hydra_cfg.mode == RunMode.MULTIRUN:
            sweep = hydra_cfg.runtime.choices.get("sweep")
            group = " ".join([*([str(sweep)] if sweep else []), Path(hydra_cfg.sweep.dir).absolute().name])
        node.group = _shortened(group, LONGEST)


def _leave_home(instead: Path) -> None:
    """Let W&B keep its files elsewhere if the home folder cannot be written, as in many containers."""
    home = Path.home()
    if not (home.is_dir() and os.access(home, os.W_OK)):
        for kind in ("cache", "config", "data"):
            os.environ.setdefault(f"WANDB_{kind.upper()}_DIR", str((instead / kind).absolute()))


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
