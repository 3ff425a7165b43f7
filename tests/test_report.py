"""``avvp_pl.report`` as a user runs it: runs are trained, reported, and read again."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from avvp_pl import train
from avvp_pl.data.known import LLP_TEST_VIDEOS
from avvp_pl.reporting.browser import Found
from avvp_pl.reporting.evidence import gather, write_report
from avvp_pl.reporting.tables import paper_tables
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
BY_CLASSIFIER = " inference=classifier"  # behind the labels of PPL, which is tested by its classifier, too
SETTINGS = {BASE, PPL, LOW, PPL + BY_CLASSIFIER, LOW + BY_CLASSIFIER}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, and PPL_S with two values of gamma, two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for name, sweep in (("base", ["+experiment=mil"]), ("gamma", ["+sweep=fig4_gamma", "labeling.gamma=0.3,1"])):
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
        further = path.parent.name == "classifier"
        config = OmegaConf.load((path.parents[1] if further else path.parent) / "config.yaml")
        scores = json.loads(path.read_text())
        values = [*scores["segment"].values(), *scores["event"].values()]
        label = BASE if config.name == "mil" else {0.3: LOW, 1: PPL}[config.labeling.gamma]
        found.setdefault(label + BY_CLASSIFIER * further, []).append(statistics.fmean(values))
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
    assert set(expected) == SETTINGS
    printed = capsys.readouterr().out
    everything = printed[printed.index("## All settings") :]
    for label, mean in expected.items():
        cells = re.search(rf"^\| {re.escape(label)}(?: \(.*?\))? \| 2 \|.*\| ([^|]*) \|$", everything, re.MULTILINE)
        assert cells is not None, everything
        assert f"{mean:.1f}" == cells[1].strip("*").split(" ±")[0]
    assert printed.rstrip().endswith(f"{output / 'index.html'} (tables/ and figures/ are beside it)")
    assert {path.name for path in (output / "tables").iterdir()} >= {"tables.md", "table1.tex", "table2.csv", "all.csv"}
    figures = {path.name for path in (output / "figures").iterdir()}
    assert figures >= {"fig4_gamma.png", "fig4_gamma.svg", "fig4_gamma.csv", "fig3_1.svg", "per_event.png", "bound.svg"}
    assert not any("fig5" in name or "beta" in name for name in figures)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "12 test videos" in page
    assert "10 runs of 5 settings" in page
    assert command("report", f"runs={runs}", f"output={tmp_path / 'again'}") == 0
    for path in output.rglob("*"):
        again = tmp_path / "again" / path.relative_to(output)
        assert path.is_dir() or path.read_bytes() == again.read_bytes(), path


def test_what_is_asked_for_by_name(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs], None, baseline=LOW, shown=["mil"])
    assert evidence.baseline is not None
    assert evidence.differences is not None
    assert evidence.baseline.label == LOW
    assert set(evidence.differences) == SETTINGS - {LOW}
    assert [setting.label for setting in evidence.shown] == [BASE]
    assert next(iter(evidence.found)) == BASE  # the page offers the others, too
    assert set(evidence.found) == SETTINGS
    own = evidence.found[BASE]
    assert isinstance(own, Found)
    assert own.probabilities is not None  # as every run writes them
    for setting in evidence.settings:
        if setting.label != evidence.baseline.label:
            difference = evidence.differences[setting.label]["average"]
            expected = setting.mean["average"] - evidence.baseline.mean["average"]
            assert difference.mean == pytest.approx(expected, abs=1e-6)
            assert difference.low <= difference.mean <= difference.high


def test_a_report_with_its_media_can_be_moved(runs: Path, command: Command, tmp_path: Path) -> None:
    with np.load(next(runs.rglob("probabilities.npz"))) as file:
        names = file["names"].tolist()
    media, output = tmp_path / "media", tmp_path / "report"
    media.mkdir()
    for name in names:
        (media / f"{name}.mp4").write_bytes(name.encode())
    for copied, address in (("false", "../media/"), ("true", "media/")):
        assert command("report", f"runs={runs}", f"media={media}", f"media_copy={copied}", f"output={output}") == 0
        page = (output / "index.html").read_text(encoding="utf-8")
        addresses = re.findall(r'"([^"]*/media/|media/)([^"]*[.]mp4)"', page)
        assert {folder for folder, _ in addresses} == {address}
        assert {name for _, name in addresses} == {f"{name}.mp4" for name in names}
        assert (output / "media").exists() == (copied == "true")
    shutil.rmtree(media)
    moved = tmp_path / "moved"
    shutil.move(output, moved)
    assert all((moved / "media" / name).read_text() == name.removesuffix(".mp4") for _, name in addresses)


def test_printed_numbers_stand_beside_the_videos_of_llp_unless_they_are_left_out(
    runs: Path, command: Command, tmp_path: Path
) -> None:
    """The embedded data has the events of LLP, but other videos."""
    mine = tmp_path / "printed.csv"
    mine.write_text("table,row,score,value,source\ntable2,Mine,event/visual,12.3,a paper\n", encoding="utf-8")
    of_llp = shutil.copytree(runs, tmp_path / "llp")
    for path in of_llp.rglob("scores.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "test_videos": LLP_TEST_VIDEOS}))
    said = {}
    for folder, published in ((runs, "null"), (of_llp, "null"), (of_llp, "none"), (of_llp, str(mine))):
        output = tmp_path / "report"
        assert command("report", f"runs={folder}", f"published={published}", f"output={output}") == 0
        said[folder, published] = (output / "tables" / "tables.md").read_text(encoding="utf-8")
        page = (output / "index.html").read_text(encoding="utf-8")
        assert ('"printed":{"' in page) == (folder == of_llp and published != "none")
    assert "rinted" not in said[runs, "null"]
    assert r"| *AVE\*, printed* |" in said[of_llp, "null"]
    assert "Printed numbers are of the test split of LLP." in said[of_llp, "null"]
    assert "rinted" not in said[of_llp, "none"]
    assert "Mine" not in said[of_llp, "null"]
    assert r"| *Mine, printed* |" in said[of_llp, str(mine)]
    assert command("report", f"runs={runs}", f"published={mine}", f"output={tmp_path / 'no'}") == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("baseline=nobody", f"is not among the settings; give baseline=\"'{BASE}'\", baseline=\"'{LOW}'\""),
        ("shown=[mli]", "is not among the settings"),
        ("figure3=[nobody]", "is not a video of the test split"),
        ("media=nowhere", "no such folder"),
        ("media_copy=true", "media_copy=true copies the videos' files of media=FOLDER, which must be given as well"),
        ("published=nowhere.csv", "no such file"),
        ("protocol=nobody", "there is no protocol 'nobody'"),
    ],
)
def test_what_is_not_there_is_named(
    runs: Path, command: Command, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert command("report", f"runs={runs}", setting) == 2
    assert message in capsys.readouterr().err


def test_without_the_test_videos_there_are_still_tables(
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
    assert "The test videos are not available" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "report" / "figures").glob("fig3*"))


def test_a_run_that_cannot_be_compared_is_named_and_does_not_affect_the_others(runs: Path) -> None:
    (path,) = (p for p in (runs / "base").rglob("predictions/visual.csv") if p.parts[-3] == "0")
    path.unlink()
    evidence = gather([runs], None, baseline=PPL)
    assert evidence.differences is not None
    assert set(evidence.differences) == SETTINGS - {BASE, PPL}
    assert BASE not in evidence.found
    assert any(note.startswith(f"{BASE} has no intervals") and "visual.csv" in note for note in evidence.notes)
    assert gather([runs], None, baseline="mil").differences is None


def test_a_run_folder_of_a_stranger_builds_nothing_but_data(runs: Path, tmp_path: Path) -> None:
    path = next((runs / "base").rglob("scores.json")).with_name("config.yaml")
    config = OmegaConf.load(path)
    config.data.source = {"_target_": "os.system", "command": f"touch {tmp_path / 'harm'}"}
    OmegaConf.save(config, path)
    with pytest.raises(ValueError, match=r"would build os.system"):
        data_of(read_run(path.parent))
    assert not (tmp_path / "harm").exists()


def test_runs_of_several_protocols_are_reported_one_at_a_time(
    runs: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"--config-dir={tmp_path / 'conf'}"
    for name in ("mine", "yours"):
        (tmp_path / "conf" / "protocol").mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / "protocol" / f"{name}.yaml").write_text(f"defaults: [common, _self_]\nname: {name}\n")
    for path in (runs / "base").rglob("scores.json"):
        path.write_text(path.read_text().replace('"protocol": "common"', '"protocol": "mine"'))
    capsys.readouterr()
    assert command("report", f"runs={runs}") == 2
    assert "several protocols (common: 8 runs, mine: 2 runs)" in capsys.readouterr().err
    assert command("report", f"runs={runs}", "protocol=common", f"output={tmp_path / 'common'}") == 0
    assert "8 runs of 4 settings" in (tmp_path / "common" / "index.html").read_text(encoding="utf-8")
    assert command("report", own, f"runs={runs}", "protocol=yours") == 2
    assert "protocol=yours: no run was scored under this protocol (common: 8 runs, mine: 2" in capsys.readouterr().err
    assert command("report", own, f"runs={runs}", "protocol=mine", f"output={tmp_path / 'mine'}") == 0
    assert "measured on synthetic under the protocol mine." in (tmp_path / "mine" / "tables" / "tables.md").read_text()
    assert '["Protocol","mine"]' in (tmp_path / "mine" / "index.html").read_text(encoding="utf-8")


def test_data_of_an_outside_package_are_read_if_it_is_trusted(
    runs: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys_reader.py").write_text(
        "from avvp_pl.data.synthetic import generate\n\n\ndef read(**x):\n    return generate(**x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for path in runs.rglob("config.yaml"):
        if ".hydra" not in path.parts:
            config = OmegaConf.load(path)
            config.data.source["_target_"] = "somebodys_reader.read"
            OmegaConf.save(config, path)
    assert command("report", f"runs={runs}", f"output={tmp_path / 'not'}") == 0
    assert "give trust=[somebodys_reader]" in (tmp_path / "not" / "index.html").read_text(encoding="utf-8")
    assert "without intervals" in (tmp_path / "not" / "tables" / "tables.md").read_text()
    assert command("report", f"runs={runs}", "trust=[somebodys_reader]", f"output={tmp_path / 'trusted'}") == 0
    assert "paired bootstrap" in (tmp_path / "trusted" / "tables" / "tables.md").read_text()


def test_a_training_and_an_evaluation_with_several_inferences(command: Command, tmp_path: Path) -> None:
    """Videos of different lengths: HAN is trained and tested, then by prototypes of both kinds (Table 3)."""
    sizes, small = TINY[:3], TINY[3:5]
    ragged = ("data.shortest=4", f"hydra.run.dir={tmp_path / 'runs' / 'ppl'}")
    assert command("train", "+experiment=ppl_soft", *sizes, *small, *TINY[5:], *ragged) == 0
    han = ("data.shortest=4", f"hydra.run.dir={tmp_path / 'runs' / 'han'}")
    assert command("train", "+experiment=han", *sizes, *small, *TINY[5:], *han) == 0
    checkpoint = f"checkpoint={tmp_path / 'runs' / 'han' / 'checkpoints' / 'best.ckpt'}"
    there = f"hydra.run.dir={tmp_path / 'runs' / 'table3'}"
    assert command("evaluate", checkpoint, "+experiment=han_ppl_test", "trainer.accelerator=cpu", there) == 0
    evidence = gather([tmp_path / "runs"])
    assert evidence.videos is not None
    assert len(set(evidence.videos.lengths)) > 1
    size = "dim=16 feedforward_dim=16"
    labels = {f"han {size} max_epochs=2", f"ppl_soft {size}", f"ppl_soft {size} inference=classifier"}
    labels |= {f"han_ppl_test {size} max_epochs=2{by}" for by in ("", " inference=prototype")}
    assert {setting.label for setting in evidence.settings} == labels
    assert set(evidence.found) == labels  # their predictions have the scores of their files
    found = {table.key: table for table in paper_tables(evidence.settings, None, None, {})}
    assert [row.label for row in found["table3"].rows] == [
        f"HAN {size} max_epochs=2",
        f"HAN + PPL_Test, Eq. (9) {size} max_epochs=2",
        f"HAN + PPL_Test, Eq. (10) {size} max_epochs=2",
    ]
    page = write_report(tmp_path / "report", evidence)
    assert f"{len(labels)} runs of {len(labels)} settings" in page.read_text(encoding="utf-8")


def test_one_of_runs_and_wandb_is_needed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report") == 2
    assert "give runs=DIR" in capsys.readouterr().err


def test_the_panels_at_wandb_are_written_and_not_sent(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("report", "wandb=team/project", f"output={tmp_path}") == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert json.loads((tmp_path / "wandb_workspace.json").read_text())["projectName"] == "project"
