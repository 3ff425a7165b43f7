"""``--help``: one page for each command, and ``docs/settings.md``, both made from the comments in ``conf/``."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avvp_pl.commands.help import Page, all_settings, commands, in_terminal, page_of
from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.data.products import Product, write_product
from avvp_pl.settings.conf import ConfigFiles
from tests.conftest import Command
from tests.forks import Zygote
from tests.small import REPOSITORY, SMALL, SMALL_NETWORK, environment, of_shell
from tests.video.clips import write_clip

OF_HYDRA = re.compile(
    r"powered by|^== |compose your|override anything|hydra\.cc|use --hydra-help", re.IGNORECASE | re.M
)
# the same settings as in the examples, but with data and a network that take no time
FEW_CLIPS = ("sizes={train: 4, val: 2, test: 2}", "seconds=2", "side=32", "workers=0")
FAST = ("trainer.max_epochs=1", "logger=csv", "threads=1")

Helped = Callable[..., str]


@pytest.fixture
def helped(command: Command, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Helped:
    """Return what a command prints for ``--help``, in lines that are long enough not to be broken."""

    def ask(name: str, *arguments: str, columns: int = 120) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert command(name, "--help", *arguments) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        return printed.out

    return ask


def page(name: str) -> Page:
    return page_of(name, ConfigFiles())


def words(text: str) -> str:
    return " ".join(text.split())


def examples(name: str) -> list[list[str]]:
    """The commands in the page of a command, each as the words that a shell makes of it."""
    text = in_terminal(page(name), 80).replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^ {4}(python .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", commands())
def test_a_page_has_usage_examples_options_and_nothing_of_hydra(helped: Helped, name: str) -> None:
    text = helped(name)
    assert text.startswith(f"python -m avvp_pl.{name} ")
    assert any(example[:3] == ["python", "-m", f"avvp_pl.{name}"] for example in examples(name))
    assert "--config-dir" in text
    assert "docs/" in text
    assert not OF_HYDRA.search(text)


@pytest.mark.parametrize("name", commands())
def test_a_page_has_all_settings_and_choices_with_their_meanings(helped: Helped, name: str) -> None:
    text, found = words(helped(name)), page(name)
    settings = [*found.settings]
    for group in found.groups:
        assert words(f"{group.name}=NAME") in text
        assert group.meaning, f"conf/{name}.yaml: the group {group.name} needs a comment in the defaults list"
        for choice in group.choices:
            settings += choice.settings
            assert words(choice.header[0]) in text
    assert len(settings) >= 10 or name in {"clips", "prepare"}
    for setting in settings:
        assert words(setting.key if setting.value is None else f"{setting.key}={setting.value}") in text
        assert words(setting.meaning) in text


def test_the_settings_of_ppl_are_in_the_page_of_train(helped: Helped) -> None:
    text = words(helped("train"))
    assert "labeling.tau=0.1 temperature of soft labels (Eq. 10)" in text
    assert "It also has the settings of labeling=naive." in text
    assert "optimizer/schedule=NAME (default: constant): how the learning rate changes" in text
    assert "+experiment=NAME" in text


@pytest.mark.parametrize(
    ("name", "group", "choices"),
    [
        ("train", "experiment", {"mil", "ppl_soft", "ppl_soft_no_cl_literal"}),
        ("train", "sweep", {"fig4_gamma", "optuna"}),
        ("train", "launcher", {"joblib", "submitit_slurm"}),
        ("evaluate", "experiment", {"han_ppl_test", "ma_ppl_test"}),
        ("evaluate", "launcher", {"joblib", "submitit_slurm"}),
    ],
)
def test_a_command_has_the_experiments_sweeps_and_launchers_that_it_takes(
    name: str, group: str, choices: set[str]
) -> None:
    (found,) = (one for one in page(name).groups if one.name == group)
    assert choices <= {choice.name for choice in found.choices}
    assert "han_ppl_test" not in choices or len(found.choices) == len(choices)


def test_a_command_has_no_group_that_it_does_not_take() -> None:
    assert "han_ppl_test" not in {choice.name for group in page("train").groups for choice in group.choices}
    assert [group.name for group in page("score").groups] == ["scoring"]
    assert [group.name for group in page("prepare").groups] == ["data"]
    assert not {"experiment", "sweep", "launcher"} & {group.name for group in page("predict").groups}
    assert "sweep" not in {group.name for group in page("evaluate").groups}


@pytest.mark.parametrize("columns", [18, 33, 60, 80, 200])
@pytest.mark.parametrize("name", commands())
def test_lines_are_as_wide_as_the_terminal(helped: Helped, name: str, columns: int) -> None:
    """At most 120 columns wide. Words and examples are not broken, because they can be copied."""
    text = helped(name, columns=columns)
    for line in text.splitlines():
        is_word = len(line.split()) == 1
        is_setting = re.match(r" +\S+=", line)
        is_example = line.startswith("    ") and ("avvp_pl." in line or "{" in line)
        assert len(line) <= min(columns, 120) or is_word or is_setting or is_example, line
    assert max(map(len, text.splitlines())) > min(columns, 120) - 12
    assert words(text) == words(in_terminal(page(name), 100))


def test_choices_and_groups_of_the_users_own_are_in_the_page(helped: Helped, tmp_path: Path) -> None:
    files = {
        "labeling/mine.yaml": "# Labels\n# of mine\ndefaults: [prototype, _self_]\nk: 3\nsharpness: 2 # how sharp\n",
        "augment/mixup.yaml": "# Mixes two videos\nalpha: 0.2 # how much\nbare: 1\n",
        "experiment/mine.yaml": "# @package _global_\n# \u202eMine\ndefaults: [{override /labeling: mine}]\nseed: 3\n",
        "experiment/other.yaml": "# @package _global_\n# Not for train\nchekpoint: x\n",
        "broken/it.yaml": "a: [",
    }
    for name, content in files.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for arguments in (["--config-dir", "conf"], [f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]):
        text = helped("train", *arguments)
        assert re.search(r"^  mine +Labels of mine. It also has the settings of labeling=prototype.$", text, re.M)
        assert re.search(r"^ +labeling.sharpness=2 +how sharp$", text, re.M)
        assert re.search(r"^ +labeling.k=3 +number of prototypes of each event", text, re.M)
        assert re.search(r"^\+augment=NAME: a group of your own$", text, re.M)
        assert re.search(r"^  mixup +Mixes two videos.$", text, re.M)
        assert re.search(r"^ +augment.alpha=0.2 +how much$", text, re.M)
        assert re.search(r"^ +augment.bare=1$", text, re.M)
        assert re.search(r"^  mine +\\u202eMine.$", text, re.M)
        assert "Not for train" not in text
        assert re.search(r"^  it$", text, re.M)
    assert "sharpness" not in helped("train")


def test_help_comes_first(helped: Helped) -> None:
    """Also if what else is given would be wrong, or would run something."""
    text = helped("train")
    assert helped("train", "-m", "seed=0,1", "data=nowhere", "labeling.gama=2") == text
    assert helped("train", "--cfg", "job") == text


def test_files_that_build_on_each_other_are_in_the_page(helped: Helped, tmp_path: Path) -> None:
    (tmp_path / "labeling").mkdir()
    (tmp_path / "labeling" / "a.yaml").write_text("# A\ndefaults: [b]\nx: 1\n")
    (tmp_path / "labeling" / "b.yaml").write_text("# B\ndefaults: [a]\nx: 1 # of b\n")
    assert "of b" in helped("train", "--config-dir", str(tmp_path))


@pytest.mark.parametrize("name", commands())
def test_nothing_heavy_is_imported(name: str, tmp_path: Path) -> None:
    heavy = "{'torch', 'lightning', 'wandb', 'pandas', 'matplotlib', 'numpy'}"
    code = f"""
        import atexit, runpy, sys
        atexit.register(lambda: print({heavy} & set(sys.modules), file=sys.stderr))
        sys.argv = ["-m", "--help"]
        runpy.run_module("avvp_pl.{name}", run_name="__main__", alter_sys=True)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr.strip()) == (0, "set()")
    assert ran.stdout.startswith(f"python -m avvp_pl.{name} ")


