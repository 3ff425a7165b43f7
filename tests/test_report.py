"""``avvp_pl.report`` as a user runs it: runs are trained, reported, and read again."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from avvp_pl import train
from avvp_pl.reporting.evidence import gather
from avvp_pl.reporting.videos import data_of
from avvp_pl.runs.reading import read_run
from tests.conftest import Command

TINY = (
    *("data.sizes.train=32", "data.sizes.val=8", "data.sizes.test=12", "network.dim=16", "network.feedforward_dim=16"),
    *("trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=csv", "threads=1"),
)
BASE, PPL, LOW = (
    f"{name} dim=16 feedforward_dim=16" for name in ("mil", "ppl_soft", "ppl_soft gamma=0.3")
)  # as they are labeled


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, and PPL_S with two values of gamma, two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for name, sweep in (("base", ["+experiment=mil"]), ("gamma", ["+sweep=fig4_gamma", "method.gamma=0.3,0.5"])):
        with pytest.MonkeyPatch.context() as patch:
            arguments = ["-m", *sweep, *TINY, "seed=0,1", f"hydra.sweep.dir={folder / name}"]
            patch.setattr(sys, "argv", ["avvp_pl.train", *arguments])
            train.main()
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(trained, tmp_path / "runs")


def means(folder: Path) -> dict[str, float]:
    """The average of each setting, straight from the files."""
    found: dict[str, list[float]] = {}
    for path in folder.rglob("scores.json"):
        config, scores = OmegaConf.load(path.with_name("config.yaml")), json.loads(path.read_text())
        values = [*scores["segment"].values(), *scores["event"].values()]
        label = BASE if config.name == "mil" else {0.3: LOW, 0.5: PPL}[config.method.gamma]
        found.setdefault(label, []).append(statistics.fmean(values))
    return {label: statistics.fmean(values) for label, values in found.items()}


def test_runs_become_tables_figures_and_a_page(
    runs: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    for stale in (output / "figures" / "fig5_k.png", output / "tables" / "table3.csv"):  # of an earlier report
        stale.parent.mkdir(parents=True)
        stale.touch()
    capsys.readouterr()
    assert command("report", f"runs={runs}", f"output={output}") == 0
    expected = means(runs)
    assert len(expected) == 3
    printed = capsys.readouterr().out
    everything = printed[printed.index("## All settings") :]
    for label, mean in expected.items():
        cells = re.search(rf"^\| {re.escape(label)} \| 2 \|.*\| ([^|]*) \|$", everything, re.MULTILINE)
        assert cells is not None, everything
        assert f"{mean:.1f}" == cells[1].strip("*").split(" ±")[0]
    assert printed.rstrip().endswith(f"{output / 'index.html'} (beside it tables/ and figures/)")
    assert {path.name for path in (output / "tables").iterdir()} >= {"tables.md", "table1.tex", "table2.csv", "all.csv"}
    figures = {path.name for path in (output / "figures").iterdir()}
    assert figures >= {"fig4_gamma.png", "fig4_gamma.svg", "fig4_gamma.csv", "fig3_1.svg", "per_event.png", "bound.svg"}
    assert not any("fig5" in name or "beta" in name for name in figures)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "12 test videos" in page
    assert "6 of 3 settings" in page
    assert command("report", f"runs={runs}", f"output={tmp_path / 'again'}") == 0
    for path in output.rglob("*"):
        again = tmp_path / "again" / path.relative_to(output)
        assert path.is_dir() or path.read_bytes() == again.read_bytes(), path


def test_what_is_asked_for_by_name(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs], None, baseline=LOW, shown=["mil"])
    assert evidence.baseline is not None
    assert evidence.differences is not None
    assert evidence.baseline.label == LOW
    assert set(evidence.differences) == {BASE, PPL}
    assert list(evidence.found) == [BASE]
    assert evidence.found[BASE].probabilities is not None  # as every run writes them
    for setting in evidence.settings:
        if setting.label != evidence.baseline.label:
            difference = evidence.differences[setting.label]["average"]
            expected = setting.mean["average"] - evidence.baseline.mean["average"]
            assert difference.mean == pytest.approx(expected, abs=1e-6)
            assert difference.low <= difference.mean <= difference.high


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("baseline=nobody", f"is none of the settings; give baseline=\"'{BASE}'\", baseline=\"'{LOW}'\""),
        ("shown=[mli]", "is none of the settings"),
        ("figure3=[nobody]", "is no video of the test split"),
        ("media=nowhere", "no such folder"),
        ("published=nowhere.csv", "no such file"),
    ],
)
def test_what_is_not_there_is_named(
    runs: Path, command: Command, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert command("report", f"runs={runs}", setting) == 2
    assert message in capsys.readouterr().err


def test_without_the_test_videos_there_are_tables_all_the_same(
    runs: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in runs.rglob("config.yaml"):
        if ".hydra" not in path.parts:
            config = OmegaConf.load(path)
            config.data.source = {"_target_": "avvp_pl.data.llp.load_llp", "root": "gone", "modalities": {}}
            OmegaConf.save(config, path)
    capsys.readouterr()
    assert command("report", f"runs={runs}", f"output={tmp_path / 'report'}") == 0
    assert "without intervals" in capsys.readouterr().out
    assert "The test videos are not at hand" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "report" / "figures").glob("fig3*"))


def test_a_run_that_cannot_be_compared_is_named_and_costs_the_others_nothing(runs: Path) -> None:
    (path,) = (p for p in (runs / "base").rglob("predictions/visual.csv") if p.parts[-3] == "0")
    path.unlink()
    evidence = gather([runs], None, baseline=PPL)
    assert evidence.differences is not None
    assert list(evidence.differences) == [LOW]
    assert BASE not in evidence.found
    assert any(note.startswith(f"{BASE} has no intervals") and "visual.csv" in note for note in evidence.notes)
    assert gather([runs], None, baseline="mil").differences is None


def test_a_run_folder_of_a_stranger_builds_nothing_but_data(runs: Path, tmp_path: Path) -> None:
    path = next(runs.rglob("scores.json")).with_name("config.yaml")
    config = OmegaConf.load(path)
    config.data.source = {"_target_": "os.system", "command": f"touch {tmp_path / 'harm'}"}
    OmegaConf.save(config, path)
    with pytest.raises(ValueError, match=r"would build os.system"):
        data_of(read_run(path.parent))
    assert not (tmp_path / "harm").exists()


def test_one_of_runs_and_wandb_is_needed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report") == 2
    assert "give runs=DIR" in capsys.readouterr().err


def test_the_panels_at_wandb_are_written_and_not_sent(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("report", "wandb=team/project", f"output={tmp_path}") == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert json.loads((tmp_path / "wandb_workspace.json").read_text())["projectName"] == "project"
