"""Run folders made on disk: what is read, what is one setting, what is refused."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.runs.reading import Run, by_setting, read_run, read_runs, shipped
from avvp_pl.settings.conf import config_dir
from tests.reporting.made import made_run, run_folder


def edit(folder: Path, **changes: object) -> None:
    """Change ``config.yaml``: names, with __ for their dots, and values."""
    config = OmegaConf.load(folder / "config.yaml")
    for name, value in changes.items():
        OmegaConf.update(config, name.replace("__", "."), value, merge=False, force_add=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))


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
    assert run.settings["method.gamma"] == 0.5
    assert not {"seed", "method.seed", "name", "tags", "paths.run_dir", "data.root"} & set(run.settings)


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
        made_run(tmp_path / f"{number}", name=name, seed=seed, gamma=gamma, k=10)
        for number, (name, seed, gamma) in enumerate(
            [("ppl", 0, 0.5), ("ppl", 1, 0.5), ("ppl", 0, 0.2), ("mil", 0, 0.9)]
        )
    ]
    assert labels(runs) == {"ppl gamma=0.5": [0, 1], "ppl gamma=0.2": [0], "mil": [0]}


def test_equal_numbers_are_one_setting_however_they_are_spelled(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{seed}", seed=seed, gamma=gamma) for seed, gamma in enumerate((1, 1.0, 0.5))]
    assert labels(runs) == {"mil gamma=1": [0, 1], "mil gamma=0.5": [2]}


def test_what_older_runs_do_not_know_does_not_set_them_apart(tmp_path: Path) -> None:
    old, new = made_run(tmp_path / "old", seed=0), made_run(tmp_path / "new", seed=1, momentum_warmup=True)
    assert labels([old, new]) == {"mil": [0, 1]}
    other = made_run(tmp_path / "other", seed=0, momentum_warmup=False)
    assert set(labels([old, new, other])) == {"mil", "mil momentum_warmup=true", "mil momentum_warmup=false"}


def test_labels_say_what_is_not_as_shipped_whatever_else_is_reported(tmp_path: Path) -> None:
    default, low = made_run(tmp_path / "0", name="ppl_soft"), made_run(tmp_path / "1", name="ppl_soft", gamma=0.25)
    by = made_run(tmp_path / "2", name="ppl_soft", inference="prototype")
    expected = [("ppl_soft", True), ("ppl_soft gamma=0.25", False), ("ppl_soft inference=prototype", False)]
    for run, (label, plain) in zip((default, low, by), expected, strict=True):
        (setting,) = by_setting([run])
        assert (setting.label, setting.plain) == (label, plain)
    assert [(setting.label, setting.plain) for setting in by_setting([default, low, by])] == expected
    (unguided,) = by_setting([made_run(tmp_path / "3", guided_weights={"audio": 1.0, "visual": 0})])
    assert (unguided.label, unguided.plain) == ("mil guided_weights.visual=0", False)


def test_what_an_older_run_does_not_know_is_as_shipped(tmp_path: Path) -> None:
    old = run_folder(tmp_path / "0", name="ppl_soft")
    config = OmegaConf.load(old / "config.yaml")
    del config.method["label_attending"]
    (old / "config.yaml").write_text(OmegaConf.to_yaml(config))
    new = run_folder(tmp_path / "1", name="ppl_soft", seed=1)
    other = run_folder(tmp_path / "2", name="ppl_soft", seed=2, label_attending=["audio"])
    runs = [read_run(run) for run in (old, new, other)]
    assert labels(runs) == {"ppl_soft": [0, 1], "ppl_soft label_attending=[audio]": [2]}


def test_a_network_of_another_size_is_told_and_the_method_stays_as_shipped(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "0")
    edit(folder, network={"_target_": "avvp_pl.models.han.HAN", "dim": 16, "num_heads": 1})
    (setting,) = by_setting([read_run(folder)])
    assert (setting.label, setting.plain) == ("mil dim=16", True)


def test_another_method_by_the_name_of_an_experiment_is_told_by_its_class(tmp_path: Path) -> None:
    shutil.copytree(run_folder(tmp_path / "0", name="ppl_soft"), tmp_path / "1")
    edit(tmp_path / "1", name="mil", method__inference="prototype")
    (setting,) = by_setting([read_run(tmp_path / "1")])
    assert (setting.label, setting.plain) == ("mil method=PPL inference=prototype", False)


def test_classes_of_one_name_are_told_in_full(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{n}", _target_=target) for n, target in enumerate(("mine.Net", "yours.Net"))]
    assert set(labels(runs)) == {"mil method._target_=mine.Net", "mil method._target_=yours.Net"}


def test_ppl_test_is_told_by_the_training_of_its_network(tmp_path: Path) -> None:
    expected = {}
    for number, (name, changes) in enumerate(
        {
            "han_ppl_test inference=prototype": {},
            "han_ppl_test inference=prototype trained_method.class_weighting=inverse_frequency": {
                "class_weighting": "inverse_frequency"
            },
            "han_ppl_test inference=prototype trained_method=NPL": {"_target_": "avvp_pl.methods.npl.NPL"},
        }.items()
    ):
        han = OmegaConf.load(run_folder(tmp_path / f"han{number}", name="han") / "config.yaml").method
        folder = run_folder(tmp_path / f"{number}", name="han_ppl_test", inference="prototype")
        edit(folder, trained_method={**han, **changes})
        (setting,) = by_setting([read_run(folder)])
        expected[name] = setting.plain
        assert setting.label == name
    assert list(expected.values()) == [True, False, False]


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
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        assert (shipped("ppl_hard") or {})["method.labels"] == "hard"
        assert GlobalHydra.instance().hydra is before
    shipped.cache_clear()
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
    edit(runs[1], threads=3, data__source__root="/x", inference="classifier")
    assert labels([read_run(run) for run in runs]) == {"mil": [0, 1]}


@pytest.mark.parametrize(
    ("key", "values", "spelled"),
    [
        ("trainer__max_epochs", (10, 20), ("max_epochs=10", "max_epochs=20")),
        ("data__dtype", ("float32", "bfloat16"), ("data.dtype=float32", "data.dtype=bfloat16")),
        ("trainer__devices", (1, [0, 3]), ("devices=1", "devices=2")),
        ("trainer__num_nodes", (1, 3), ("devices=1", "devices=3")),
        ("checkpoint", ("a/best.ckpt", "a/last.ckpt"), ("checkpoint=best", "checkpoint=last")),
        ("callbacks__best__monitor", ("a", "b"), ("best.monitor=a", "best.monitor=b")),
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
    assert "the newer one counts" in caplog.text
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
        ("scores.json", '{"segment": {"audio": NaN}, "event": {}, "per_event": {}}', "a score that is no number"),
        ("scores.json", '{"segment": {"audio": 1}, "event": {}}', "per_event"),
        ("config.yaml", "name: [", "damaged"),
        ("config.yaml", "- a\n", "a list"),
        ("config.yaml", "name: x\nseed: 0\n", "damaged"),
        ("config.yaml", "name: x\nseed: 0\ndata: {root: y}\n", "does not name its data"),
        ("config.yaml", "name: x\nseed: ${nowhere}\ndata: {name: y}\n", "nowhere"),
        ("metrics.csv", "epoch,loss\n0,many\n", "many"),
        ("metrics.csv", "epoch,loss\n0\n", "changed by another program"),
    ],
)
def test_damaged_runs_are_passed_over_with_a_word(
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


def test_no_runs_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        read_runs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        read_runs([tmp_path / "nowhere"])
