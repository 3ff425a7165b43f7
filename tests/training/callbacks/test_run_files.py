"""The files of a test: those of every inference in a folder of its own, with the videos in their order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.data.videos import ParsingSet
from avvp_pl.metrics import ParsingScores
from avvp_pl.parts import Team
from avvp_pl.training.callbacks.run_files import RunFiles
from avvp_pl.training.module import ParsingModule
from tests.conftest import Build
from tests.stand_ins import find_more
from tests.training.trainers import trainer_of


def after_test(build: Build, files: RunFiles, videos: ParsingSet, *settings: str) -> ParsingModule:
    """A module whose test wrote these files, in batches of five videos."""
    module, data = build("ppl_soft", "data.eval_batch_size=5", *settings, videos=videos)
    find_more(module, by=1)
    module.labeling.refresh(data.splits["train"], 1, Team())
    trainer_of(callbacks=[files]).test(module, data, verbose=False)
    return module


@pytest.mark.parametrize("videos", ["tiny", "ragged"])
def test_every_inference_has_a_folder(
    build: Build, tmp_path: Path, request: pytest.FixtureRequest, videos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one that of the run itself."""
    made: ParsingSet = request.getfixturevalue(videos)
    module = after_test(build, RunFiles(str(tmp_path), "a title"), made)
    assert made.test is not None
    with torch.no_grad():
        parsed = module.eval().parse(made.test[torch.arange(len(made.test))], list(module.inferences))
    for name, folder in (("prototype", tmp_path), ("classifier", tmp_path / "classifier")):
        scores = json.loads((folder / "scores.json").read_text())
        tested = module.test_scores[name]
        assert isinstance(tested, ParsingScores)
        assert scores["segment"] == pytest.approx(tested.segment)
        assert scores["protocol"] == "common"
        with np.load(folder / "predictions" / "probabilities.npz") as saved:
            assert saved["names"].tolist() == list(made.test.names)
            assert saved["lengths"].tolist() == made.test.lengths.tolist()
            expected = parsed[name].probs[made.test.mask]
            assert saved["segment"].dtype == np.float16
            np.testing.assert_allclose(saved["segment"], expected.numpy(), atol=1e-3)
            np.testing.assert_allclose(saved["video"], parsed[name].video_probs.numpy(), atol=1e-3)
    printed = capsys.readouterr().out
    assert "a title, by classifier" in printed
    assert "a title, by prototype" in printed


def test_one_inference_needs_no_name(
    build: Build, tmp_path: Path, tiny: ParsingSet, capsys: pytest.CaptureFixture[str]
) -> None:
    after_test(build, RunFiles(str(tmp_path), "a title"), tiny, "inference=classifier")
    assert "a title\n" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions", "scores.json"]


def test_folders_may_be_given(build: Build, tmp_path: Path, tiny: ParsingSet) -> None:
    folders = {"classifier": tmp_path / "one", "prototype": tmp_path / "two"}
    after_test(build, RunFiles(str(tmp_path), "a title", lambda: folders), tiny)
    for folder in folders.values():
        assert (folder / "scores.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
