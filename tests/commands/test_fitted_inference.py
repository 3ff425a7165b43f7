"""An inference of the user's own that is fitted to other videos first, by evaluate and by predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.inference.classifier import Classifier
from avvp_pl.parts import Evidence, Labeling, Report, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput
from tests.commands.conftest import Trained
from tests.conftest import Command
from tests.small import scores


class Frequent(Classifier):
    """Finds in every segment the event that most videos of a split have."""

    frequent: Tensor

    def __init__(self, events: list[str], split: str) -> None:
        super().__init__()
        self.split = split
        self.register_buffer("frequent", torch.zeros(len(events)))
        self.fitted = False

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        return () if self.fitted else (self.split,)

    def fit(self, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team) -> Report | None:
        assert list(splits) == [self.split]
        self.frequent[splits[self.split].weak_labels.sum(0).argmax()] = 1
        self.fitted = True
        return None

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        shape = output.segment_probs
        return Evidence(self.frequent.expand_as(shape), self.frequent.expand_as(shape[:, 0]))


@pytest.mark.parametrize("split", ["train", "val"])
def test_it_is_fitted_to_the_split_that_it_needs(
    command: Command, tmp_path: Path, trained: Trained, split: str
) -> None:
    checkpoint = trained("trainer.max_epochs=1") / "checkpoints" / "best.ckpt"
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "frequent.yaml").write_text(
        f"# @package inference.frequent\n_target_: {__name__}.Frequent\nsplit: {split}\n"
    )
    arguments = (f"checkpoint={checkpoint}", "inference=frequent", "hydra.run.dir=tested", "trainer.accelerator=cpu")
    assert command("evaluate", "--config-dir", str(tmp_path), *arguments) == 0
    found = (tmp_path / "tested" / "predictions" / "audio.csv").read_text().splitlines()[1:]
    assert len(found) == 16
    assert {line.split("\t")[-1] for line in found} == {"Speech"}
    assert scores(tmp_path / "tested")
    arguments = (f"checkpoint={checkpoint}", "inference=frequent", "output=parsed", "pictures=0")
    assert command("predict", "--config-dir", str(tmp_path), *arguments) == 0
    assert (tmp_path / "parsed" / "audio.csv").read_text().splitlines()[1:] == found
