"""Where callbacks stand: their order in the configuration has no effect, and a user's may stand anywhere."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_data, build_model, build_trainer, selected_epoch
from avvp_pl.data.videos import ParsingSet
from avvp_pl.files import read_rows
from avvp_pl.training.callbacks import FIRST, LAST, MIDDLE, in_order
from tests.conftest import composed

WRITTEN = ("metrics.csv", "pseudo_labels.csv", "scores.json", "predictions/audio.csv")


class Mine(pl.Callback):
    """A user's callback: it logs at the end of an epoch, and draws random numbers wherever it can."""

    def on_train_epoch_start(self, *_: Any) -> None:
        random.random()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log("mine", float(10 + trainer.current_epoch))


def run(tiny: ParsingSet, folder: Path, order: list[str] | None = None, **more: dict[str, Any]) -> Path:
    """Train and test with the configured callbacks and ``more`` of them, in this order; the folder of the run."""
    cfg: Any = OmegaConf.create(OmegaConf.to_container(composed("ppl_soft", "labeling.start_epoch=0")))
    cfg.paths.run_dir, cfg.trainer.max_epochs = str(folder), 2
    callbacks = {**cfg.callbacks, **more}
    cfg.callbacks = {name: callbacks[name] for name in order or callbacks}
    assert cfg.callbacks.keys() == callbacks.keys()
    module, data, trainer = build_model(cfg, tiny), build_data(cfg, tiny), build_trainer(cfg)
    trainer.fit(module, data)
    trainer.test(module, data, ckpt_path=selected_epoch(trainer).path, verbose=False)
    return folder


def names() -> list[str]:
    return list(composed("ppl_soft", "labeling.start_epoch=0").callbacks)


@pytest.fixture(scope="module")
def as_configured(tiny: ParsingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tiny, tmp_path_factory.mktemp("configured"))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_the_order_in_the_configuration_has_no_effect(
    tiny: ParsingSet, tmp_path: Path, as_configured: Path, seed: int | None
) -> None:
    """Backwards, and shuffled."""
    order = names()[::-1] if seed is None else random.Random(seed).sample(names(), len(names()))
    assert order != names()
    run(tiny, tmp_path, order)
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (as_configured / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("place", [0, 3, None])
def test_what_a_users_callback_logs_is_in_the_epochs_row(
    tiny: ParsingSet, tmp_path: Path, as_configured: Path, place: int | None
) -> None:
    """First, in the middle, and last; and nothing else changes."""
    order = names()
    order.insert(len(order) if place is None else place, "mine")
    run(tiny, tmp_path, order, mine={"_target_": f"{__name__}.Mine"})
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row.pop("mine") for row in rows if row["mine"]] == ["10.0", "11.0"]
    expected = read_rows(as_configured / "metrics.csv")
    assert [{name: value for name, value in row.items() if name != "mine"} for row in rows] == expected


def test_callbacks_stand_in_their_places_and_else_as_they_are_given() -> None:
    class At(pl.Callback):
        def __init__(self, name: str, place: int | None) -> None:
            self.name = name
            if place is not None:
                self.place = place

    given = [At("a", LAST), At("b", None), At("c", FIRST), At("d", MIDDLE), At("e", FIRST - 1), At("f", LAST)]
    found: list[Any] = in_order(given)
    assert [callback.name for callback in found] == ["e", "c", "b", "d", "a", "f"]
