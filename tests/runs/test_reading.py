"""Run folders made on disk: what is read, what is one setting, what is refused."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from avvp_pl.errors import InputError
from avvp_pl.runs import reading
from avvp_pl.runs.reading import Run, apart, by_setting, read_run, read_runs, shipped
from avvp_pl.settings.conf import config_dir
from tests.reporting.made import edit, made_run, remove, run_folder, write_scores

TRAINED_AS = {"han_ppl_test": "han"}
PROTOTYPES = ("prototype", "classifier")  # the inferences of PPL


def labels(runs: list[Run]) -> dict[str, list[int]]:
    return {setting.label: [run.seed for run in setting.runs] for setting in by_setting(runs)}


def test_a_run_is_read(tmp_path: Path) -> None:
    scores = {"segment/audio": 10.0, "segment/visual": 20.0, "event/event_av": 70.0}
    run = made_run(tmp_path / "run", name="ppl_soft", seed=4, score=scores, listed=7)
    assert (run.name, run.seed, run.data, run.listed, run.folder) == ("ppl_soft", 4, "realmix", 7, tmp_path / "run")
    assert run.scores["segment/visual"] == 20
    assert list(run.scores)[-1] == "average"
    assert run.scores["average"] == pytest.approx(10)  # 100 over ten
    assert run.per_event["event"]["audio"] == {"Dog": 10, "Cat": None}
    assert run.epochs == [{"epoch": 0, "train/loss": 1.5}, {"epoch": 1, "val/average": 40}]
    assert (run.settings["labeling.gamma"], run.settings["inference"], run.protocol) == (1, "prototype", "common")
    assert run.settings["inference.validated_by"] == "prototype"
    incidental = {"seed", "labeling.seed", "name", "tags", "paths.run_dir", "data.root"}
    assert not incidental & set(run.settings)


def test_seeds_are_one_setting_with_its_mean_and_deviation(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{seed}", seed=seed, score=score) for seed, score in ((2, 50.0), (0, 53.0), (1, 56.0))]
    (setting,) = by_setting(runs)
    assert (setting.label, [run.seed for run in setting.runs]) == ("mil", [0, 1, 2])
    assert setting.mean["event/audio"] == setting.mean["average"] == pytest.approx(53)
    assert setting.deviation["event/audio"] == pytest.approx(3)  # (9 + 0 + 9) / 2
    (alone,) = by_setting(runs[:1])
    assert alone.deviation == {}


def test_labels_say_what_differs_and_no_more(tmp_path: Path) -> None:
    runs = [
        made_run(tmp_path / f"{number}", name=name, seed=seed, labeling__gamma=gamma, labeling__k=10)
        for number, (name, seed, gamma) in enumerate(
            [("ppl", 0, 0.5), ("ppl", 1, 0.5), ("ppl", 0, 0.2), ("mil", 0, 0.9)]
        )
    ]
    assert labels(runs) == {"ppl gamma=0.5": [0, 1], "ppl gamma=0.2": [0], "mil": [0]}


def test_equal_numbers_are_one_setting_however_they_are_spelled(tmp_path: Path) -> None:
    runs = [
        made_run(tmp_path / f"{seed}", seed=seed, labeling__gamma=gamma) for seed, gamma in enumerate((1, 1.0, 0.5))
    ]
    assert labels(runs) == {"mil gamma=1": [0, 1], "mil gamma=0.5": [2]}


def test_what_older_runs_do_not_know_does_not_set_them_apart(tmp_path: Path) -> None:
    old, new = made_run(tmp_path / "old", seed=0), made_run(tmp_path / "new", seed=1, method__sharp=True)
    assert labels([old, new]) == {"mil": [0, 1]}
    other = made_run(tmp_path / "other", seed=0, method__sharp=False)
    assert set(labels([old, new, other])) == {"mil", "mil sharp=true", "mil sharp=false"}


def test_labels_say_what_is_not_as_shipped_whatever_else_is_reported(tmp_path: Path) -> None:
    default = made_run(tmp_path / "0", name="ppl_soft")
    low = made_run(tmp_path / "1", name="ppl_soft", labeling__gamma=0.25)
    by = made_run(tmp_path / "2", name="ppl_soft", inference="prototype_hard", checkpoint="a/best.ckpt")
    expected = [("ppl_soft", True), ("ppl_soft gamma=0.25", False), ("ppl_soft inference=prototype_hard", False)]
    for run, (label, plain) in zip((default, low, by), expected, strict=True):
        (setting,) = by_setting([run])
        assert (setting.label, setting.plain) == (label, plain)
    assert [(setting.label, setting.plain) for setting in by_setting([default, low, by])] == expected
    (unguided,) = by_setting([made_run(tmp_path / "3", method__weights={"video": 1, "audio": 1.0, "visual": 0})])
    assert (unguided.label, unguided.plain) == ("mil weights.visual=0", False)


def test_what_an_older_run_does_not_know_is_as_shipped(tmp_path: Path) -> None:
    old = run_folder(tmp_path / "0", name="ppl_soft")
    remove(old, "labeling.attending", "inference")
    new = run_folder(tmp_path / "1", name="ppl_soft", seed=1)
    other = run_folder(tmp_path / "2", name="ppl_soft", seed=2, labeling__attending=["audio"])
    runs = [read_run(run) for run in (old, new, other)]
    assert labels(runs) == {"ppl_soft": [0, 1], "ppl_soft attending=[audio]": [2]}
    assert by_setting(runs[:1])[0].plain


def test_a_network_of_another_size_is_told_and_the_method_stays_as_shipped(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "0")
    edit(folder, network={"_target_": "avvp_pl.models.han.HAN", "dim": 16, "num_heads": 1})
    (setting,) = by_setting([read_run(folder)])
    assert (setting.label, setting.plain) == ("mil dim=16", True)


def test_another_method_by_the_name_of_an_experiment_is_told_by_its_class(tmp_path: Path) -> None:
    shutil.copytree(run_folder(tmp_path / "0", name="ppl_soft", inference="prototype"), tmp_path / "1")
    edit(tmp_path / "1", name="mil", method___target_="mine.Other")
    (setting,) = by_setting([read_run(tmp_path / "1")])
    assert setting.label == ("mil method=Other labeling=Prototype inference=prototype inference.validated_by=prototype")
    assert not setting.plain


def test_classes_of_one_name_are_told_in_full(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{n}", method___target_=target) for n, target in enumerate(("mine.Net", "yours.Net"))]
    assert set(labels(runs)) == {"mil method._target_=mine.Net", "mil method._target_=yours.Net"}


@pytest.mark.parametrize(
    ("changes", "label", "plain"),
    [
        ({}, "han_ppl_test inference=prototype", True),
        ({"labeling__gamma": 0.3}, "han_ppl_test gamma=0.3 inference=prototype", False),
        (
            {"method__class_weighting": "inverse_frequency"},
            "han_ppl_test class_weighting=inverse_frequency inference=prototype",
            False,
        ),
        (
            {"trained_labeling": {"_target_": "avvp_pl.labeling.naive.Naive", "labels": "soft"}},
            "han_ppl_test inference=prototype trained_labeling=Naive",
            False,
        ),
        (
            {"trained_inference": "prototype"},
            "han_ppl_test inference=prototype inference.validated_by=prototype",
            False,
        ),
        ({"trainer__max_epochs": 10}, "han_ppl_test max_epochs=10 inference=prototype", True),
    ],
)
def test_an_evaluation_is_compared_with_the_experiment_that_its_checkpoint_was_trained_as(
    tmp_path: Path, changes: dict[str, object], label: str, plain: bool
) -> None:
    run = made_run(tmp_path / "0", name="han_ppl_test", inference="prototype", **changes)
    (setting,) = by_setting([run], TRAINED_AS)
    assert (setting.label, setting.plain) == (label, plain)


def test_an_experiment_of_evaluate_that_was_trained_is_not_as_shipped(tmp_path: Path) -> None:
    trained = run_folder(tmp_path / "0", name="han_ppl_test", inference="prototype")
    remove(trained, "trained_labeling", "trained_inference", "checkpoint")
    (setting,) = by_setting([read_run(trained)], TRAINED_AS)
    assert not setting.plain
    assert setting.label == "han_ppl_test inference=prototype inference.validated_by=prototype"


def test_the_inferences_of_an_experiment_that_has_several_are_all_as_shipped(tmp_path: Path) -> None:
    """The first one needs no name. The epoch of their checkpoint was selected by HAN's own."""
    assert (shipped("han_ppl_test", trained_as="han") or {})["inference.validated_by"] == "classifier"
    names = ("prototype_hard", "prototype", "classifier")
    runs = [made_run(tmp_path / name, name="han_ppl_test", inference=name) for name in names]
    settings = by_setting(runs, TRAINED_AS)
    assert [(setting.label, setting.inference, setting.plain, setting.further) for setting in settings] == [
        ("han_ppl_test", "prototype_hard", True, False),
        ("han_ppl_test inference=prototype", "prototype", True, True),
        ("han_ppl_test inference=classifier", "classifier", False, True),
    ]


