"""An inference of the user's own that is fitted to other videos first: by train, evaluate and predict alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_videos
from avvp_pl.data.videos import VideoSet
from avvp_pl.inference.classifier import Classifier
from avvp_pl.parts import Evidence, Labeling, Report, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput
from tests.commands.conftest import Trained
from tests.commands.evaluating import FILES, evaluate
from tests.conftest import Command
from tests.forks import Zygote
from tests.small import SMALL, TWO_PROCESSES, checkpoint, content, same_bits, scores, train, weights

GRID = [number / 20 for number in range(1, 20)]
UNFITTED = -1.0


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

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        assert list(splits) == [self.split]
        self.frequent[splits[self.split].weak_labels.sum(0).argmax()] = 1
        self.fitted = True
        return None

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        shape = output.segment_probs
        return Evidence(self.frequent.expand_as(shape), self.frequent.expand_as(shape[:, 0]))


class Tuned(Classifier):
    """A threshold for each event: the first one with the best F1 of segments in the validation videos."""

    thresholds: Tensor
    fits: ClassVar[list[str]] = []  # the names of the videos of every fit in this process

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.full((len(events),), UNFITTED))

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        return ("val",) if (self.thresholds == UNFITTED).any() else ()

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        (videos,) = splits.values()
        Tuned.fits += videos.names
        batch = videos[torch.arange(len(videos))]
        assert batch.truth is not None
        probs, truth = network(batch).segment_probs[batch.mask].flatten(0, 1), batch.truth[batch.mask].flatten(0, 1)
        found = probs >= torch.tensor(GRID)[:, None, None]
        f1 = 2 * (found & truth).sum(1) / (found.sum(1) + truth.sum(0)).clamp(min=1)
        self.thresholds.copy_(torch.tensor(GRID)[f1.argmax(0)])
        return None

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        evidence = super().forward(network, batch, output, labeling)
        found = evidence.segment_probs >= self.thresholds.where(self.thresholds != UNFITTED, 0.5)
        return Evidence(found * 0.5 + evidence.segment_probs / 4, torch.ones_like(evidence.video_probs))


Own = Callable[[str], list[str]]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Arguments that select one of these inferences in a command."""

    def arguments(name: str, **settings: str) -> list[str]:
        (tmp_path / "conf" / "inference").mkdir(parents=True, exist_ok=True)
        more = "".join(f"{key}: {value}\n" for key, value in settings.items())
        (tmp_path / "conf" / "inference" / f"{name}.yaml").write_text(
            f"# @package inference.{name}\n_target_: {__name__}.{name.capitalize()}\n{more}"
        )
        return [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", f"inference={name}"]

    return arguments


@pytest.mark.parametrize("split", ["train", "val"])
def test_it_is_fitted_to_the_split_that_it_needs(
    command: Command, own: Callable[..., list[str]], tmp_path: Path, trained: Trained, split: str
) -> None:
    path = checkpoint(trained("trainer.max_epochs=1"))
    arguments = (*own("frequent", split=split), f"checkpoint={path}", "trainer.accelerator=cpu")
    assert command("evaluate", *arguments, "hydra.run.dir=tested") == 0
    found = (tmp_path / "tested" / "predictions" / "audio.csv").read_text().splitlines()[1:]
    assert len(found) == 16
    assert {line.split("\t")[-1] for line in found} == {"Speech"}
    assert scores(tmp_path / "tested")
    assert command("predict", *arguments, "output=parsed", "pictures=0") == 0
    assert (tmp_path / "parsed" / "audio.csv").read_text().splitlines()[1:] == found


LEARNING = ("trainer.max_epochs=6", "optimizer.learning_rate=0.01", "threads=1")


def fitted(run: Path, name: str = "best") -> Tensor:
    return content(run, name)["fitted"]["inferences.tuned.thresholds"]  # type: ignore[no-any-return]


def by_hand(run: Path, split: str) -> list[float]:
    """The thresholds for a split: one event and one threshold after the other."""
    saved = content(run, "best")
    videos = build_videos(OmegaConf.create(saved["config"])).splits[split]
    assert videos.truth is not None
    with np.load(run / "parsed" / "probabilities.npz") as archive:
        probs = archive["segment"].astype(np.float64)
    truth = videos.truth.numpy()
    best = []
    for event in range(truth.shape[2]):
        found = []
        for threshold in GRID:
            predicted = probs[..., event] >= threshold
            hits = np.sum(predicted & truth[..., event])
            found.append(2 * hits / max(1, predicted.sum() + truth[..., event].sum()))
        best.append(GRID[int(np.argmax(found))])
    return best


@pytest.fixture
def tuned(command: Command, own: Own, tmp_path: Path) -> Path:
    """A run whose thresholds were fitted at its end."""
    Tuned.fits.clear()
    return train(command, tmp_path / "run", *own("tuned"), "+experiment=mil", *LEARNING)


def test_training_fits_it_to_the_validation_videos_and_keeps_it(command: Command, tuned: Path, tmp_path: Path) -> None:
    assert Tuned.fits == [f"synthetic_val_{number:06d}" for number in range(16)]
    thresholds = fitted(tuned)
    assert len(set(thresholds.tolist())) > 2
    # the classifier's own probabilities of the validation videos
    path = f"checkpoint={checkpoint(tuned)}"
    parsed = ("split=val", f"output={tuned / 'parsed'}", "pictures=0", "inference=classifier")
    assert command("predict", path, *parsed) == 0
    assert thresholds.tolist() == pytest.approx(by_hand(tuned, "val"))
    parsed = ("split=test", f"output={tuned / 'parsed'}", "pictures=0", "inference=classifier")
    assert command("predict", path, *parsed) == 0
    assert thresholds.tolist() != pytest.approx(by_hand(tuned, "test"))


def test_evaluate_and_predict_use_the_numbers_of_the_training(command: Command, tuned: Path, tmp_path: Path) -> None:
    Tuned.fits.clear()
    tested = evaluate(command, tuned, tmp_path / "tested", "trust=[tests]")
    parsed = ("trust=[tests]", f"output={tmp_path / 'parsed'}", "pictures=0")
    assert command("predict", f"checkpoint={checkpoint(tuned)}", *parsed) == 0
    assert Tuned.fits == []  # nothing is fitted again
    for name in FILES:
        assert (tested / name).read_bytes() == (tuned / name).read_bytes(), name
    for name in ("audio.csv", "probabilities.npz"):
        assert (tmp_path / "parsed" / name).read_bytes() == (tuned / "predictions" / name).read_bytes()
    unfitted = evaluate(command, tuned, tmp_path / "classifier", "inference=classifier")
    assert scores(unfitted) != scores(tuned)


def test_a_checkpoint_without_them_is_fitted_first(command: Command, own: Own, tuned: Path, tmp_path: Path) -> None:
    """Such as that of the last epoch, or the tested one if the inference is replaced by itself."""
    assert "fitted" not in content(tuned, "last")
    before = checkpoint(tuned).read_bytes()
    Tuned.fits.clear()
    arguments = (f"checkpoint={checkpoint(tuned, 'last')}", "trust=[tests]", f"hydra.run.dir={tmp_path / 'last'}")
    assert command("evaluate", *arguments) == 0
    assert len(Tuned.fits) == 16
    again = evaluate(command, tuned, tmp_path / "again", *own("tuned"))
    assert len(Tuned.fits) == 32
    assert scores(again) == scores(tuned)
    assert checkpoint(tuned).read_bytes() == before  # evaluate writes nothing into a run


def test_a_finished_run_is_not_fitted_again_and_a_longer_one_is(
    command: Command, own: Own, tuned: Path, tmp_path: Path
) -> None:
    arguments = [*own("tuned"), "+experiment=mil", *LEARNING, "resume=auto"]
    before = {name: (tuned / name).read_bytes() for name in FILES}
    train(command, tuned, *arguments)
    assert len(Tuned.fits) == 16
    assert {name: (tuned / name).read_bytes() for name in FILES} == before
    whole = train(command, tmp_path / "whole", *arguments, "trainer.max_epochs=9")
    train(command, tuned, *arguments, "trainer.max_epochs=9")
    assert same_bits(weights(tuned), weights(whole))
    assert torch.equal(fitted(tuned), fitted(whole))
    assert scores(tuned) == scores(whole)


def test_a_training_that_starts_from_fitted_weights_does_not_use_them(
    command: Command, own: Own, tuned: Path, tmp_path: Path
) -> None:
    """Validation would then use the thresholds of another epoch, and the end of the run would not be fitted."""
    assert (weights(tuned, "best")["inferences.tuned.thresholds"] == UNFITTED).all()
    Tuned.fits.clear()
    epoch = content(tuned, "best")["epoch"]
    more = (f"resume={checkpoint(tuned)}", f"trainer.max_epochs={epoch + 3}")
    train(command, tmp_path / "more", *own("tuned"), "+experiment=mil", *LEARNING, *more)
    assert len(Tuned.fits) == 16


def test_two_processes_fit_it_as_one(command: Command, zygote: Zygote, own: Own, tmp_path: Path) -> None:
    arguments = [*own("tuned"), *SMALL, *LEARNING, "+experiment=mil", "logger=csv", *TWO_PROCESSES]
    two = tmp_path / "two"
    zygote.shell("train", *arguments, f"hydra.run.dir={two}", folder=tmp_path, check=True)
    assert (fitted(two) > 0).all()
    for more in (["trust=[tests]"], own("tuned")):  # the thresholds of the checkpoint, and new ones
        one = evaluate(command, two, tmp_path / f"one{len(more)}", *more)
        for table in ("audio.csv", "visual.csv"):
            assert (one / "predictions" / table).read_bytes() == (two / "predictions" / table).read_bytes()


def test_the_protocol_of_cmpae_tests_with_thresholds_that_are_in_the_checkpoint(
    command: Command, tmp_path: Path
) -> None:
    """Those of one decision: with another one they are fitted again. The common protocol is as it always is."""
    run = train(command, tmp_path / "run", "+experiment=mil", "protocol=cmpae", *LEARNING)
    assert scores(run)["protocol"] == "cmpae"
    assert "16 validation videos: thresholds of visual events " in (run / "train.log").read_text()
    thresholds = content(run, "best")["fitted"]["inferences.cmpae.thresholds"]
    assert (thresholds[0] == 0.45).all()
    assert len(set(thresholds[1].tolist())) > 1
    assert torch.isin(thresholds[1], torch.tensor([number / 20 for number in range(5, 15)])).all()
    again = evaluate(command, run, tmp_path / "again")
    for file in FILES:
        assert (again / file).read_bytes() == (run / file).read_bytes(), file
    assert "thresholds" not in (again / "evaluate.log").read_text()
    other = evaluate(command, run, tmp_path / "other", "protocol=jomold")
    assert "16 validation videos: thresholds of visual events " in (other / "evaluate.log").read_text()
    common = train(command, tmp_path / "common", "+experiment=mil", *LEARNING)
    assert "fitted" not in content(common, "best")
    own = evaluate(command, common, tmp_path / "own", "protocol=cmpae")
    assert list(OmegaConf.load(own / "config.yaml").inference) == ["cmpae"]


def test_an_epoch_without_prototypes_is_tested_by_prototypes(command: Command, tmp_path: Path) -> None:
    """And not by the classifier, under their name: they are built before the test."""
    settings = ("+experiment=ppl_soft", "trainer.max_epochs=1", "data.sizes.train=96", "optimizer.learning_rate=0.01")
    run = train(command, tmp_path / "run", *settings)
    assert "96 training videos: " in (run / "train.log").read_text()
    assert not weights(run, "best")["labeling.bank.positive_mask"].any()
    assert content(run, "best")["fitted"]["labeling.bank.positive_mask"].any()
    assert (run / "predictions" / "probabilities.npz").read_bytes() != (
        run / "classifier" / "predictions" / "probabilities.npz"
    ).read_bytes()
    for name in ("best", "last"):  # that of the last epoch is fitted again
        path = f"checkpoint={checkpoint(run, name)}"
        assert command("evaluate", path, "inference=prototype", f"hydra.run.dir={tmp_path / name}") == 0
        for file in FILES:
            assert (tmp_path / name / file).read_bytes() == (run / file).read_bytes(), file
