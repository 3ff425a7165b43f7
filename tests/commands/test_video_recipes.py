"""The recipes of video: which commands their stages are, and the demo from nothing to its page, with few clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avvp_pl.commands.stages import Stage, Stages
from avvp_pl.data.annotations import Oddities, read_timelines
from avvp_pl.video.demo.folder import NAMES
from tests.conftest import Command
from tests.small import scores


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """The stages of a recipe, which checks them and then ends without running them."""
    stages: list[Stage] = []

    def run(recipe: Stages) -> None:
        stages.extend(recipe.stages)
        raise SystemExit(0)

    monkeypatch.setattr(Stages, "run", run)
    return stages


def test_the_demo_goes_from_nothing_to_a_page_of_the_held_out_clips(
    command: Command, planned: list[Stage], tmp_path: Path
) -> None:
    """Each stage in this process."""
    folder = tmp_path / "demo"
    few = (
        "only={clips: [sizes.train=5, sizes.val=2, sizes.test=2, seconds=3, side=32, workers=0], "
        "features: [workers=0, extractors.picture.per_second=1]}"
    )
    quick = ("trainer.max_epochs=1", "network.dim=8", "logger=csv", "threads=1")
    assert command("recipe", "+recipe=video_demo", few, *quick, f"hydra.run.dir={folder}") == 0
    assert [(stage.name, stage.command) for stage in planned] == [
        ("clips", "clips"), ("features", "extract"), ("training", "train"), ("page", "predict"),
    ]  # fmt: skip
    for stage in planned:
        assert command(stage.command, *stage.settings) == 0, stage
    names = ["demo_test_0000", "demo_test_0001"]
    assert Stages(planned, folder).pages() == [folder / "page" / "index.html"]
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    assert all(f"{name}.mp4" in page for name in names)
    assert "demo_train" not in page
    parsed = json.loads((folder / "page" / "timelines.json").read_text(encoding="utf-8"))
    assert [*parsed["videos"]] == names
    # the same network has parsed the same clips from their features: in the test of the training
    for modality in ("audio", "visual"):
        tables = (folder / "predictions" / f"{modality}.csv", folder / "page" / f"{modality}.csv")
        ours, of_page = (read_timelines(table, NAMES, 3, Oddities()) for table in tables)
        assert {name: ours[name].tolist() for name in ours} == {name: of_page[name].tolist() for name in of_page}
    assert scores(folder)["videos"]["listed"] == 2


def test_settings_reach_the_stages_that_have_them(command: Command, planned: list[Stage], tmp_path: Path) -> None:
    settings = ("seed=3", "threads=2", "network.dim=32", "debug=true", "name=mine", "last=[labeling.k=3]")
    given = (*settings, "only={page: ['formats=[html,vtt]']}", f"hydra.run.dir={tmp_path}")
    assert command("recipe", "+recipe=video_demo", *given) == 0
    known = {*settings, "labeling.k=3"}
    added = {stage.name: [one.lstrip("+") for one in stage.settings if one.lstrip("+") in known] for stage in planned}
    assert added == {
        "clips": ["debug=true"],
        "features": ["debug=true"],
        "training": ["seed=3", "threads=2", "network.dim=32", "debug=true", "name=mine", "labeling.k=3"],
        "page": ["seed=3", "threads=2", "debug=true"],
    }
    assert [stage.name for stage in planned if "formats=[html,vtt]" in stage.settings] == ["page"]
    training = planned[2].settings
    assert f"hydra.run.dir={tmp_path}" in training
    assert "resume=auto" in training
    assert not any("hydra.run.dir" in setting for stage in (*planned[:2], planned[3]) for setting in stage.settings)


def test_real_videos_are_parsed_beside_the_features_that_are_known_of_them(
    command: Command, planned: list[Stage], tmp_path: Path
) -> None:
    assert command("recipe", "+recipe=realmix_video", "data.root=there", f"hydra.run.dir={tmp_path}") == 0
    assert [stage.command for stage in planned] == ["extract", "train", "predict", "predict", "score", "score"]
    extract, train, page, stored, *_ = (stage.settings for stage in planned)
    assert "videos=there/raw" in extract
    assert "extractors.yamnet.pca=there/raw/pca_yamnet.npz" in extract
    assert {"data=realmix", "data.root=there", f"data.extracted_as={tmp_path}/page/features"} <= {*train}
    assert "videos=there/raw" in page
    assert f"names={tmp_path}/page/features/names.txt" in stored


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("only={clip: [side=32]}",),
            "only.clip: there is no such stage. Did you mean 'clips'? The stages are clips, ",
        ),
        (("only={clips: [sied=32]}",), "stage clips (clips): there is no setting 'sied'. Did you mean 'side'?"),
        (("only={clips: side}",), "only.clips=side: it must be a list of different names"),
        (("only={clips: side=32}",), "only={clips: side=32}: cannot be read"),
        (("+only.page=[formats=pdf]",), "stage page (predict): formats=pdf: it must be one of json, csv"),
        (
            ("stages.training.command=predict", "stages.training.settings=[]"),
            "none of them is train",
        ),
        (("stages.page.command=report",), "stages.page.command='report': it must be one of clips, extract, predict"),
    ],
)
def test_wrong_settings_of_a_stage_are_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert command("recipe", "+recipe=video_demo", *arguments, f"hydra.run.dir={tmp_path / 'run'}") == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run" / "stages").exists()


def test_the_recipe_says_where_its_page_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if all stages were done before."""
    page = tmp_path / "page" / "index.html"

    def run(recipe: Stages) -> None:
        page.parent.mkdir(parents=True)
        page.write_text("")

    monkeypatch.setattr(Stages, "run", run)
    monkeypatch.setattr("avvp_pl.runs.reading.read_run", lambda folder: type("Run", (), {"tested": None}))
    assert command("recipe", "+recipe=video_demo", f"hydra.run.dir={tmp_path}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page of the parsed videos: {page}"