def test_a_changed_inference_says_how(tmp_path: Path) -> None:
    soft = made_run(tmp_path / "0", name="ppl_soft")
    hard = made_run(tmp_path / "1", name="ppl_soft", inference__prototype__labels="hard")
    assert set(labels([soft, hard])) == {"ppl_soft", "ppl_soft inference.prototype.labels=hard"}


def test_a_training_with_several_inferences_is_a_run_for_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = run_folder(tmp_path / "0", name="ppl_soft", seed=3, score=40.0, inference=PROTOTYPES)
    write_scores(folder / "classifier", 60.0)
    write_scores(folder / "stranger", 99.0)  # of no inference of this run
    first, second = read_runs([tmp_path])
    assert caplog.text == ""
    assert [(run.folder, run.scores["average"]) for run in (first, second)] == [
        (folder, 40.0),
        (folder / "classifier", 60.0),
    ]
    assert [run.settings["inference"] for run in (first, second)] == ["prototype", "classifier"]
    assert [run.settings["inference.validated_by"] for run in (first, second)] == ["prototype", "prototype"]
    assert list(second.config.inference) == ["classifier"]
    assert (len(first.epochs), second.epochs, second.seed) == (2, [], 3)
    evaluated = made_run(
        tmp_path / "evaluated", name="ppl_soft", seed=4, inference="classifier", checkpoint="a/best.ckpt"
    )
    both = by_setting([first, second, evaluated])
    assert [(setting.label, setting.plain, setting.further) for setting in both] == [
        ("ppl_soft", True, False),
        ("ppl_soft inference=classifier", True, True),
    ]
    assert [run.seed for run in both[1].runs] == [3, 4]


