"""docs/extending.md as its reader would follow it: every file is written and every command is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from tests.forks import Zygote

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "extending.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# file: (\S+)\n")


@dataclass(frozen=True)
class Block:
    """A block of code on the page: a file where it has a path, commands where its language is sh, else a picture."""

    language: str
    content: str

    @property
    def path(self) -> str | None:
        found = FILE.match(self.content)
        return None if found is None else found[1]


BLOCKS = [Block(*found) for found in FENCE.findall(PAGE.read_text(encoding="utf-8"))]
FILES = {block.path: block.content[block.content.index("\n") + 1 :] for block in BLOCKS if block.path is not None}
COMMANDS = [line for block in BLOCKS if block.language == "sh" for line in block.content.splitlines()]


class Reader:
    """Someone who follows the page in a folder of their own. Commands of avvp_pl run in forks of one process."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.zygote, self.folder, self.count = zygote, folder, 0
        paths = [str(folder), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.of_forks = {"PYTHONPATH": os.pathsep.join(paths), "WANDB_MODE": "disabled"}
        self.environment = {
            **os.environ,
            **self.of_forks,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
        }
        for name, content in FILES.items():
            path = folder / str(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def run(self, line: str, **deeds: Any) -> tuple[int, str]:
        """Run a command line; its exit status and all that it printed. ``deeds``: see the zygote."""
        python, *arguments = shlex.split(line)
        if python != "python" or arguments[0] != "-m":
            done = subprocess.run(
                line, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            return done.returncode, done.stdout + done.stderr
        self.count += 1
        log = self.folder / f"{self.count}.log"
        what: dict[str, Any] = {"module": arguments[1], "arguments": arguments[2:], "path": [str(self.folder)]}
        self.zygote.start(folder=self.folder, out=log, err=log, environment=self.of_forks, **what, **deeds)
        return self.zygote.ended(), log.read_text()


@pytest.fixture(scope="module")
def reader(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(zygote, tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def printed(reader: Reader) -> dict[str, str]:
    """What every command on the page printed; all have been run, in their order."""
    found = {}
    for line in COMMANDS:
        status, output = reader.run(line)
        assert status == 0, f"{line}\n{output}"
        found[line] = output
    return found


def starting_with(printed: dict[str, str], beginning: str) -> str:
    (found,) = (output for line, output in printed.items() if line.startswith(beginning))
    return found


def test_every_block_is_a_file_commands_or_a_picture() -> None:
    for block in BLOCKS:
        assert block.language in {"python", "yaml", "sh", ""}, block
        assert (block.path is not None) == (block.language in {"python", "yaml"}), block
        assert block.language or not re.search(r"import|_target_|python -m|=", block.content), block
    assert len(BLOCKS) == PAGE.read_text(encoding="utf-8").count("```") / 2
    assert len(FILES) == sum(block.path is not None for block in BLOCKS)


def test_every_file_in_the_tree_is_on_the_page() -> None:
    tree = next(block.content for block in BLOCKS if not block.language)
    named = set(re.findall(r"[\w/]+\.(?:py|yaml)", tree))
    shown = {str(path).removeprefix("mymethods/").removeprefix("conf/") for path in FILES}
    assert named - shown == {"__init__.py"}
    assert shown - named == {"make_videos.py", "write_labels.py"}


def test_every_command_succeeds(printed: dict[str, str]) -> None:
    assert len(printed) == len(COMMANDS) == len(set(COMMANDS))


def test_every_file_is_used(printed: dict[str, str], reader: Reader) -> None:
    """Modules are imported, scripts and tests are run, and every choice of a group is made by some run."""
    used = {f"python {name}" for name in FILES} & set(printed)
    compiled = {path.name.partition(".")[0] for path in reader.folder.glob("*/__pycache__/*.pyc")}
    chosen = set()
    for path in reader.folder.glob("outputs/**/.hydra/hydra.yaml"):
        for group, choice in OmegaConf.load(path).hydra.runtime.choices.items():
            chosen.add(f"mymethods/conf/{str(group).partition('@')[0]}/{choice}.yaml")
    for name in map(str, FILES):
        assert f"python {name}" in used or Path(name).stem in compiled or name in chosen, name


def test_the_tests_on_the_page_pass(printed: dict[str, str]) -> None:
    tests = sum(len(re.findall(r"^def test_", content, re.MULTILINE)) for content in FILES.values())
    assert f"{tests} passed" in starting_with(printed, "python -m pytest")


def test_labels_of_the_file_are_measured(printed: dict[str, str], reader: Reader) -> None:
    """They are close to the truth, from the first epoch on."""
    (run,) = (reader.folder / "outputs" / "mil").iterdir()
    header, first, *_ = (run / "metrics.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(row["pseudo_labels/audio/f1"]) > 80
    assert float(row["train/pseudo_label"]) > 0


def test_a_command_in_a_process_of_its_own(printed: dict[str, str], reader: Reader) -> None:
    """As from a shell, where Python finds the package in the present folder."""
    line = next(line for line in COMMANDS if "evaluate" in line)
    environment = reader.environment | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(line, shell=True, cwd=reader.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = reader.folder / "outputs" / "mine" / "scores.json"
    tested = max(reader.folder.glob("outputs/evaluate/*/scores.json"), key=lambda path: path.stat().st_mtime)
    assert tested.read_bytes() == scores.read_bytes()


KILLED = {
    "killed in an epoch": (signal.SIGKILL, -signal.SIGKILL),
    "asked to stop in an epoch": (signal.SIGTERM, 143),
}


@pytest.mark.parametrize("how", KILLED)
def test_a_stopped_run_ends_as_one_that_was_not(printed: dict[str, str], reader: Reader, how: str) -> None:
    number, status = KILLED[how]
    line = next(line for line in COMMANDS if "resume=auto" in line).replace("outputs/mine", f"outputs/{number.name}")
    point = {"point": "mymethods.everywhere:Everywhere.forward", "call": 8, "signal": number, "rank": 0}
    assert reader.run(line, **point)[0] == status
    stopped, whole = reader.folder / "outputs" / number.name, reader.folder / "outputs" / "mine"
    assert not (stopped / "scores.json").exists()
    status, output = reader.run(line)
    assert status == 0, output
    for name in ("scores.json", "metrics.csv", "predictions/audio.csv", "predictions/probabilities.npz"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (stopped, whole))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(one["state_dict"][name], weight) for name, weight in other["state_dict"].items())
    assert torch.equal(one["progress"]["labeling"]["pseudo_labels"], other["progress"]["labeling"]["pseudo_labels"])


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_checkpoint_is_refused_without_trust(printed: dict[str, str], reader: Reader, command: str) -> None:
    line = next(line for line in COMMANDS if f"avvp_pl.{command} " in line)
    status, output = reader.run(line.replace("trust=[mymethods]", ""))
    assert status == 2
    assert "which avvp_pl does not trust; if you trust the package mymethods, give trust=[mymethods]" in output
    assert len(output.splitlines()) == 1


def test_a_trusted_package_that_cannot_be_imported_is_named(printed: dict[str, str], reader: Reader) -> None:
    line = next(line for line in COMMANDS if "evaluate" in line)
    network = reader.folder / "mymethods" / "conv.py"
    whole = network.read_text()
    network.write_text("1 / 0")
    try:
        status, output = reader.run(line)
    finally:
        network.write_text(whole)
    assert status == 2
    assert (
        "mymethods.conv.Conv, its network._target_, cannot be imported (ZeroDivisionError: division by zero)" in output
    )
    assert len(output.splitlines()) == 1


def test_training_says_whom_its_checkpoints_need_to_trust(printed: dict[str, str]) -> None:
    first = starting_with(printed, "python -m avvp_pl.train 'hydra").split(" of 4: ")[0]
    assert "trust=[mymethods]" in first


def test_predictions_and_reports_are_complete(printed: dict[str, str], reader: Reader) -> None:
    outputs = reader.folder / "outputs"
    assert len(json.loads((outputs / "timelines" / "timelines.json").read_text())["videos"]) == 12
    assert (outputs / "timelines" / "pictures" / "test_00.png").exists()
    assert "| mine |" in (outputs / "report" / "tables" / "tables.md").read_text()


def test_a_report_shows_the_videos_of_a_trusted_reader_only(printed: dict[str, str], reader: Reader) -> None:
    line = next(line for line in COMMANDS if "avvp_pl.report" in line)
    page = reader.folder / "outputs" / "report" / "index.html"
    assert "test_00" in page.read_text()
    status, output = reader.run(line.replace("trust=[mymethods]", "").replace("outputs/report", "outputs/untrusted"))
    assert status == 0
    assert "give trust=[mymethods]" in output
    assert "test_00" not in (reader.folder / "outputs" / "untrusted" / "index.html").read_text()
