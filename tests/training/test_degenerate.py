"""Whole runs on data that has hardly anything in it: they end, and say what can be reasoned by hand."""

from __future__ import annotations

import csv
import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_data, build_model, build_trainer
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.bank import PrototypeBank
from avvp_pl.labeling.naive import Naive
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.losses.mil import PROBABILITY_MARGIN
from avvp_pl.metrics import ParsingScores
from avvp_pl.training.module import ParsingModule
from tests.conftest import composed
from tests.stand_ins import with_padding

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*in eval mode")

METHODS = ("mil", "npl_soft", "npl_hard", "ppl_soft", "ppl_hard", "ppl_per_modality")
EPOCHS = 2  # labels are refreshed before both
EVENTS = ("bell", "dog", "rain")
STREAM_DIM = 4


def videos(
    split: str,
    weak: Sequence[str],
    segments: int = 4,
    modalities: Sequence[str] = ("audio", "visual"),
    events: Sequence[str] = EVENTS,
) -> VideoSet:
    """A video for each of ``weak``, the events that occur in it; where, is drawn."""
    generator = torch.Generator().manual_seed(len(split))
    labels = torch.tensor([[float(event in occurring.split()) for event in events] for occurring in weak])
    shape = (len(weak), segments, len(modalities), len(events))
    truth = (torch.rand(shape, generator=generator) < 0.7) & (labels[:, None, None] > 0)
    return VideoSet(
        names=tuple(f"{split}_{number}" for number in range(len(weak))),
        lengths=torch.full((len(weak),), segments),
        streams={
            f"{name}_stream": torch.randn(len(weak) * segments, STREAM_DIM, generator=generator) for name in modalities
        },
        weak_labels=labels,
        truth=truth.flatten(0, 1),
    )


def parsing_set(
    train: Sequence[str] = ("bell", "dog", "rain", "bell dog", "dog rain", "bell rain"),
    val: Sequence[str] = ("bell", "dog rain"),
    test: Sequence[str] = ("rain", "bell dog", "dog"),
    **shape: Any,
) -> ParsingSet:
    """Every event occurs in three of the six training videos, so all weigh the same."""
    modalities = {name: (f"{name}_stream",) for name in shape.get("modalities", ("audio", "visual"))}
    return ParsingSet(
        tuple(shape.get("events", EVENTS)),
        modalities,
        train=videos("train", train, **shape),
        val=videos("val", val, **shape),
        test=videos("test", test, **shape),
    )