def test_a_run_says_by_which_inference_its_epoch_was_selected_if_it_is_not_as_shipped(tmp_path: Path) -> None:
    """A training that was validated by its classifier is not one whose classifier was tested beside the prototypes."""
    folder = run_folder(tmp_path / "0", name="ppl_soft", inference=PROTOTYPES[::-1])
    write_scores(folder / "prototype")
    shipped_so = run_folder(tmp_path / "1", name="ppl_soft", inference=PROTOTYPES)
    write_scores(shipped_so / "classifier")
    found = {setting.label: setting.plain for setting in by_setting(read_runs([tmp_path]))}
    assert found == {
        "ppl_soft inference=classifier inference.validated_by=classifier": False,
        "ppl_soft inference.validated_by=classifier": False,
        "ppl_soft": True,
        "ppl_soft inference=classifier": True,
    }


@pytest.mark.parametrize(
    ("trained_inference", "label"),
    [
        ("prototype", "ppl_soft"),
        ("classifier", "ppl_soft inference.validated_by=classifier"),
        (None, "ppl_soft"),  # of an earlier version, or without a proper name
    ],
)
def test_an_evaluation_says_by_which_inference_the_epoch_of_its_checkpoint_was_selected(
    tmp_path: Path, trained_inference: str | None, label: str
) -> None:
    run = made_run(tmp_path, name="ppl_soft", checkpoint="a/best.ckpt", trained_inference=trained_inference)
    (setting,) = by_setting([run])
    assert (setting.label, "trained_inference" in run.settings) == (label, False)


def test_an_inference_that_was_not_tested_does_not_matter(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "0", name="ppl_soft", inference=("prototype", "prototype_hard"))
    edit(folder, inference__prototype_hard__labels="soft")
    write_scores(folder / "prototype_hard")
    found = {setting.label: setting.plain for setting in by_setting(read_runs([tmp_path]))}
    changed = "ppl_soft inference.prototype_hard.labels=soft inference=prototype_hard"
    assert found == {"ppl_soft": True, changed: False}


def test_a_folder_with_a_configuration_of_its_own_is_a_run_of_its_own(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "0", name="ppl_soft", inference=PROTOTYPES)
    run_folder(folder / "classifier", name="mil")
    assert [run.name for run in read_runs([tmp_path])] == ["mil", "ppl_soft"]  # in the order of their paths


