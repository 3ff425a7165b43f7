"""Which settings tell two runs apart, on the settings that ``train`` really has."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.settings.conf import config_dir, keys_of
from avvp_pl.settings.identity import (
    FREE,
    INCIDENTAL,
    OF_METHOD,
    OF_THE_RUN,
    OF_TRAINING,
    WITHOUT_GROUP,
    changed_settings,
)

FREE_TO_CHANGE = {
    "resume", "debug", "tags", "name", "paths.output_root", "paths.run_dir", "logger.wandb.offline",
    "callbacks.panels.num_videos", "data.root", "data.name", "data.packed", "data.eval_batch_size", "data.max_epochs",
    "data.extracted_as", "data.resident", "data.source.root", "trainer.max_epochs", "trainer.log_every_n_steps",
}  # fmt: skip
FIXED = {
    "seed", "threads", "compile", "matmul_precision", "labeling.seed", "labeling.gamma", "labeling.kmeans",
    "labeling._target_", "method.weights.audio", "method.targets.smoothing.visual", "optimizer.learning_rate",
    "optimizer.schedule.every", "protocol.selection.monitor", "protocol.selection.mode",
    "protocol.decision.segment_threshold", "inference.prototype.labels", "network.dim", "data.segments",
    "data.rows_per_segment", "data.shortest", "data.seed", "data.batch_size", "trainer.devices",
    "trainer.accumulate_grad_batches", "trainer.precision",
}  # fmt: skip
NO_REASON_TO_COMPARE = {
    "seed", "labeling.seed", "trained_labeling.seed", "method.seed", "labeling.kmeans",
    "labeling.feature_memory_gb", "name", "tags",
    "threads", "compile.mode", "resume", "debug", "matmul_precision", "checkpoint", "trust", "paths.run_dir",
    "logger.wandb.project", "callbacks.best.dirpath", "callbacks.best.monitor", "data.root", "data.packed",
    "data.extracted_as", "data.resident", "data.name", "data.eval_batch_size", "data.max_epochs", "data.source.root",
    "trainer.devices",
    "trainer.accelerator",
}  # fmt: skip
COMPARED = {
    "labeling.gamma", "labeling._target_", "trained_labeling._target_", "method.weights.visual", "method._target_",
    "inference.prototype.labels", "inference.classifier._target_", "optimizer.learning_rate", "optimizer._target_",
    "protocol.name", "protocol.selection.monitor", "protocol.decision.video_threshold", "network.dim",
    "trainer.max_epochs", "trainer.accumulate_grad_batches", "trainer.precision", "data.seed", "data.batch_size",
    "data.dtype", "data.modalities", "data.rows_per_segment",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """The keys of all settings of a run with everything in it."""
    groups = ["labeling=prototype", "inference=[classifier,prototype]", "optimizer/schedule=step"]
    keys: set[str] = set()
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        for data in ("llp", "synthetic"):
            content: Any = OmegaConf.to_container(compose("train", [*groups, f"data={data}"]))
            keys |= set(keys_of(content))
    return keys


def test_every_setting_in_these_lists_exists(settings: set[str]) -> None:
    of_evaluate = {"checkpoint", "trust", "trained_labeling.seed", "trained_labeling._target_"}
    added = {"compile.mode", "trainer.precision", "method.seed"}  # the last one by method=cvcm
    named = FREE_TO_CHANGE | FIXED | NO_REASON_TO_COMPARE | COMPARED
    assert named - settings <= of_evaluate | added


@pytest.mark.parametrize("key", sorted(FREE_TO_CHANGE))
def test_a_run_may_be_resumed_with_another_value(key: str) -> None:
    assert FREE.fullmatch(key)


@pytest.mark.parametrize("key", sorted(FIXED))
def test_a_run_is_resumed_with_the_same_value(key: str) -> None:
    assert not FREE.fullmatch(key)


@pytest.mark.parametrize("key", sorted(NO_REASON_TO_COMPARE))
def test_runs_that_differ_in_it_are_repetitions(key: str) -> None:
    assert INCIDENTAL.fullmatch(key)


@pytest.mark.parametrize("key", sorted(COMPARED))
def test_runs_that_differ_in_it_are_compared(key: str) -> None:
    assert not INCIDENTAL.fullmatch(key)


def test_what_decides_the_result_is_never_incidental_in_part(settings: set[str]) -> None:
    """Every setting of these groups tells runs apart, apart from the seed and how labels are computed."""
    groups = ("method.", "network.", "inference.", "optimizer.", "protocol.", "labeling.")
    found = {key for key in settings if key.startswith(groups) and INCIDENTAL.fullmatch(key)}
    assert found == {"labeling.seed", "labeling.kmeans", "labeling.feature_memory_gb"}
    assert not {key for key in settings if key.startswith(groups) and FREE.fullmatch(key)}


def test_the_model_is_told_by_what_is_not_of_the_run(settings: set[str]) -> None:
    groups = {key for key in settings if any(other.startswith(f"{key}.") for other in settings) and "." not in key}
    assert groups - OF_THE_RUN == {"data", "network", "method", "labeling", "inference", "protocol", "optimizer"}
    added = {"precision", "num_nodes", "max_steps", "max_time", "min_epochs", "min_steps"}  # by +, or by trainer=ddp
    added |= {"gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches"}
    added |= {"val_check_interval", "check_val_every_n_epoch"}
    assert {f"trainer.{name}" for name in OF_TRAINING} - settings == {f"trainer.{name}" for name in added}


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("labeling.gamma", "gamma"),
        ("method.weights.visual", "weights.visual"),
        ("optimizer.schedule.every", "schedule.every"),
        ("protocol.selection.monitor", "selection.monitor"),
        ("trainer.max_epochs", "max_epochs"),
        ("data.seed", "data.seed"),
        ("inference.prototype.labels", "inference.prototype.labels"),
        ("trained_labeling.gamma", "trained_labeling.gamma"),
        ("labeling._target_", "labeling._target_"),
    ],
)
def test_a_label_leaves_out_a_group_that_says_nothing(key: str, label: str) -> None:
    assert WITHOUT_GROUP.sub("", key, count=1) == label


def test_labels_without_their_group_are_still_unique(settings: set[str]) -> None:
    compared = [key for key in settings if not INCIDENTAL.fullmatch(key) and not key.endswith("_target_")]
    leaves = [key for key in compared if not any(other.startswith(f"{key}.") for other in settings)]
    labels = [WITHOUT_GROUP.sub("", key, count=1) for key in leaves]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("key", ["method.weights.audio", "labeling.k", "trained_labeling.k", "inference.x.labels"])
def test_a_method_is_more_than_its_group(key: str) -> None:
    assert OF_METHOD.match(key)
    assert not OF_METHOD.match("network.dim")
    assert not OF_METHOD.match("data.segments")


def test_changed_settings_are_those_that_decide_what_a_run_computes() -> None:
    before = {
        "seed": 0,
        "labeling": {"gamma": 0.5, "labels": "soft"},
        "data": {"root": "here", "modalities": {"audio": ["x"]}},
    }
    now = {
        "seed": 0,
        "threads": 2,
        "trainer": {"max_epochs": 9, "precision": "bf16-mixed"},
        "callbacks": {"panels": None},
        "labeling": {"gamma": 0.6, "beta": 0.1},
        "data": {"root": "there", "modalities": {"audio": ["x", "y"]}},
    }
    assert changed_settings(before, before) == []
    assert sorted(changed_settings(before, now)) == [
        "data.modalities.audio[1]: missing, now y",
        "labeling.beta: missing, now 0.1",
        "labeling.gamma: 0.5, now 0.6",
        "labeling.labels: soft, now missing",
        "threads: missing, now 2",
        "trainer.precision: missing, now bf16-mixed",
    ]