def cut(
    made: ParsingSet,
    splits: Sequence[str] = ("train", "val", "test"),
    videos: slice = slice(None),
    length: int = 0,
) -> ParsingSet:
    """The same, but of these videos only the first ``length`` segments: by default none."""
    changed = {}
    for split in splits:
        whole = made.splits[split]
        kept = whole.mask.clone()
        kept[videos, length:] = False
        assert whole.truth is not None
        streams = {name: stream[kept[whole.mask]] for name, stream in whole.streams.items()}
        truth = whole.truth[kept[whole.mask]]
        changed[split] = replace(whole, lengths=kept.sum(1), streams=streams, truth=truth)
    return replace(made, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    module: ParsingModule
    made: ParsingSet
    start: dict[str, Tensor]  # weights of the network
    labels: Tensor | None  # of the last refresh, [S, M, C]
    steps: int
    folder: Path
    warnings: list[str]

    @property
    def epochs(self) -> list[dict[str, float]]:
        """The rows of metrics.csv."""
        return [{name: float(value) for name, value in row.items() if value} for row in self._rows("metrics.csv")]

    @property
    def counts(self) -> list[dict[str, str]]:
        """The rows of pseudo_labels.csv; none for a labeling without prototypes."""
        return self._rows("pseudo_labels.csv") if isinstance(self.module.labeling, Prototype) else []

    def _rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def train(self) -> VideoSet:
        assert self.made.train is not None
        return self.made.train

    @property
    def weak_labels(self) -> Tensor:
        """The weak labels of all training segments' videos, [S, C]."""
        return self.train.weak_labels.repeat_interleave(self.train.lengths, dim=0)

    @property
    def bank(self) -> PrototypeBank:
        """The prototypes."""
        assert self.module.labeling.bank is not None
        return self.module.labeling.bank

    @property
    def per_event(self) -> Mapping[str, Mapping[str, Sequence[float | None]]]:
        """The test scores of each event, by level and track."""
        scores = self.module.test_scores[self.module.inference]
        assert isinstance(scores, ParsingScores)
        return scores.per_event

    @property
    def lacking(self) -> set[str]:
        """Events that some refresh found no positive segments of."""
        return {row["event"] for row in self.counts if row["positive_segments"] == "0"}

    def scores(self, track: str) -> list[float]:
        """Of one track at both levels: validation in every epoch, then test."""
        of_track = [f"{split}/{level}/{track}" for split in ("val", "test") for level in ("segment", "event")]
        return [row[name] for row in self.epochs for name in of_track if name in row]


@dataclass(frozen=True)
class Fault:
    """Data that hardly has anything in it, settings that bring that out, and what must then be so.

    Without ``inference``, it is parsed as the experiment says; by prototypes it is refused if there can be none.
    """

    make: Callable[[], ParsingSet]
    check: Callable[[Run], None]
    overrides: tuple[str, ...] = ()
    inference: str | None = None


def twelve_steps(run: Run) -> None:
    assert run.steps == 6 * EPOCHS


def one_batch(run: Run) -> None:
    assert run.steps == EPOCHS
    if isinstance(run.module.labeling, Prototype):
        assert run.lacking == {"rain"}


def one_video_is_scored(run: Run) -> None:
    listed = json.loads((run.folder / "scores.json").read_text())["videos"]["listed"]
    assert listed == 1


def levels_are_equal(run: Run) -> None:
    """A run of segments is a segment."""
    for track in ("audio", "visual", "audio_visual", "type_av", "event_av"):
        scores = run.scores(track)
        assert scores[::2] == scores[1::2]


def event_weights(*expected: float) -> Callable[[Run], None]:
    return lambda run: torch.testing.assert_close(run.module.method.event_weights, torch.tensor(expected))


def unseen_in_training(run: Run) -> None:
    """Two, two and, as if it had one, no video: weights 1/2, 1/2, 1 divided by their mean of 2/3."""
    event_weights(0.75, 0.75, 1.5)(run)
    if isinstance(run.module.labeling, Prototype):
        assert run.lacking == {"rain"}


def untrue_in_test(run: Run) -> None:
    """Not counted where it is not predicted, 0 where it is."""
    for tracks in run.per_event.values():
        assert all(f1[EVENTS.index("rain")] in (None, 0) for f1 in tracks.values())


def nothing_occurs(run: Run) -> None:
    """A video without truth has all or nothing: 100 if nothing is predicted either."""
    assert all(score in (0, 100) for track in ("audio", "visual", "audio_visual") for score in run.scores(track))
    if isinstance(run.module.labeling, Prototype):
        assert run.lacking == set(EVENTS)
        assert not run.bank.positive_mask.any()


def only_real_segments_are_key(run: Run) -> None:
    """Those of the three videos of each event, in two modalities."""
    real = 2 * (run.train.mask.sum(1, keepdim=True) * run.train.weak_labels).sum(0)
    for row in run.counts:
        assert int(row["positive_segments"]) <= real[EVENTS.index(row["event"])]


def nothing_is_learned(run: Run) -> None:
    """Padding pools to 0 and has no gradient. Half of all weak labels are 1, and log(1e-7) is what each costs."""
    for name, value in run.module.network.state_dict().items():
        assert torch.equal(value, run.start[name])
    cost = -math.log(PROBABILITY_MARGIN)
    for row in run.epochs:
        assert row["train/mil"] == pytest.approx(cost / 2, rel=1e-5)
        assert row["train/guided"] == pytest.approx(cost / 2 + (0.9 / 2 + 0.05) * cost, rel=1e-5)
        for name in ("train/pseudo_label", "train/contrastive", "train/em/disjunction_bound"):
            assert row.get(name, 0) == 0
        if run.labels is not None:
            assert row["train/em/bound"] == pytest.approx(-cost / 2, rel=1e-5)  # that of the weak labels alone
    if isinstance(run.module.labeling, Prototype):
        assert run.lacking == set(EVENTS)
        assert run.labels is not None
        assert not run.labels.any()


def nothing_there_is_all_right(run: Run) -> None:
    nothing_is_learned(run)
    assert set(run.scores("event_av") + run.scores("type_av")) == {100}


def one_track(run: Run) -> None:
    assert run.scores("audio") == run.scores("type_av") == run.scores("event_av")


def four_tracks(run: Run) -> None:
    """The three modalities, and all of them at once."""
    tracks = [run.scores(track) for track in ("audio", "visual", "odour", "audio_visual_odour")]
    assert [sum(of_all) / 4 for of_all in zip(*tracks, strict=True)] == pytest.approx(run.scores("type_av"))


def segments_are_the_prototypes(run: Run) -> None:
    for row in run.counts:
        for sign in ("positive", "negative"):
            assert row[f"{sign}_prototypes"] == row[f"{sign}_segments"]


def at_most_one_prototype(run: Run) -> None:
    for row in run.counts:
        for sign in ("positive", "negative"):
            found = int(row[f"{sign}_segments"])
            assert min(found, 1) <= int(row[f"{sign}_prototypes"]) <= min(found, len(run.bank.groups))


def one_peak_a_real_video(run: Run) -> None:
    """Or in each modality of it, where these are selected from one by one. Bell has three videos, one is padding."""
    peaks = len(run.bank.groups)
    assert [int(row["positive_segments"]) for row in run.counts] == [2 * peaks, 3 * peaks, 3 * peaks] * EPOCHS


def no_label(run: Run) -> None:
    assert run.lacking == set(EVENTS)
    assert run.labels is not None
    assert not run.labels.any()


def every_label(run: Run) -> None:
    """Every event is in every video, and y = w without negative segments."""
    assert all(row["negative_segments"] == "0" for row in run.counts)
    assert run.labels is not None
    assert (run.labels == 1).all()


def never_predicted(run: Run) -> None:
    """It has no prototypes, but is true in the test."""
    unseen_in_training(run)
    for modality in run.made.modalities:
        assert "rain" not in (run.folder / "predictions" / f"{modality}.csv").read_text()
    assert run.per_event["segment"]["audio"][EVENTS.index("rain")] == 0


WEAK = ("bell", "dog", "rain", "bell dog", "dog rain", "bell rain")
THREE = ("audio", "visual", "odour")
FAULTS = {
    "a batch of one": Fault(parsing_set, twelve_steps, ("data.batch_size=1", "data.eval_batch_size=1")),
    "one training video": Fault(lambda: parsing_set(train=["bell dog"]), one_batch),
    "one validation and one test video": Fault(lambda: parsing_set(val=["bell"], test=["dog"]), one_video_is_scored),
    "one segment": Fault(lambda: parsing_set(segments=1), levels_are_equal),
    "one segment of one video": Fault(
        lambda: parsing_set(train=["bell dog"], val=["bell"], test=["bell"], segments=1), one_batch
    ),
    "an event that no training video has": Fault(
        lambda: parsing_set(train=["bell", "dog", "bell dog"]), unseen_in_training
    ),
    "an event that only training videos have": Fault(
        lambda: parsing_set(val=["bell", "dog"], test=["dog"]), untrue_in_test
    ),
    "an event in every video": Fault(
        lambda: parsing_set(train=[f"{weak} bell" for weak in WEAK]), event_weights(0.6, 1.2, 1.2)
    ),
    "no events": Fault(
        lambda: parsing_set(train=["", "", ""], val=[""], test=[""]), nothing_occurs, inference="classifier"
    ),
    "videos without segments": Fault(lambda: cut(parsing_set(), videos=slice(1)), only_real_segments_are_key),
    "batches without segments": Fault(
        lambda: cut(parsing_set(), videos=slice(4)), only_real_segments_are_key, ("data.batch_size=1",)
    ),
    "shorter videos": Fault(lambda: cut(parsing_set(), length=2), only_real_segments_are_key),
    "some shorter videos": Fault(
        lambda: cut(parsing_set(), videos=slice(0, None, 2), length=2), only_real_segments_are_key
    ),
    "no segments": Fault(lambda: cut(parsing_set()), nothing_there_is_all_right, inference="classifier"),
    "one modality": Fault(lambda: parsing_set(modalities=["audio"]), one_track),
    "one event": Fault(lambda: parsing_set(["bell", ""], ["bell"], ["", "bell"], events=["bell"]), event_weights(1.0)),
    "three modalities": Fault(
        lambda: parsing_set(modalities=THREE),
        four_tracks,
        ("method.weights.odour=1", "method.targets.smoothing.odour=1"),
    ),
}
OF_PROTOTYPES = {
    "k larger than the data": Fault(parsing_set, segments_are_the_prototypes, ("labeling.k=1000",)),
    "k larger than the data, torch": Fault(
        parsing_set, segments_are_the_prototypes, ("labeling.k=1000", "labeling.kmeans=torch")
    ),
    "k of one": Fault(parsing_set, at_most_one_prototype, ("labeling.k=1",)),
    "a sample of one": Fault(parsing_set, at_most_one_prototype, ("labeling.max_segments_per_event=1",)),
    "one peak in each video, of which one is padding": Fault(
        lambda: cut(parsing_set(), videos=slice(1)), one_peak_a_real_video
    ),
    "no positive segments": Fault(parsing_set, no_label, ("labeling.gamma=1.01",), inference="classifier"),
    "no negative segments": Fault(lambda: parsing_set(train=["bell dog rain"] * 3), every_label, ("labeling.beta=0",)),
    "parsed by prototypes that an event lacks": Fault(
        lambda: parsing_set(train=["bell", "dog", "bell dog"]), never_predicted
    ),
}
CASES = [(method, fault) for method in METHODS for fault in FAULTS] + [
    (method, fault) for method in METHODS if method.startswith("ppl") for fault in OF_PROTOTYPES
]


Go = Callable[..., Run]


@pytest.fixture
def go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Go:
    """Train, validate and test as ``avvp_pl.train`` does, with its callbacks, on a tiny network."""

    def run(experiment: str, fault: Fault) -> Run:
        settings = OmegaConf.from_dotlist([f"paths.run_dir={tmp_path}", *fault.overrides])
        labeled = () if experiment == "mil" else ("labeling.start_epoch=0",)
        by = () if fault.inference is None else (f"inference={fault.inference}",)
        small = ("network.dim=8", "network.feedforward_dim=8", f"trainer.max_epochs={EPOCHS}")
        cfg: Any = OmegaConf.merge(composed(experiment, *small, *labeled, *by), settings)
        made = fault.make()
        module, data = build_model(cfg, made), build_data(cfg, made)
        start = {name: value.clone() for name, value in module.network.state_dict().items()}
        trainer = build_trainer(cfg)
        with caplog.at_level(logging.WARNING, logger="avvp_pl"):
            trainer.fit(module, data)
            steps = trainer.global_step
            weights = {name: value.clone() for name, value in module.state_dict().items()}
            labels = module.labeling.pseudo_labels
            best: Any = next(c for c in trainer.checkpoint_callbacks if c.monitor)  # type: ignore[attr-defined]
            trainer.test(module, data, ckpt_path=best.best_model_path, verbose=False)
        module.load_state_dict(weights)  # those of the last epoch, not of the best
        warnings = [record.getMessage() for record in caplog.records]
        return Run(module, made, start, labels, steps, tmp_path, warnings)

    return run


@pytest.mark.parametrize(("experiment", "name"), CASES)
def test_a_run_ends_and_is_what_it_should_be(go: Go, experiment: str, name: str) -> None:
    fault = (FAULTS | OF_PROTOTYPES)[name]
    run = go(experiment, fault)
    assert [row["epoch"] for row in run.epochs] == list(range(EPOCHS))
    assert all(math.isfinite(value) for row in run.epochs for value in row.values())
    assert all(value.isfinite().all() for value in run.module.state_dict().values())
    tracks = len(run.made.modalities) + (len(run.made.modalities) > 1) + 2
    scores = [
        value
        for row in run.epochs
        for name, value in row.items()
        if name.startswith(("val/", "test/")) and name != "val/loss"
    ]
    assert len(scores) == (EPOCHS + len(run.module.inferences)) * (2 * tracks + 1)
    assert all(0 <= score <= 100 for score in scores)
    for row in run.epochs:
        strong = row.get("train/pseudo_label", 0) + row.get("train/contrastive", 0)
        assert row["train/loss"] == pytest.approx(row["train/mil"] + row["train/guided"] + 0.1 * strong, rel=1e-5)
    if isinstance(run.module.labeling, Naive | Prototype):
        check_labels(run)
    if isinstance(run.module.labeling, Prototype):
        check_prototypes(run)
    fault.check(run)


@pytest.mark.parametrize(
    "make", [lambda: cut(parsing_set(), ["train"]), lambda: parsing_set(train=["", ""])], ids=["segments", "events"]
)
def test_prototypes_that_can_never_be_built_are_an_error_before_training(
    go: Go, make: Callable[[], ParsingSet]
) -> None:
    fault = Fault(make, nothing_is_learned, inference="prototype")
    with pytest.raises(InputError, match="no training video has both an event and a segment, so there are no prototy"):
        go("ppl_soft", fault)


def check_labels(run: Run) -> None:
    """Nothing where the event does not occur; hard ones are whole."""
    labels, labeling = run.labels, run.module.labeling
    assert labels is not None
    assert labels.shape == (run.train.num_segments, len(run.made.modalities), len(run.made.events))
    assert ((labels >= 0) & (labels <= 1)).all()
    assert not labels[(run.weak_labels == 0)[:, None].expand_as(labels)].any()
    assert isinstance(labeling, Naive | Prototype)
    if labeling.hard:
        assert ((labels == 0) | (labels == 1)).all()


def check_prototypes(run: Run) -> None:
    """y = 0 without positive prototypes, else y = w without negative ones; one warning names each event lacking."""
    weak = run.weak_labels[:, None]
    for g, part in enumerate(run.bank.groups):
        assert run.labels is not None
        own = run.labels[:, part]
        for c in range(len(run.made.events)):
            if not run.bank.positive_mask[g, c].any():
                assert not own[..., c].any()
            elif not run.bank.negative_mask[g, c].any():
                assert torch.equal(own[..., c], weak[..., c].expand_as(own[..., c]))
    warned = [message for message in run.warnings if "no positive segments" in message]
    assert len(set(warned)) == len(warned)
    assert {message.split()[0] for message in warned} == run.lacking


@pytest.mark.parametrize("experiment", METHODS)
def test_what_is_in_padding_changes_nothing(go: Go, experiment: str) -> None:
    """In videos of two segments and in one of none, next to longer ones; to the bit."""

    def make(garbage: float) -> ParsingSet:
        shorter = cut(cut(parsing_set(), videos=slice(0, None, 2), length=2), videos=slice(1))
        return with_padding(shorter, more=1, garbage=garbage)

    one, two = (go(experiment, Fault(functools.partial(make, garbage), lambda _: None)) for garbage in (0.0, -9.0))
    before, after = one.module.state_dict(), two.module.state_dict()
    assert any(not torch.equal(one.start[name], value) for name, value in one.module.network.state_dict().items())
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    if one.labels is not None:
        assert two.labels is not None
        assert torch.equal(one.labels, two.labels)