def test_a_further_inference_without_scores_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run_folder(tmp_path / "0", name="ppl_soft", inference=PROTOTYPES)
    assert [run.folder for run in read_runs([tmp_path])] == [folder]
    assert f"skipped: {folder / 'classifier'}: no scores.json" in caplog.text


def test_the_folders_of_an_evaluation_with_several_inferences_are_runs(tmp_path: Path) -> None:
    for name in ("prototype", "prototype_hard"):
        run_folder(tmp_path / name, name="han_ppl_test", inference=name)
    assert [run.settings["inference"] for run in read_runs([tmp_path])] == ["prototype", "prototype_hard"]


def test_groups_stay_where_a_key_would_not_say_enough(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / f"{number}") for number in range(2)]
    for number, run in enumerate(runs):
        edit(run, data__seed=number, data__modalities={"visual": ["a", "b"][: number + 1]})
    assert list(labels([read_run(run) for run in runs])) == [
        "mil data.modalities={visual: [a]} data.seed=0",
        "mil data.modalities={visual: [a, b]} data.seed=1",
    ]


def test_shipped_leaves_hydra_as_it_was() -> None:
    shipped.cache_clear()
    reading._composed.cache_clear()
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        assert (shipped("ppl_hard") or {})["labeling.labels"] == "hard"
        assert GlobalHydra.instance().hydra is before
    shipped.cache_clear()
    reading._composed.cache_clear()
    assert shipped("ppl_hard") is not None
    assert not GlobalHydra.instance().is_initialized()
    assert shipped("../experiment/mil") is shipped("mine") is None


def test_places_and_machines_do_not_set_runs_apart(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / f"{seed}", seed=seed) for seed in range(2)]
    edit(
        runs[1],
        data__packed="/x",
        trainer__accelerator="gpu",
        callbacks__best__dirpath="/x",
        logger__csv__directory="/x",
    )
    edit(runs[1], threads=3, data__source__root="/x", data__resident="host", protocol__name="common", labeling__seed=5)
    assert labels([read_run(run) for run in runs]) == {"mil": [0, 1]}


@pytest.mark.parametrize(
    ("key", "values", "spelled"),
    [
        ("trainer__max_epochs", (10, 20), ("max_epochs=10", "max_epochs=20")),
        ("data__dtype", ("float32", "bfloat16"), ("data.dtype=float32", "data.dtype=bfloat16")),
        ("trainer__devices", (1, [0, 3]), ("devices=1", "devices=2")),
        ("trainer__num_nodes", (1, 3), ("devices=1", "devices=3")),
        ("checkpoint", ("a/best.ckpt", "a/last.ckpt"), ("checkpoint=best", "checkpoint=last")),
        ("callbacks__best__monitor", ("a", "b"), ("selection.monitor=a", "selection.monitor=b")),
        (
            "protocol__decision__video_threshold",
            (0.4, 0.6),
            tuple(f"decision.video_threshold={x}" for x in (0.4, 0.6)),
        ),
        ("optimizer__learning_rate", (1e-3, 1e-4), ("learning_rate=0.001", "learning_rate=0.0001")),
        ("optimizer__schedule___target_", ("a.Up", "a.Down"), ("schedule=Up", "schedule=Down")),
        ("method__layers", ([], [1]), ("layers=[]", "layers=[1]")),
        ("data__modalities", ({"audio": ["a"]}, {"audio": ["a"], "visual": ["v"]}), None),
    ],
)
def test_what_moves_scores_sets_runs_apart(
    tmp_path: Path, key: str, values: tuple[object, object], spelled: tuple[str, str] | None
) -> None:
    runs = [run_folder(tmp_path / f"{number}") for number in range(2)]
    for run, value in zip(runs, values, strict=True):
        edit(run, **{key: value})
    found = labels([read_run(run) for run in runs])
    assert len(found) == 2
    if spelled:
        assert set(found) == {f"mil {part}" for part in spelled}


