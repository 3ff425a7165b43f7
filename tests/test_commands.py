"""The commands as a user runs them, on a tiny synthetic set."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.settings.conf import config_dir
from tests.conftest import Command

TINY = (
    "data.sizes.train=32",
    "data.sizes.val=16",
    "data.sizes.test=16",
    "network.dim=32",
    "network.feedforward_dim=32",
    "trainer.accelerator=cpu",
)
EXPERIMENTS = sorted(
    path.stem
    for path in (config_dir() / "experiment").glob("*.yaml")
    if "inference" not in OmegaConf.load(path)  # what is for evaluate: tests/test_evaluate.py
)
KEY = "0123456789abcdef0123456789abcdef01234567"  # to W&B
REPOSITORY = Path(__file__).resolve().parents[1]


def train(command: Command, folder: Path, *arguments: str) -> Path:
    assert command("train", *TINY, "logger=csv", f"hydra.run.dir={folder}", *arguments) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(command: Command, tmp_path: Path) -> Path:
    return train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=2")


def test_a_run_folder_is_complete(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "metrics.csv",
        "scores.json",
        "pseudo_labels.csv",
        "predictions/audio.csv",
        "predictions/visual.csv",
        "predictions/probabilities.npz",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "train.log",
    }
    metrics = rows(trained / "metrics.csv")
    assert [row["epoch"] for row in metrics[:2]] == ["0", "1"]
    for name in ("train/loss", "val/segment/type_av", "val/average"):
        assert all(float(row[name]) >= 0 for row in metrics[:2])
    labeled = metrics[1]  # start_epoch is 1
    for name in ("train/em/bound", "train/contrastive"):
        assert metrics[0][name] == ""
        assert labeled[name] != ""
    (timed,) = rows(trained / "timings.csv")
    assert timed["epoch"] == "1"
    assert float(timed["labeling/share_of_training"]) > 0
    assert not any(name.startswith("labeling/") for name in labeled)  # what a clock says is not the same twice
    assert 0 <= float(labeled["pseudo_labels/visual/f1"]) <= 100
    events = rows(trained / "pseudo_labels.csv")
    assert len(events) == 25
    assert sum(int(row["positive_segments"]) for row in events) == float(labeled["pseudo_labels/positive_segments"])


def test_checkpoints_hold_plain_data_only(trained: Path) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(trained / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["config"]["name"] == "ppl_soft"
        assert len(checkpoint["events"]) == 25


def test_the_last_checkpoint_is_of_the_last_epoch_and_the_best_of_the_best(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", "trainer.max_epochs=6", "method.learning_rate=0.05")
    scores = [float(row["val/segment/type_av"]) for row in rows(run / "metrics.csv")[:6]]
    epochs = {
        name: torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")
    }
    assert epochs == {"best": scores.index(max(scores)), "last": 5}


def test_same_seed_same_bits(command: Command, tmp_path: Path) -> None:
    one, two, other = (
        train(command, tmp_path / name, "+experiment=ppl_soft", "trainer.max_epochs=2", f"seed={seed}")
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two, other)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_a_job_of_a_sweep_has_the_bits_of_a_run_by_itself(command: Command, tmp_path: Path) -> None:
    """Whatever the process did before."""
    alone = train(command, tmp_path / "alone", "+experiment=ppl_soft", "trainer.max_epochs=2", "seed=3")
    sweep = ("-m", "+experiment=npl_hard,ppl_soft", "seed=3", "trainer.max_epochs=2", f"hydra.sweep.dir={tmp_path}")
    assert command("train", *sweep, *TINY, "logger=csv") == 0
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (alone, tmp_path / "1")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    predictions = ("predictions/audio.csv", "predictions/probabilities.npz")
    for file in ("metrics.csv", "pseudo_labels.csv", "scores.json", *predictions):
        assert (tmp_path / "1" / file).read_bytes() == (alone / file).read_bytes()


def test_a_run_without_validation_tests_its_last_epoch(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", "trainer.max_epochs=2", "+trainer.limit_val_batches=0")
    assert not (run / "checkpoints" / "best.ckpt").exists()
    scores = json.loads((run / "scores.json").read_text())
    last = run / "checkpoints" / "last.ckpt"
    assert command("evaluate", f"checkpoint={last}", f"hydra.run.dir={tmp_path / 'again'}") == 0
    assert json.loads((tmp_path / "again" / "scores.json").read_text()) == scores


def test_resume_goes_on_where_it_was(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=1", "resume=auto")
    first = rows(run / "metrics.csv")[0]
    train(command, run, "+experiment=ppl_soft", "trainer.max_epochs=3", "resume=auto")
    metrics = rows(run / "metrics.csv")
    assert metrics[0]["train/loss"] == first["train/loss"]
    assert [row["epoch"] for row in metrics[:3]] == ["0", "1", "2"]
    assert all(row["train/loss"] for row in metrics[:3])


def test_a_run_that_is_gone_on_with_has_no_scores_until_it_ends(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", "trainer.max_epochs=1")

    def broken(*_: object, **__: object) -> None:
        assert not (run / "scores.json").exists()
        raise RuntimeError("the machine is on fire")

    with monkeypatch.context() as patch:
        patch.setattr("lightning.pytorch.Trainer.fit", broken)
        with pytest.raises(RuntimeError, match="on fire"):
            train(command, run, "+experiment=mil", "trainer.max_epochs=2", "resume=auto")
    assert not (run / "scores.json").exists()
    train(command, run, "+experiment=mil", "trainer.max_epochs=2", "resume=auto")
    assert (run / "scores.json").exists()


def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    """In processes of their own: checking shapes in a compiled function is not for the compiler."""
    states = []
    for name, compiling in (("plain", "compile=null"), ("compiled", "compile={backend: eager}")):
        arguments = [*TINY, "logger=csv", "+experiment=mil", "trainer.max_epochs=1", compiling]
        arguments.append(f"hydra.run.dir={tmp_path / name}")
        subprocess.run(
            [sys.executable, "-m", "avvp_pl.train", *arguments], cwd=tmp_path, check=True, capture_output=True
        )
        last = tmp_path / name / "checkpoints" / "last.ckpt"
        states.append(torch.load(last, weights_only=True)["state_dict"])
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-4, rtol=1e-3)


def test_half_precision_trains_to_full_precision_probabilities(command: Command, tmp_path: Path) -> None:
    runs = [
        train(
            command,
            tmp_path / precision,
            "+experiment=ppl_soft",
            "trainer.max_epochs=2",
            f"+trainer.precision={precision}",
        )
        for precision in ("32-true", "bf16-mixed")
    ]
    full, half = (rows(run / "metrics.csv")[1] for run in runs)
    for name in full:
        if name.startswith("train/"):
            assert float(half[name]) == pytest.approx(float(full[name]), rel=0.05), name
    assert half["train/loss"] != full["train/loss"]
    labels = torch.load(runs[1] / "checkpoints" / "last.ckpt", weights_only=True)["pseudo_labels"]
    assert labels.dtype == torch.float32


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains(command: Command, tmp_path: Path, experiment: str) -> None:
    run = train(command, tmp_path / "run", f"+experiment={experiment}", "trainer.max_epochs=2")
    assert f"name: {experiment}" in (run / "config.yaml").read_text()
    assert (run / "scores.json").exists()


def test_multirun_sweeps_and_sums_up(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    arguments = ("-m", *TINY, "logger=csv", "trainer.max_epochs=2", f"hydra.sweep.dir={sweep}")
    assert command("train", *arguments, "+experiment=ppl_soft", "method.k=1,2", "method.gamma=0.5,1", "seed=0,1") == 0
    assert len(list(sweep.glob("*/scores.json"))) == 8
    summary = (sweep / "summary.md").read_text()
    assert len(summary.splitlines()) == 2 + 4
    assert "| method.k=2, method.gamma=1 | 2 |" in summary
    assert summary in capsys.readouterr().out


def test_a_failing_job_costs_the_others_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    arguments = ("-m", *TINY, "logger=csv", "trainer.max_epochs=1", f"hydra.sweep.dir={sweep}")
    # one job a batch: what a job raised would end the sweep with its batch
    failing = ("+experiment=mil", "resume=nowhere.ckpt,null", "hydra.sweeper.max_batch_size=1")
    assert command("train", *arguments, *failing) == 1
    summary = (sweep / "summary.md").read_text()
    assert "| resume=null | 1 |" in summary
    said = "resume=nowhere.ckpt: no such file; give a checkpoint, auto or null"
    assert f"Failed:\n- 0 (resume=nowhere.ckpt): {said}\n" in summary
    assert summary in capsys.readouterr().out
    error = (sweep / "0" / "error.txt").read_text()
    assert error.startswith(f"{said}\n\nTraceback")
    assert said in (sweep / "0" / "train.log").read_text()
    assert not (sweep / "1" / "error.txt").exists()


def test_any_error_is_of_its_job_alone_but_a_request_to_stop_is_of_all(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnpicklableError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("out of memory")

    def build(cfg: DictConfig, videos: ParsingSet) -> ParsingData:
        raise {0: UnpicklableError(1, 2), 1: KeyboardInterrupt()}[cfg.seed]

    monkeypatch.setattr("avvp_pl.commands.build.build_data", build)
    arguments = ("-m", *TINY, "logger=csv", f"hydra.sweep.dir={tmp_path}", "seed=0,1,2", "threads=1")
    assert command("train", *arguments) == 130
    assert "- 0 (all): UnpicklableError: out of memory\n" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "2").exists()


LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


def sweep_elsewhere(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A sweep with its launcher's processes, as from a shell."""
    command = [sys.executable, "-m", "avvp_pl.train", "-m", *TINY, "logger=csv", "trainer.max_epochs=1", *arguments]
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sweep_in_other_processes(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(LAUNCHERS[launcher], reason=f"the launcher {launcher} is an extra")
    sweep = tmp_path / "sweep"
    arguments = ("+experiment=ppl_soft", "resume=null,nowhere.ckpt", f"hydra.sweep.dir={sweep}")
    process = sweep_elsewhere(tmp_path, *arguments, f"+launcher={launcher}")
    assert process.returncode == 1, process.stderr
    summary = (sweep / "summary.md").read_text()
    assert process.stdout.endswith(f"\n{summary}\n{sweep / 'summary.md'}\n")
    assert "| resume=null | 1 |" in summary
    assert "- 1 (resume=nowhere.ckpt): resume=nowhere.ckpt: no such file" in summary
    assert OmegaConf.load(sweep / "0" / "config.yaml").threads == 1
    assert "Traceback" in (sweep / "1" / "error.txt").read_text()


def test_search_with_optuna(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the sweeper optuna is an extra")
    sweep = tmp_path / "sweep"
    search = ("+experiment=ppl_soft", "+sweep=optuna", "hydra.sweeper.n_trials=5", "method.tau=0.1")
    process = sweep_elsewhere(tmp_path, *search, f"hydra.sweep.dir={sweep}", "resume=null,nowhere.ckpt")
    assert process.returncode == 1, process.stderr
    scores = [float(rows(path)[0]["val/segment/type_av"]) for path in sweep.glob("*/metrics.csv")]
    failed = len(list(sweep.glob("*/error.txt")))
    assert failed > 0  # the seeded sampler tries both values of resume
    assert len(scores) == 5 - failed > 0
    found = OmegaConf.load(sweep / "optimization_results.yaml")
    assert found.best_params.resume == "null"
    assert found.best_value == pytest.approx(max(scores))
    assert process.stdout.count("resume=nowhere.ckpt: no such file", process.stdout.index("Failed:")) == failed


def test_slurm_is_asked_for_what_is_set(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="the launcher submitit_slurm is an extra")
    settings = ("partition=gpu", "account=me", "timeout_min=90", "mem_gb=32", "gpus_per_node=2", "tasks_per_node=2")
    arguments = ("+launcher=submitit_slurm", *(f"hydra.launcher.{setting}" for setting in settings))
    assert command("train", "--cfg", "hydra", *arguments) == 0
    asked = OmegaConf.create(capsys.readouterr().out).hydra.launcher
    assert asked._target_.endswith("SlurmLauncher")
    for setting in settings:
        key, _, value = setting.partition("=")
        assert str(asked[key]) == value


@pytest.mark.parametrize(
    ("module", "argument", "extra"),
    [
        ("joblib", "+launcher=joblib", "sweep"),
        ("submitit", "+launcher=submitit_local", "slurm"),
        ("submitit", "hydra/launcher=submitit_slurm", "slurm"),
        ("ray", "+launcher=ray", "ray"),
        ("optuna", "+sweep=optuna", "optuna"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(
    command: Command, capfd: pytest.CaptureFixture[str], module: str, argument: str, extra: str
) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    assert command("train", "-m", "+experiment=ppl_soft", "seed=0,1", argument) == 2
    assert f'is not installed: pip install "avvp_pl[{extra}]"' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=ppl_sof"], "Did you mean 'ppl_soft'?"),
        (["+experimet=ppl_soft"], "Did you mean 'experiment'?"),
        (["+experiment=ppl_soft", "method.gama=1"], "Did you mean 'method.gamma'?"),
        (["+method.gama=1", "+experiment=ppl_soft"], "no group or setting 'method.gama'"),
        (["data=lp"], "Did you mean 'llp'?"),
        (["data=llp"], "data.root must be given"),
        (["data=llp", "data.root=nowhere"], "nowhere: this is not an LLP folder"),
        (["+experiment=ppl_soft", "method.gamma=0"], "method.gamma=0: it must be a number in (0, 1]"),
        (["+experiment=ppl_soft", "method.gamma=1.01"], "it must be a number in (0, 1]"),
        (["+experiment=ppl_soft", "method.beta=1"], "it must be a number in (0, 1)"),
        (["+experiment=ppl_soft", "method.k=0"], "it must be a whole number of at least 1"),
        (["+experiment=ppl_soft", "method.tau=0"], "it must be a number above 0"),
        (["+experiment=ppl_soft", "method.tau=nan"], "it must be a number above 0"),
        (["-m", "+experiment=ppl_soft", "method.gamma=0.5,2"], "method.gamma=2: it must be"),
        (["-m", "+experiment=ppl_soft", "method.gamma=2", "seed=0,1"], "method.gamma=2: it must be"),
        (["+sweep=methods", "data.noise=0.5,-1"], "data.noise=-1: it must be"),
        (["network.cross_attention=off"], "network.cross_attention=off: it must be true or false"),
        (["+experiment=ppl_soft", "method.labels=sft"], "it must be one of soft, hard"),
        (["+experiment=ppl_soft", "method.kmeans=cuml"], "it must be one of faiss, torch"),
        (["network.num_heads=3"], "network.num_heads=3: it must divide network.dim=512"),
        (["compile=true"], "compile=True: it must be names and values such as {mode: reduce-overhead}"),
    ],
)
def test_bad_settings_are_refused_before_any_work(
    command: Command, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command("train", *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "setting",
    [
        "+logger.wandb.settings.api_key={key}",
        "logger.wandb.settings={{_target_: wandb.Settings, api_key: {key}}}",
        "+hydra.job.env_set.WANDB_API_KEY={key}",
        "+trainer.my_password={key}",
        "+callbacks.panels.Access-Token={key}",
        "-m +logger.wandb.settings.apikey={key},x",
    ],
)
def test_a_key_is_refused_before_anything_is_written(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str
) -> None:
    assert command("train", *setting.format(key=KEY).split(" ", 1 if setting[0] == "-" else 0), *TINY) == 2
    printed = capfd.readouterr()
    assert "a secret must not be a setting" in printed.err
    assert KEY not in printed.err + printed.out
    assert not list(tmp_path.rglob("*"))


def test_a_key_in_a_file_of_settings_is_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nlogger:\n  wandb:\n    settings:\n      api_key: '{KEY}'\n"
    )
    assert command("train", *TINY, f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine") == 2
    error = capfd.readouterr().err
    assert "logger.wandb.settings.api_key: a secret must not be a setting" in error
    assert KEY not in error
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert [path.name for path in kept] == ["mine.yaml"]


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_a_run_that_is_gone_on_with_is_one_to_its_logger(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logger: str
) -> None:
    """Killed between an epoch's row and its checkpoint, so that the row is logged twice."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="an extra")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    arguments = (*TINY, "+experiment=mil", f"logger={logger}", f"hydra.run.dir={run}", "resume=auto")
    assert command("train", *arguments, "trainer.max_epochs=1") == 0
    first = last.read_bytes()
    assert command("train", *arguments, "trainer.max_epochs=2") == 0
    last.write_bytes(first)
    assert command("train", *arguments, "trainer.max_epochs=2") == 0
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["2", "4"]
    if logger == "tensorboard":
        events = reader.EventAccumulator(str(run / "tensorboard")).Reload()
        assert [scalar.step for scalar in events.Scalars("train/loss")] == [2, 4]
        return
    offline = list((tmp_path / "outputs" / "wandb").glob("offline-run-*"))
    assert len(offline) == 3
    assert len({path.name.rpartition("-")[2] for path in offline}) == 1
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_wandb_runs_offline_with_panels(command: Command, tmp_path: Path) -> None:
    arguments = (*TINY, "+experiment=ppl_soft", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert command("train", *arguments) == 0
    (run,) = (tmp_path / "outputs" / "wandb").glob("offline-run-*")
    images = list((run / "files" / "media" / "images" / "timelines").glob("*.png"))
    assert len(images) == 4 * 2
    (table,) = (run / "files" / "media" / "table" / "test").glob("per_event_f1*.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["event", "segment/audio", "segment/visual"]
    assert len(content["data"]) == 25


def test_prepare_packs_a_good_folder_and_lists_every_problem(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "llp"
    (root / "data").mkdir(parents=True)
    videos = [f"{name:_<11}_0_10" for name in ("one", "two", "three")]
    for table, video in zip(("train", "val_pd", "test_pd"), videos, strict=True):
        (root / "data" / f"AVVP_{table}.csv").write_text(f"filename\tevent_labels\n{video}\tSpeech\n")
    for modality in ("audio", "visual"):
        (root / "data" / f"AVVP_eval_{modality}.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    for stream, shape in (("vggish", (10, 4)), ("res152", (80, 6)), ("r2plus1d_18", (10, 5))):
        (root / "feats" / stream).mkdir(parents=True)
        for video in videos:
            np.save(root / "feats" / stream / f"{video[:11]}.npy", np.ones(shape, dtype=np.float32))
    assert command("prepare", f"data.root={root}") == 0
    printed = capfd.readouterr().out
    assert "everything is in order: 3 videos, dimensions {'vggish': 4, 'res152': 6, 'r2plus1d_18': 5}" in printed
    assert f"packed: {root / 'packed'}, 0.0 MB of float32; data=llp uses it" in printed
    assert command("prepare", f"data.root={root}", "data.packed=null") == 2
    assert "give a folder to pack into" in capfd.readouterr().err

    weights: list[dict[str, torch.Tensor]] = []
    for packed in (str(root / "packed"), "null"):
        run = tmp_path / f"run{len(weights)}"
        data = ("data=llp", f"data.root={root}", f"data.packed={packed}", *TINY[3:], "trainer.max_epochs=1")
        assert command("train", "+experiment=mil", *data, "logger=csv", f"hydra.run.dir={run}") == 0
        assert ("the packed features are used" in (run / "train.log").read_text()) == (packed != "null")
        weights.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    (root / "feats" / "vggish" / f"{videos[0][:11]}.npy").unlink()
    np.save(root / "feats" / "res152" / f"{videos[1][:11]}.npy", np.full((80, 6), np.nan))
    assert command("prepare", f"data.root={root}") == 2
    error = capfd.readouterr().err
    assert "2 problems" in error
    assert f"vggish/{videos[0][:11]}.npy: no such file" in error
    assert f"res152/{videos[1][:11]}.npy: holds NaN" in error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on(
    command: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    arguments = (*TINY, "logger=csv", "+experiment=ppl_soft", f"hydra.run.dir={run}", "resume=auto")
    long = [*arguments, "trainer.max_epochs=10000"]
    process = subprocess.Popen([sys.executable, "-m", "avvp_pl.train", *long], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "pseudo_labels.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    epoch = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    train(command, run, "+experiment=ppl_soft", f"trainer.max_epochs={epoch + 2}", "resume=auto")
    assert [int(row["epoch"]) for row in rows(run / "metrics.csv")][: epoch + 2] == list(range(epoch + 2))


def test_processes_that_are_started_as_commands_stop_together(tmp_path: Path) -> None:
    """The default way of trainer=ddp; a signal to the first, and none is left behind."""
    run = tmp_path / "run"
    arguments = [*TINY, "logger=csv", "+experiment=ppl_soft", f"hydra.run.dir={run}", "trainer.max_epochs=10000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "avvp_pl.train", *arguments, "trainer=ddp", "trainer.devices=2"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (run / "pseudo_labels.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process was left behind")
    assert "stopped by SIGTERM" in (run / "train.log").read_text()
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["losses"]["sums"].shape[0] == 2


def test_two_processes_test_as_one(command: Command, tmp_path: Path) -> None:
    odd = ("data.sizes.train=33", "data.sizes.val=17", "data.sizes.test=19", "network.dim=32", "logger=csv")
    two = ("trainer.accelerator=cpu", "trainer.devices=2", "+trainer.strategy=ddp_fork", "trainer.max_epochs=2")
    arguments = [*odd, *two, "+experiment=ppl_soft", f"hydra.run.dir={tmp_path / 'two'}"]
    subprocess.run([sys.executable, "-m", "avvp_pl.train", *arguments], cwd=tmp_path, check=True, capture_output=True)
    best = tmp_path / "two" / "checkpoints" / "best.ckpt"
    assert command("evaluate", f"checkpoint={best}", f"hydra.run.dir={tmp_path / 'one'}") == 0
    for table in ("predictions/audio.csv", "predictions/visual.csv"):
        assert (tmp_path / "two" / table).read_text() == (tmp_path / "one" / table).read_text()
    probs = [np.load(tmp_path / name / "predictions" / "probabilities.npz") for name in ("one", "two")]
    assert probs[0]["names"].tolist() == probs[1]["names"].tolist() == [f"synthetic_test_{i:06d}" for i in range(19)]
    for part in ("segment", "video"):
        np.testing.assert_allclose(probs[0][part], probs[1][part], atol=1e-3)
        assert len(np.unique(probs[0][part], axis=0)) == 19  # so that another order would not do
    one, both = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two"))
    assert both["videos"] == one["videos"] == {"listed": 19, "with_predictions": one["videos"]["with_predictions"]}
    for level in ("segment", "event"):
        assert both[level] == pytest.approx(one[level], abs=1e-9)


def test_two_processes_train_as_one(command: Command, tmp_path: Path) -> None:
    """The same effective batch, without dropout: losses, prototypes, labels and scores agree."""
    same = ("+experiment=ppl_soft", "network.dropout=0", "trainer.max_epochs=3", "method.max_segments_per_event=40")
    one = train(command, tmp_path / "one", *same, "data.sizes.train=192")
    arguments = ("trainer=ddp", "trainer.devices=2", "+trainer.strategy.start_method=fork", "data.batch_size=8")
    two = [*TINY, "logger=csv", *same, "data.sizes.train=192", *arguments, f"hydra.run.dir={tmp_path / 'two'}"]
    subprocess.run([sys.executable, "-m", "avvp_pl.train", *two], cwd=tmp_path, check=True, capture_output=True)
    for row, other in zip(rows(one / "metrics.csv"), rows(tmp_path / "two" / "metrics.csv"), strict=True):
        for name in row:
            if row[name] and name.startswith(("train/", "pseudo_labels/")):
                assert float(other[name]) == pytest.approx(float(row[name]), rel=2e-3), name
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, tmp_path / "two")]
    difference = (states[0]["pseudo_labels"] - states[1]["pseudo_labels"]).abs()
    assert difference.mean() < 1e-4
    for sign in ("positive", "negative"):
        mine, other = (state["state_dict"][sign] for state in states)
        torch.testing.assert_close(mine, other, atol=1e-2, rtol=0)
    assert (states[0]["pseudo_labels"] > 0.5).any()
    for table in ("predictions/audio.csv", "predictions/visual.csv"):
        assert (tmp_path / "two" / table).read_text() == (one / table).read_text()


def test_ddp_does_not_start_a_sweep_within_a_sweep(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = ("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}", "trainer=ddp", "trainer.devices=2", "logger=csv")
    assert command("train", *sweep, *TINY) != 0
    assert "cannot start processes inside a sweep" in capfd.readouterr().out  # the sweep's summary


def test_help_is_fast(tmp_path: Path) -> None:
    """Nothing heavy is imported for it (the time itself is a benchmark's business)."""
    code = (
        "import sys, avvp_pl.train; print({'torch', 'lightning', 'wandb', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


def test_an_installed_wheel_finds_its_configuration(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    copy = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(copy)], check=True)
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(copy)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "avvp_pl.train", "--cfg", "job", "+experiment=ppl_soft"]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "name: ppl_soft" in printed.stdout
    where = [sys.executable, "-c", "import avvp_pl.methods.ppl as m; print(m.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(tmp_path / "site"))
    assert (tmp_path / "site" / "avvp_pl" / "reporting" / "published.csv").is_file()
    assert (tmp_path / "site" / "avvp_pl" / "reporting" / "assets" / "page.js").is_file()
