"""One, two, three and four modalities, given in every way that docs/data.md describes, from prepare to report."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.conftest import Command
from tests.own_data import EVENTS, FOUR, SPLITS, write_own_data
from tests.small import REPOSITORY, SMALL_NETWORK, checkpoint, rows, scores

TINY = (*SMALL_NETWORK, "logger=csv", "trainer.max_epochs=3", "optimizer.learning_rate=0.003")


def streams(*modalities: str) -> str:
    return f"{{{', '.join(f'{modality}: [{FOUR[modality]}]' for modality in modalities)}}}"


@pytest.mark.parametrize(
    "modalities", [("text",), ("audio", "text"), ("audio", "visual", "touch"), tuple(FOUR)], ids=["1", "2", "3", "4"]
)
def test_from_prepare_to_report(command: Command, tmp_path: Path, modalities: tuple[str, ...]) -> None:
    root = write_own_data(tmp_path / "own", {name: FOUR[name] for name in modalities})
    data = (f"data.root={root}", f"data.modalities={streams(*modalities)}")
    assert command("prepare", *data) == 0
    run = tmp_path / "run"
    assert command("train", "+experiment=ppl_soft", "data=folder", *data, *TINY, f"hydra.run.dir={run}") == 0
    assert list(OmegaConf.load(run / "config.yaml").data.modalities) == list(modalities)
    metrics = rows(run / "metrics.csv")
    assert float(metrics[-1]["train/loss"]) < float(metrics[1]["train/loss"])
    assert "val/segment/type_av" in metrics[-1]
    together = ["_".join(modalities)] if len(modalities) > 1 else []
    assert list(scores(run)["segment"]) == [*modalities, *together, "type_av", "event_av"]

    again = tmp_path / "again"
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={again}") == 0
    assert scores(again / "prototype") == scores(run)
    parsed = tmp_path / "parsed"
    assert command("predict", f"checkpoint={checkpoint(run)}", f"output={parsed}") == 0
    videos = json.loads((parsed / "timelines.json").read_text())["videos"]
    assert len(videos) == SPLITS["test"]
    assert all(list(video["events"]) == list(modalities) for video in videos.values())
    for modality in modalities:
        assert (parsed / f"{modality}.csv").read_bytes() == (run / "predictions" / f"{modality}.csv").read_bytes()
    with np.load(parsed / "probabilities.npz") as archive:
        assert archive["segment"].shape == (10 * SPLITS["test"], len(modalities), len(EVENTS))
    report = tmp_path / "report"
    assert command("report", f"runs={run}", f"output={report}") == 0
    table = (report / "tables" / "tables.md").read_text()
    assert f"{scores(run)['segment'][modalities[-1]]:.1f}" in table


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_data(tmp_path_factory.mktemp("own") / "four", FOUR)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["data=llp", f"data.modalities={streams('text')}"], ["text"]),
        (["data=realmix", f"data.modalities={streams('touch', 'audio')}"], ["touch", "audio"]),
        (
            ["data=folder", f"data.modalities={streams('audio', 'text')}", "+data.modalities.touch=[skin]"],
            ["audio", "text", "touch"],
        ),
        (["data=llp", f"data.modalities={streams(*FOUR)}", "~data.modalities.visual"], ["audio", "text", "touch"]),
        (["data=llp", "data.modalities.audio=[clap]", "~data.modalities.visual"], ["audio"]),
        (["data=llp", f"+data.modalities={streams(*FOUR)}"], list(FOUR)),
        (["data=one"], ["text"]),
        (["data=three"], ["audio", "visual", "touch"]),
        (["data=three", f"data.modalities={streams('visual')}"], ["visual"]),
        (["data=three", "+data.modalities.text=[bert]", "~data.modalities.audio"], ["visual", "touch", "text"]),
    ],
)
def test_every_way_to_give_modalities(
    command: Command, root: Path, tmp_path: Path, given: list[str], expected: list[str]
) -> None:
    own = tmp_path / "conf" / "data"
    own.mkdir(parents=True)
    for name, modalities in {"one": ("text",), "three": ("audio", "visual", "touch")}.items():
        (own / f"{name}.yaml").write_text(f"defaults: [folder, _self_]\nmodalities: {streams(*modalities)}\n")
    run = ["--config-dir", str(tmp_path / "conf"), f"data.root={root}", f"data.packed={tmp_path / 'packed'}"]
    assert command("train", *run, *given, *TINY, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert list(OmegaConf.load(tmp_path / "run" / "config.yaml").data.modalities) == expected
    assert list(scores(tmp_path / "run")["segment"])[: len(expected)] == expected


def test_the_page_about_data_is_right(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its configuration file, below a home folder, its command lines, and what it says that prepare prints."""
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n +# file: conf/data/mine\.yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "conf" / "data" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(textwrap.dedent(block))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_own_data(tmp_path / "home" / "mine", {name: FOUR[name] for name in ("audio", "visual")})
    first, second = re.findall(r"python -m avvp_pl\.(\w+) (--config-dir conf data=mine.*)", page)
    assert command(first[0], *first[1].split()) == 0
    printed = [line.partition(" INFO ")[2] or line for line in capfd.readouterr().out.splitlines()]
    [example] = re.findall(r"### What `prepare` prints\n\n```\n(.*?)```", page, re.DOTALL)
    for line in example.replace("DIR", str(tmp_path / "home" / "mine")).splitlines():
        assert line.removeprefix("INFO ") in printed
    run = tmp_path / "run"
    assert command(second[0], *second[1].split(), *TINY, "trainer.max_epochs=1", f"hydra.run.dir={run}") == 0
    data = OmegaConf.load(run / "config.yaml").data
    assert (data.root, list(data.modalities)) == (str(tmp_path / "home" / "mine"), ["audio", "visual"])
    assert set(OmegaConf.load(file)) - {"defaults"} >= set(data) - {"source", "name"}, "the page has all settings"


@pytest.mark.parametrize("experiment", ["han", "mil_literal", "npl_soft", "ppl_per_modality", "ppl_soft"])
@pytest.mark.parametrize("modalities", [("text",), ("text", "touch", "visual")], ids=["1", "3"])
def test_settings_of_other_modalities_have_a_default(
    command: Command, root: Path, tmp_path: Path, experiment: str, modalities: tuple[str, ...]
) -> None:
    data = ("data=folder", f"data.root={root}", f"data.packed={tmp_path}", f"data.modalities={streams(*modalities)}")
    run = tmp_path / "run"
    given = (f"+experiment={experiment}", *data, *TINY, "trainer.max_epochs=2", f"hydra.run.dir={run}")
    assert command("train", *given) == 0
    last = rows(run / "metrics.csv")[-1]
    assert np.isfinite(float(last["train/loss"]))
    assert (float(last["train/guided"]) == 0) == experiment.endswith("_literal")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["data=folder"], "data.modalities=null: it must be a mapping such as {audio: [vggish]"),
        (["data=llp"], "has bert, clap, clip, skin, but not vggish, res152, r2plus1d_18; set data.modalities"),
        (["data=folder", "data.modalities={video: [clip]}"], "'video' is the whole video in method.weights; call it"),
        (["data=folder", "data.modalities={audio: []}"], "data.modalities.audio=[]: it must be a list"),
        (["data=folder", f"data.modalities={streams('text')}", "network.fuse_single_stream=[tekst]"], "'text'?"),
    ],
)
def test_wrong_modalities_are_one_line(
    command: Command, root: Path, capfd: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert command("train", f"data.root={root}", *given, *TINY) == 2
    message = capfd.readouterr().err
    assert says in message
    assert len(message.splitlines()) == 1