@pytest.mark.parametrize(("scores", "said"), [((1.0, 1.0), "are the same run"), ((1.0, 2.0), "differ in their scores")])
@pytest.mark.parametrize("newer", [0, 1])
def test_of_two_runs_with_one_seed_the_newer_counts(
    tmp_path: Path, newer: int, scores: tuple[float, float], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [made_run(tmp_path / f"{number}", score=scores[number]) for number in range(2)]
    for number, run in enumerate(runs):
        os.utime(run.folder / "scores.json", (0, 100 if number == newer else 50))
    (setting,) = by_setting(runs)
    assert [run.folder for run in setting.runs] == [tmp_path / f"{newer}"]
    assert said in caplog.text
    assert "the training is used, or else the newer one" in caplog.text
    assert ("same run" in caplog.text) == (scores[0] == scores[1])


def test_a_setting_of_several_roots_is_one_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = [run_folder(tmp_path / f"{seed}", seed=seed) for seed in range(2)]
    assert labels([read_run(run) for run in runs]) == {"mil": [0, 1]}
    assert caplog.text == ""
    edit(runs[1], data__root="/elsewhere")
    assert labels([read_run(run) for run in runs]) == {"mil": [0, 1]}
    assert "several data.root" in caplog.text
    assert "/elsewhere, realmix" in caplog.text


def test_runs_are_found_at_any_depth_once_and_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        run_folder(tmp_path / "sweep" / f"{number}", seed=number)
    run_folder(tmp_path / "²", seed=2)
    found = read_runs([tmp_path / "sweep", tmp_path])
    assert [run.seed for run in found] == [1, 9, 10, 2]


def test_files_of_hydra_and_wandb_are_no_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_folder(tmp_path / "wandb" / "run")  # given by name, whatever is above it
    for place in (run / ".hydra", run / "wandb" / "offline-run" / "files"):
        place.mkdir(parents=True)
        (place / "config.yaml").write_text("x: 1\n")
    assert len(read_runs([run])) == 1
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("scores.json", None, "no scores.json"),
        ("scores.json", '{"segment": {', "damaged"),
        ("scores.json", '{"protocol": "x", "segment": {"audio": NaN}, "per_event": {"segment": 0}}', "is not a number"),
        ("scores.json", '{"protocol": "x", "segment": {"audio": 1}, "event": {}}', "per_event"),
        ("scores.json", '{"segment": {"audio": 1}, "event": {}, "per_event": {}}', "names no protocol"),
        ("scores.json", '{"protocol": null, "segment": {"audio": 1}, "per_event": {}}', "names no protocol"),
        ("scores.json", "[]", "damaged"),
        ("config.yaml", "name: [", "damaged"),
        ("config.yaml", "- a\n", "a list"),
        ("config.yaml", "name: x\nseed: 0\n", "damaged"),
        ("config.yaml", "name: x\nseed: 0\ndata: {root: y}\n", "does not name its data"),
        ("config.yaml", "name: x\nseed: ${nowhere}\ndata: {name: y}\n", "nowhere"),
        ("metrics.csv", "epoch,loss\n0,many\n", "many"),
        ("metrics.csv", "epoch,loss\n0\n", "changed by another program"),
    ],
)
def test_damaged_runs_are_skipped_with_a_warning(
    tmp_path: Path, file: str, content: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_folder(tmp_path / "0")
    path = run_folder(tmp_path / "1") / file
    path.unlink() if content is None else path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert [run.folder.name for run in read_runs([tmp_path])] == ["0"]
    (record,) = caplog.records
    assert str(tmp_path / "1") in record.getMessage()
    assert said in record.getMessage()
    with pytest.raises(InputError):
        read_run(tmp_path / "1")


def test_a_run_without_epochs_is_a_run(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "evaluated")
    (run / "metrics.csv").unlink()
    assert read_run(run).epochs == []


def test_runs_of_several_data_sets_are_refused(tmp_path: Path) -> None:
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", data="llp")
    with pytest.raises(InputError, match=r"several data sets \(llp, realmix\)"):
        read_runs([tmp_path])


def test_runs_of_several_protocols_are_never_mixed(tmp_path: Path) -> None:
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", protocol="mine", seed=1)
    run_folder(tmp_path / "2", protocol="mine", seed=2)
    with pytest.raises(InputError) as error:
        read_runs([tmp_path])
    assert str(error.value) == (
        "the runs were scored under several protocols (common: 1 run, mine: 2 runs), whose scores cannot be compared "
        "in one table; give protocol=common or protocol=mine (with the --config-dir of its file), or evaluate the "
        "checkpoints of the others under the same protocol"
    )
    assert [run.seed for run in read_runs([tmp_path], "mine")] == [1, 2]
    assert [run.seed for run in read_runs([tmp_path], "common")] == [0]
    with pytest.raises(
        InputError, match=r"protocol=ma: no run was scored under this protocol \(common: 1 run, mine: 2"
    ):
        read_runs([tmp_path], "ma")


def test_a_protocol_selects_before_data_sets_are_compared(tmp_path: Path) -> None:
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", protocol="mine", data="llp")
    assert [run.data for run in read_runs([tmp_path], "mine")] == ["llp"]


def test_a_run_without_a_protocol_is_old_or_foreign(tmp_path: Path) -> None:
    path = run_folder(tmp_path / "0") / "scores.json"
    path.write_text(path.read_text().replace('"protocol": "common", ', ""))
    with pytest.raises(InputError, match=r"scores.json: names no protocol, so another program wrote it"):
        read_run(tmp_path / "0")


def test_no_runs_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        read_runs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        read_runs([tmp_path / "nowhere"])


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of ``conf/`` to add files to, which is taken for the shipped one."""

    def forget() -> None:
        for cached in (reading.shipped, reading._composed, reading._choices):
            cached.cache_clear()

    folder = shutil.copytree(config_dir(), tmp_path / "conf")
    monkeypatch.setattr(reading, "config_dir", lambda: folder)
    forget()
    yield folder
    forget()


def test_under_another_protocol_a_run_is_compared_with_that_one(conf: Path, tmp_path: Path) -> None:
    """So methods with protocols of their own can stand in one table of the common protocol, and the other way round."""
    common = (conf / "protocol" / "common.yaml").read_text()
    (conf / "protocol" / "strict.yaml").write_text(
        common.replace("name: common", "name: strict").replace("video_threshold: 0.5", "video_threshold: 0.6")
    )
    (conf / "experiment" / "ma.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /protocol: strict\nname: ma\nprotocol: {selection: {mode: min}}\n"
    )
    gates, mode = "protocol.decision.video_threshold", "protocol.selection.mode"
    expected = {("mil", "common"): (0.5, "max"), ("mil", "strict"): (0.6, "max"), ("mil", None): (0.5, "max")}
    expected |= {("ma", "common"): (0.5, "max"), ("ma", "strict"): (0.6, "min"), ("ma", None): (0.6, "min")}
    for (name, protocol), values in expected.items():
        found = shipped(name, protocol) or {}
        assert (found[gates], found[mode]) == values, (name, protocol)
    assert not any(key.startswith("protocol.") for key in shipped("mil", "a stranger's") or {})
    at = {"protocol__decision__video_threshold": 0.6}
    runs = [
        made_run(tmp_path / "runs" / str(n), protocol=protocol, **at) for n, protocol in enumerate(("common", "strict"))
    ]
    found_plain = {setting.label: setting.plain for run in runs for setting in by_setting([run])}
    assert found_plain == {"mil decision.video_threshold=0.6": False, "mil": True}


def test_a_setting_that_has_to_be_given_does_not_tell_runs_apart(conf: Path, tmp_path: Path) -> None:
    (conf / "experiment" / "filed.yaml").write_text(
        "# @package _global_\nname: filed\nmethod:\n  targets:\n    file: ???\n"
    )
    runs = [
        made_run(tmp_path / "runs" / f"{n}", name="filed", seed=n, method__targets__file=f"{n}.npz") for n in (0, 1)
    ]
    (setting,) = by_setting(runs)
    assert (setting.label, setting.plain, len(setting.runs)) == ("filed", True, 2)


def test_the_epochs_of_an_experiment_are_told_where_they_are_not_as_shipped(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{n}", name="han", trainer__max_epochs=epochs) for n, epochs in enumerate((40, 10))]
    assert [(setting.label, setting.plain) for setting in by_setting(runs)] == [
        ("han", True),
        ("han max_epochs=10", True),
    ]
    assert "trainer.max_epochs" not in (shipped("mil") or {})  # they are those of the data


def test_reading_imports_nothing_slow() -> None:
    """A sweep reads its jobs' runs, and every command imports sweeps."""
    code = "import sys, avvp_pl.runs.reading; print(*({'torch', 'lightning', 'matplotlib', 'wandb'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_apart_says_what_differs_among_runs(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{n}", name="ppl_soft", labeling__k=k) for n, k in enumerate((1, 10))]
    assert [apart(run, runs) for run in runs] == [["k=1"], ["k=10"]]