@pytest.mark.parametrize("arguments", [of_shell("train", "--help"), [sys.executable, "-m", "avvp_pl"]])
def test_a_reader_may_stop_early(tmp_path: Path, arguments: list[str]) -> None:
    """As ``| head -1`` does; here it has stopped before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(arguments, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_page_of_all_settings_is_current() -> None:
    written = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == all_settings(), "conf/ has changed: run `make docs`, which writes docs/settings.md"


def test_the_page_of_all_settings_has_every_file() -> None:
    written = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    for group, choices in ConfigFiles().groups.items():
        assert f"\n### {group}\n" in written
        for choice in choices:
            assert re.search(rf"^(#### `\+?{group}={choice}`|\| `{choice}` \|)", written, re.M), (group, choice)
    assert "| `labeling.beta` | `0.2` | a segment is negative if its probability is at most beta" in written
    assert "[docs/data.md](data.md)" in written
    # in the words of train, and not of a command with a narrower use
    assert "\n`data=NAME`: the videos.\n" in written
    assert "\n`callbacks=NAME`: what happens beside the training steps.\n" in written


def a_folder(root: Path) -> None:
    """Write a small folder of LLP's layout."""
    (root / "data").mkdir(parents=True)
    for table in ("train", "val_pd", "test_pd"):
        videos = [f"{table}_{number}".ljust(11, "_") for number in range(3)]
        rows = "".join(f"{video}_0_10\tSpeech\n" for video in videos)
        (root / "data" / f"AVVP_{table}.csv").write_text(f"filename\tevent_labels\n{rows}")
        for stream in ("vggish", "res152", "r2plus1d_18"):
            (root / "feats" / stream).mkdir(parents=True, exist_ok=True)
            for number, video in enumerate(videos):
                features = np.random.default_rng(number).normal(size=(10, 4)).astype(np.float32)
                np.save(root / "feats" / stream / f"{video}.npy", features)
    for modality in ("audio", "visual"):
        rows = "".join(f"{table}_0".ljust(11, "_") + "_0_10\t0\t5\tSpeech\n" for table in ("val_pd", "test_pd"))
        (root / "data" / f"AVVP_eval_{modality}.csv").write_text(f"filename\tonset\toffset\tevent_labels\n{rows}")


