"""An inference that needs more than the checkpoint: fitted before its test, where that is needed and possible."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.labeling.bank import PrototypeBank
from avvp_pl.parts import Labeling, Report, Team
from avvp_pl.training.callbacks.fit_inference import FitInference
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import ParsingNetwork
from tests.conftest import Build
from tests.training.trainers import trainer_of


def after_test(build: Build, videos: ParsingSet, inference: str) -> ParsingModule:
    """The module after a test."""
    module, data = build("ppl_soft", f"inference={inference}", videos=videos)
    trainer_of(callbacks=[FitInference()]).test(module, data, verbose=False)
    return module


def bank_of(module: ParsingModule) -> PrototypeBank:
    assert module.labeling.bank is not None
    return module.labeling.bank


@pytest.mark.parametrize("inference", ["prototype", "prototype_hard", "[prototype,prototype_hard]"])
def test_prototypes_are_built_of_the_training_videos_once(
    build: Build, tiny: ParsingSet, inference: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO, logger="avvp_pl"):
        module = after_test(build, tiny, inference)
    assert bank_of(module).is_built
    assert len([message for message in caplog.messages if message.startswith("40 training videos: ")]) == 1
    assert any(message.startswith("without positive prototypes, so never found: ") for message in caplog.messages)
    built = bank_of(module).positive.clone()
    monkeypatch.delattr(type(module.labeling), "build")  # and not again
    _, data = build("ppl_soft", videos=tiny)
    trainer_of(callbacks=[FitInference()]).test(module, data, verbose=False)
    assert torch.equal(bank_of(module).positive, built)


def test_they_are_there_when_the_first_batch_is_tested(build: Build, tiny: ParsingSet) -> None:
    module = after_test(build, tiny, "[prototype,classifier]")
    assert module.test_scores["prototype"].flat() != module.test_scores["classifier"].flat()
    batch = tiny.test[torch.arange(12)] if tiny.test is not None else None
    assert batch is not None
    found: Any = module.eval().parse(batch, ["prototype", "classifier"])
    assert not torch.equal(found["prototype"].probs, found["classifier"].probs)


def test_nothing_is_built_that_is_not_needed(build: Build, tiny: ParsingSet) -> None:
    assert not bank_of(after_test(build, tiny, "classifier")).is_built


class Asking(Classifier):
    """Asks to be fitted to some splits, and remembers what it got."""

    def __init__(self, splits: list[str]) -> None:
        super().__init__()
        self.splits = tuple(splits)
        self.given: list[dict[str, tuple[str, ...]]] = []

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        return self.splits

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        assert not network.training
        assert not torch.is_grad_enabled()
        self.given.append({name: videos.names for name, videos in splits.items()})
        return None


def asking(*splits: str) -> str:
    return f"+inference.asking={{_target_: {__name__}.Asking, splits: [{', '.join(splits)}]}}"


@pytest.mark.parametrize("splits", [("val",), ("train",), ("train", "val")])
def test_it_gets_the_splits_that_it_needs_and_no_other(build: Build, tiny: ParsingSet, splits: tuple[str, ...]) -> None:
    module, data = build("mil", asking(*splits), videos=tiny)
    trainer = trainer_of(callbacks=[FitInference()])
    trainer.test(module, data, verbose=False)
    trainer.predict(module, data)
    expected = {split: tiny.splits[split].names for split in splits}
    part = module.inferences["asking"]
    assert isinstance(part, Asking)
    assert part.given == [expected, expected]


@pytest.mark.parametrize("splits", [("test",), ("val", "test"), ("nothing",)])
def test_nothing_is_fitted_to_the_test_videos(build: Build, tiny: ParsingSet, splits: tuple[str, ...]) -> None:
    module, data = build("mil", asking(*splits), videos=tiny)
    message = rf"^inference.asking asks for the split '{splits[-1]}' to be fitted to; it must be one of train, val"
    with pytest.raises(InputError, match=message):
        trainer_of(callbacks=[FitInference()]).test(module, data, verbose=False)


def test_videos_that_are_not_there_are_named(build: Build, tiny: ParsingSet) -> None:
    with pytest.raises(
        InputError, match=r"^inference.prototype is fitted to the train videos, which the data does not"
    ):
        after_test(build, replace(tiny, train=None), "prototype")
    assert tiny.val is not None
    unknown = replace(tiny, val=replace(tiny.val, truth=None))
    module, data = build("mil", asking("val"), videos=unknown)
    with pytest.raises(InputError, match="is fitted to the annotation of the val videos, which is missing"):
        trainer_of(callbacks=[FitInference()]).test(module, data, verbose=False)


def test_videos_without_events_give_none(build: Build, tiny: ParsingSet) -> None:
    assert tiny.train is not None
    without = replace(tiny.train, weak_labels=torch.zeros_like(tiny.train.weak_labels))
    with pytest.raises(InputError, match="none of these videos has any event"):
        after_test(build, replace(tiny, train=without), "prototype")
