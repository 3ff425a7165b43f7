"""``train`` as a user runs it: what it writes, and that the same settings and seed give the same bits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from tests.conftest import Command
from tests.forks import Zygote
from tests.small import SMALL, content, environment, of_shell, rows, same_bits, train, weights


@pytest.fixture
def trained(command: Command, tmp_path: Path) -> Path:
    return train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=2")


def test_a_run_folder_is_complete(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "metrics.csv",
        "timings.csv",
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
    assert not any(name.startswith("labeling/") for name in labeled)  # durations differ between identical runs
    assert 0 <= float(labeled["pseudo_labels/visual/f1"]) <= 100
    events = rows(trained / "pseudo_labels.csv")
    assert len(events) == 25
    assert sum(int(row["positive_segments"]) for row in events) == float(labeled["pseudo_labels/positive_segments"])


def test_checkpoints_hold_plain_data_only(trained: Path) -> None:
    for name in ("best", "last"):
        checkpoint = content(trained, name)
        assert checkpoint["config"]["name"] == "ppl_soft"
        assert len(checkpoint["events"]) == 25


def test_same_seed_same_bits(command: Command, tmp_path: Path) -> None:
    one, two, other = (
        weights(train(command, tmp_path / name, "+experiment=ppl_soft", "trainer.max_epochs=2", f"seed={seed}"))
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    assert same_bits(one, two)
    assert not same_bits(one, other)


def test_a_labeling_on_the_command_line_is_the_experiment_that_chooses_it(command: Command, tmp_path: Path) -> None:
    """``method=mil labeling=prototype`` is all that makes ``+experiment=ppl_soft``, apart from its name."""
    same = ("trainer.max_epochs=3", "optimizer.learning_rate=0.003")
    composed = train(command, tmp_path / "composed", "method=mil", "labeling=prototype", *same)
    shipped = train(command, tmp_path / "shipped", "+experiment=ppl_soft", *same)
    for name in ("best", "last"):
        assert same_bits(weights(composed, name), weights(shipped, name))
    for file in ("metrics.csv", "pseudo_labels.csv", "scores.json", "predictions/probabilities.npz"):
        assert (composed / file).read_bytes() == (shipped / file).read_bytes(), file


def test_resume_continues_where_the_run_was(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=1", "resume=auto")
    first = rows(run / "metrics.csv")[0]
    train(command, run, "+experiment=ppl_soft", "trainer.max_epochs=3", "resume=auto")
    metrics = rows(run / "metrics.csv")
    assert metrics[0]["train/loss"] == first["train/loss"]
    assert [row["epoch"] for row in metrics[:3]] == ["0", "1", "2"]
    assert all(row["train/loss"] for row in metrics[:3])


def test_a_resumed_run_has_no_scores_until_it_ends(
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


def test_a_compiled_network_learns_the_same(zygote: Zygote, tmp_path: Path) -> None:
    """In processes of their own: the compiler cannot compile the shape checks of the tests."""
    states = []
    for name, compiling in (("plain", "compile=null"), ("compiled", "compile={backend: eager}")):
        arguments = [*SMALL, "logger=csv", "+experiment=mil", "trainer.max_epochs=1", compiling]
        zygote.shell("train", *arguments, f"hydra.run.dir={tmp_path / name}", folder=tmp_path, check=True)
        states.append(weights(tmp_path / name))
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
    labels = content(runs[1])["progress"]["labeling"]["pseudo_labels"]
    assert labels.dtype == torch.float32


def test_a_trial_is_not_a_finished_run(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(command, tmp_path / "run", "+trainer.fast_dev_run=true")
    assert (
        "this was a trial with a few steps (trainer.fast_dev_run): its scores are not saved" in capfd.readouterr().out
    )
    assert not list(run.rglob("scores.json"))
    assert not list(run.rglob("*.ckpt"))
    assert command("report", f"runs={run}", f"output={tmp_path / 'report'}") == 2
    assert "no finished run" in capfd.readouterr().err
    train(command, run, "trainer.max_epochs=1", "resume=auto")  # it starts
    before = (run / "scores.json").read_bytes()
    assert command("train", *SMALL, "logger=csv", f"hydra.run.dir={run}", "+trainer.fast_dev_run=true") == 2
    assert f"{run} holds a run; trainer.fast_dev_run needs a folder of its own" in capfd.readouterr().err
    assert (run / "scores.json").read_bytes() == before


def test_a_test_of_some_videos_is_a_trial(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    some = ("+trainer.limit_test_batches=2", "data.eval_batch_size=4", "trainer.max_epochs=1")
    run = train(command, tmp_path / "run", *some)
    assert "a trial with 8 of 16 test videos (trainer.limit_test_batches): its" in capfd.readouterr().out
    assert not (run / "scores.json").exists()


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ("+trainer.overfit_batches=1", "trainer.overfit_batches: every epoch has other batches"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches=0: nothing would be trained"),
        ("+trainer.limit_test_batches=0.0", "trainer.limit_test_batches=0.0: nothing would be tested"),
        ("+trainer.limit_val_batches=0", "the trainer never validates"),
        ("+trainer.logger=false", "trainer.logger: it would have no effect; give logger=csv"),
        ("+trainer.callbacks=[]", "trainer.callbacks: it would have no effect; give +callbacks.NAME="),
        ("+trainer.max_steps=1", "the training has ended before an epoch could be selected"),
        ("+trainer.overfit_batchs=1", "overfit_batchs"),
        (
            "trainer.overfit_batches=1",
            "To add an argument of another library, give +trainer.overfit_batches=..., with +",
        ),
        ("logger.csv.flush=1", "give +logger.csv.flush=..., with +"),
    ],
)
def test_switches_of_the_trainer_that_make_no_result_are_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], switch: str, message: str
) -> None:
    run = tmp_path / "run"
    assert command("train", *SMALL, "logger=csv", "trainer.max_epochs=1", f"hydra.run.dir={run}", switch) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert message in error
    assert not (run / "scores.json").exists()


@pytest.mark.parametrize(
    "switch",
    [
        "limit_train_batches=1",
        "limit_val_batches=1",
        "detect_anomaly=true",
        "profiler=simple",
        "enable_progress_bar=false",
    ],
)
def test_other_switches_of_the_trainer_work(command: Command, tmp_path: Path, switch: str) -> None:
    run = train(command, tmp_path / "run", "trainer.max_epochs=1", f"+trainer.{switch}")
    assert (run / "scores.json").exists()


@pytest.mark.parametrize(
    "left",
    [
        {"RANK": "1"},
        {"LOCAL_RANK": "1", "WORLD_SIZE": "2"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "x"},
    ],
    ids=" ".join,
)
def test_a_run_is_complete_in_the_environment_of_another_launcher(tmp_path: Path, left: dict[str, str]) -> None:
    """In a process of its own: Lightning reads the environment when it is imported."""
    run = tmp_path / "run"
    arguments = [*SMALL, "logger=csv", "trainer.max_epochs=1", f"hydra.run.dir={run}"]
    subprocess.run(
        of_shell("train", *arguments), cwd=tmp_path, env={**environment(), **left}, capture_output=True, check=True
    )
    assert all((run / name).exists() for name in ("config.yaml", "metrics.csv", "scores.json", ".lock"))
    assert "INFO epoch 0 of 1" in (run / "train.log").read_text()