@pytest.mark.parametrize("name", sorted({*commands()} - {"app"}))  # which tests/serving starts, and ends
def test_the_examples_work(command: Command, zygote: Zygote, tmp_path: Path, name: str) -> None:
    """One after the other, as they stand there, where DIR is a folder of features and FOUND has predictions."""
    a_folder(tmp_path / "DIR")
    (tmp_path / "FOUND").mkdir()
    for modality in ("audio", "visual"):
        table = (tmp_path / "DIR" / "data" / f"AVVP_eval_{modality}.csv").read_text()
        (tmp_path / "FOUND" / f"{modality}.csv").write_text(table)
    train = [f"train_{number}".ljust(11, "_") + "_0_10" for number in range(3)]
    logits = np.random.default_rng(0).normal(size=(30, 2, len(LLP_EVENTS)))
    product = Product("logits", tuple(train), np.full(3, 10), ("audio", "visual"), LLP_EVENTS, logits)
    write_product(tmp_path / "DIR" / "logits.npz", product)
    interval = {"segment": [1.0, 2.5], "label": "Diving"}
    truth = {"database": {"v": {"subset": "test", "annotations": [interval]}}}
    (tmp_path / "DIR" / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "FOUND" / "detections.json").write_text(json.dumps({"results": {"v": [{**interval, "score": 0.5}]}}))
    (tmp_path / "CLIPS").mkdir()
    write_clip(tmp_path / "CLIPS" / "clip.mkv", seconds=1)
    for _, _, module, *arguments in examples(name):
        small = SMALL_NETWORK if {"data.root=DIR", "data=clips"} & {*arguments} else SMALL
        more = (*small, *FAST) if module in {"avvp_pl.train", "avvp_pl.recipe"} else ()
        more = FEW_CLIPS if module == "avvp_pl.clips" else more
        if module == "avvp_pl.recipe":
            zygote.shell("recipe", *arguments, *more, folder=tmp_path, check=True)
        else:
            assert command(module.removeprefix("avvp_pl."), *arguments, *more) == 0, arguments
    named = re.findall(r"outputs/[\w/]+\.html", in_terminal(page(name), 120))
    assert all((tmp_path / path).is_file() for path in named)
    assert bool(named) == (name == "report")


def test_the_names_of_the_pages_to_read_are_right() -> None:
    for name in commands():
        for path in re.findall(r"docs/\w+\.md", in_terminal(page(name), 120)):
            assert (REPOSITORY / path).is_file(), path
