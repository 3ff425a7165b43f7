"""Runs of several processes, and signals to runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command
from tests.forks import Zygote
from tests.small import SMALL, checkpoint, content, environment, of_shell, rows, train


def wait_for_labels(process: subprocess.Popen[bytes], run: Path, deadline: float) -> None:
    while not (run / "pseudo_labels.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_can_be_resumed(
    command: Command, zygote: Zygote, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = (*SMALL, "logger=csv", "+experiment=ppl_soft", f"hydra.run.dir={run}", "resume=auto")
    endless = [*arguments, "trainer.max_epochs=10000"]
    process = zygote.start(module="avvp_pl.train", arguments=endless, folder=tmp_path, out=log, err=log)
    deadline = time.monotonic() + 120
    while not (run / "pseudo_labels.csv").exists():
        os.kill(process, 0)  # it is there
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process, number)
    assert zygote.ended() == code
    epoch = content(run)["epoch"]
    train(command, run, "+experiment=ppl_soft", f"trainer.max_epochs={epoch + 2}", "resume=auto")
    assert [int(row["epoch"]) for row in rows(run / "metrics.csv")][: epoch + 2] == list(range(epoch + 2))


def test_processes_that_are_started_as_commands_stop_together(tmp_path: Path) -> None:
    """The default way of trainer=ddp; a signal to the first process, and none is left behind."""
    run = tmp_path / "run"
    arguments = [*SMALL, "logger=csv", "+experiment=ppl_soft", f"hydra.run.dir={run}", "trainer.max_epochs=10000"]
    process = subprocess.Popen(
        of_shell("train", *arguments, "data.batch_size=1", "trainer=ddp", "trainer.devices=2"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    wait_for_labels(process, run, deadline)
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
    log, losses = (run / "train.log").read_text(), content(run)["losses"]
    assert "stopped by SIGTERM" in log
    if "stopped by SIGTERM in epoch" in log:
        assert losses["sums"].shape[0] == 2  # of both processes
    else:  # between two epochs, where there are none
        assert losses["names"] == []


def assert_same_test(one: Path, two: Path) -> None:
    for table in ("predictions/audio.csv", "predictions/visual.csv"):
        assert (two / table).read_text() == (one / table).read_text()
    probs = [np.load(folder / "predictions" / "probabilities.npz") for folder in (one, two)]
    assert probs[0]["names"].tolist() == probs[1]["names"].tolist() == [f"synthetic_test_{i:06d}" for i in range(19)]
    assert probs[0]["lengths"].tolist() == probs[1]["lengths"].tolist() == [10] * 19
    for part in ("segment", "video"):
        np.testing.assert_allclose(probs[0][part], probs[1][part], atol=1e-3)
        of_videos = probs[0][part].reshape(19, -1)
        assert len(np.unique(of_videos, axis=0)) == 19  # so that another order of the videos would be noticed
    own, both = (json.loads((folder / "scores.json").read_text()) for folder in (one, two))
    assert both["videos"] == own["videos"] == {"listed": 19, "with_predictions": own["videos"]["with_predictions"]}
    for level in ("segment", "event"):
        assert both[level] == pytest.approx(own[level], abs=1e-9)


def test_two_processes_test_as_one(command: Command, zygote: Zygote, tmp_path: Path) -> None:
    odd = ("data.sizes.train=33", "data.sizes.val=17", "data.sizes.test=19", "network.dim=32", "logger=csv")
    two = ("trainer.accelerator=cpu", "trainer.devices=2", "+trainer.strategy=ddp_fork", "trainer.max_epochs=2")
    arguments = [*odd, *two, "+experiment=ppl_soft", f"hydra.run.dir={tmp_path / 'two'}"]
    zygote.shell("train", *arguments, folder=tmp_path, check=True)
    best = checkpoint(tmp_path / "two")
    assert command("evaluate", f"checkpoint={best}", f"hydra.run.dir={tmp_path / 'one'}") == 0
    for inference, of_two in (("prototype", tmp_path / "two"), ("classifier", tmp_path / "two" / "classifier")):
        assert_same_test(tmp_path / "one" / inference, of_two)
