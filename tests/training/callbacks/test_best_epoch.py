"""The epoch that is tested: by a score or the last one, and always the one that the parts remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.labeling.naive import Naive
from avvp_pl.training.callbacks.best_epoch import BestEpoch
from tests.conftest import Build
from tests.training.trainers import fit


class Scores(pl.Callback):
    """Log made-up scores in validation."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        module.log("val/mine", self.scores[trainer.current_epoch])


def selected(
    build: Build, folder: Path, scores: list[float], monitor: str | None, mode: str = "max", **more: Any
) -> tuple[list[int], dict[str, Any]]:
    """The epochs after which the parts are told that it was the best so far, and the checkpoint that is left."""
    module, data = build("npl_soft")
    epochs: list[int] = []

    def keep_best() -> None:
        epochs.append(module.current_epoch)
        assert isinstance(module.labeling, Naive)
        module.labeling.teacher.keep_best()

    module.labeling.keep_best = keep_best  # type: ignore[method-assign]
    best = BestEpoch(str(folder), "best", monitor, mode)
    fit(module, data, len(scores), callbacks=[Scores(scores), best], enable_checkpointing=True, **more)
    (path,) = folder.iterdir()
    assert path.name == "best.ckpt"
    return epochs, torch.load(path, weights_only=True)


SCORES = [0.5, 0.25, 0.75, 0.75, 0.25]


@pytest.mark.parametrize(
    ("monitor", "mode", "expected"),
    [("val/mine", "max", [0, 2]), ("val/mine", "min", [0, 1]), (None, "max", [0, 1, 2, 3, 4])],
)
def test_an_epoch_is_the_best_by_the_monitored_score_or_because_it_is_the_last(
    build: Build, tmp_path: Path, monitor: str | None, mode: str, expected: list[int]
) -> None:
    """A score that is as good as the best one is not better. What is saved are the parts as they were told."""
    epochs, saved = selected(build, tmp_path, SCORES, monitor, mode)
    assert epochs == expected
    assert saved["epoch"] == expected[-1]
    weights = saved["state_dict"]
    of_average = {name: value for name, value in weights.items() if name.startswith("labeling.teacher.average.")}
    assert of_average
    for name, value in of_average.items():
        assert torch.equal(weights[name.replace("average", "best")], value), name


def test_a_validation_before_training_selects_nothing(build: Build, tmp_path: Path) -> None:
    epochs, _ = selected(build, tmp_path, [0.5, 0.25], "val/mine", num_sanity_val_steps=1)
    assert epochs == [0]


def test_a_score_that_nothing_logs_is_an_error(build: Build, tmp_path: Path) -> None:
    message = r"^protocol.selection.monitor=val/min: no score of this name is logged\..*val/mine"
    with pytest.raises(InputError, match=message):
        selected(build, tmp_path, SCORES, "val/min")
