"""The twin of THUMOS14: the same bits from the same arguments, its statistics, and in what it is hard."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avvp_pl.data import thumos_synthetic
from avvp_pl.data.known import THUMOS14_EVENTS
from avvp_pl.data.thumos import covered
from avvp_pl.data.thumos_synthetic import generate
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.types import Instances
from tests.conftest import Command

FUSED = {"fused": ["rgb", "flow"]}
DIVING, CLIFF_DIVING, BOWLING, SHOT = (
    THUMOS14_EVENTS.index(event) for event in ("Diving", "CliffDiving", "CricketBowling", "CricketShot")
)


def make(train: int = 20, test: int = 8, **options: Any) -> ParsingSet:
    arguments: dict[str, Any] = {
        "sizes": {"train": train, "test": test},
        "streams": {"rgb": 6, "flow": 5},
        "modalities": FUSED,
        "seed": 0,
    }
    return generate(**arguments | options)


def train_of(parsing: ParsingSet) -> VideoSet:
    assert parsing.train is not None
    return parsing.train


def instances_of(videos: VideoSet) -> Instances:
    assert videos.instances is not None
    return videos.instances


def truth_of(videos: VideoSet) -> Tensor:
    assert videos.truth is not None
    return videos.truth


def same(one: VideoSet | None, other: VideoSet | None, videos: int) -> bool:
    """Whether the first videos of two sets have the same names, labels, bounds and features, to the bit."""
    assert one is not None
    assert other is not None
    count = int(one.lengths[:videos].sum())
    first, second = (
        (v.instances.events[v.instances.videos < videos], v.instances.bounds[v.instances.videos < videos])
        for v in (one, other)
        if v.instances is not None
    )
    return (
        one.names[:videos] == other.names[:videos]
        and torch.equal(one.lengths[:videos], other.lengths[:videos])
        and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        and torch.equal(truth_of(one)[:count], truth_of(other)[:count])
        and all(torch.equal(stream[:count], other.streams[name][:count]) for name, stream in one.streams.items())
    )


def test_the_same_arguments_give_the_same_bits() -> None:
    one, again = make(), make()
    assert same(one.train, again.train, 20)
    assert same(one.test, again.test, 8)
    assert not same(one.train, make(seed=1).train, 20)


def test_a_split_depends_on_no_size_and_no_other_split() -> None:
    one = make()
    assert same(one.train, make(train=31, test=2).train, 20)
    assert same(one.test, make(train=1, test=9).test, 8)
    alone = make(splits=["test", "val"])
    assert alone.train is None
    assert alone.val is None
    assert same(one.test, alone.test, 8)


def test_a_stream_depends_on_no_other_stream() -> None:
    both, alone = make().train, make(streams={"flow": 5}, modalities={"flow": ["flow"]}).train
    assert both is not None
    assert alone is not None
    assert torch.equal(both.streams["flow"], alone.streams["flow"])


@pytest.fixture(scope="module")
def many() -> ParsingSet:
    return make(train=400, test=1)


def test_statistics(many: ParsingSet) -> None:
    """Near those of the real annotation, which are in the docstring of the module."""
    videos = train_of(many)
    instances, truth = instances_of(videos), truth_of(videos)
    assert min(videos.lengths.tolist()) >= 13
    assert videos.longest <= 2614
    assert 190 <= videos.lengths.float().median() <= 290
    counts = torch.bincount(instances.videos, minlength=400)
    assert counts.min() >= 1
    assert 6 <= counts.median() <= 12
    seconds = instances.bounds[:, 1] - instances.bounds[:, 0]
    assert seconds.min() >= 0.199
    assert 2 <= seconds.median() <= 4
    assert 0.23 <= truth.any(2).float().mean() <= 0.38
    shares = [part.any(2).float().mean() for part in torch.split(truth, videos.lengths.tolist())]
    assert 0.18 <= torch.stack(shares).median() <= 0.3
    events = videos.weak_labels.sum(1)
    assert 0.08 <= (events > 1).float().mean() <= 0.2
    assert videos.weak_labels.sum(0).min() >= 20  # every event is the main one of one video in twenty
    assert (instances.bounds[:, 1] <= 0.64 * videos.lengths.double()[instances.videos] + 1e-6).all()
    assert (instances.bounds[:, 0] >= 0).all()
    # bounds are tenths of a second, as in THUMOS14
    assert (instances.bounds * 10 - (instances.bounds * 10).round()).abs().max() < 1e-9


def test_events_that_go_together(many: ParsingSet) -> None:
    videos = train_of(many)
    instances = instances_of(videos)
    every = {
        (video, event, *bounds)
        for video, event, bounds in zip(
            instances.videos.tolist(), instances.events.tolist(), instances.bounds.tolist(), strict=True
        )
    }
    cliff = [one for one in every if one[1] == CLIFF_DIVING]
    assert len(cliff) > 20
    assert all((video, DIVING, start, end) in every for video, _, start, end in cliff)
    both = videos.weak_labels[:, [BOWLING, SHOT]].sum(1)
    assert 0.6 <= (both == 2).sum() / (both > 0).sum() <= 0.95


def test_truth_is_that_of_the_instances() -> None:
    videos = make(modalities={"rgb": ["rgb"], "flow": ["flow"]}).train
    assert videos is not None
    truth = covered(videos.lengths.tolist(), instances_of(videos), 20, 0.64)
    assert truth_of(videos).shape == (videos.num_segments, 2, 20)
    assert torch.equal(truth_of(videos)[:, 0], truth)
    assert torch.equal(truth_of(videos)[:, 1], truth)
    of = torch.zeros(20, 20)
    of[instances_of(videos).videos, instances_of(videos).events] = 1
    assert torch.equal(videos.weak_labels, of)


def test_actions_context_and_background_look_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise: the middle of an action is strongest, context is like its event's and like no other's."""
    monkeypatch.setattr(thumos_synthetic, "FAINT", 0.0)
    monkeypatch.setattr(thumos_synthetic, "ASTRAY", 0.0)
    options: dict[str, Any] = {"train": 60, "test": 1, "streams": {"rgb": 64, "flow": 64}, "noise": 0.0}
    with_context, without = make(**options).train, make(**options, context=0.0).train
    assert with_context is not None
    assert without is not None
    background = without.streams["rgb"][~truth_of(without).any(2).any(1)]
    # without context nothing tells the background of a video with an event from that of another one
    energy = with_context.streams["rgb"] - without.streams["rgb"]  # what context adds
    nearby = energy.norm(dim=1) > 1e-3
    active = truth_of(with_context).any(2).any(1)
    assert 0.3 < nearby[~active].float().mean() < 0.95  # co-occurs, in the background of videos of the event
    assert nearby[active].float().mean() > 0.99  # and is there during the actions
    # the same event has the same context in all its videos
    event = THUMOS14_EVENTS.index("PoleVault")
    rows = [row for row in range(60) if with_context.weak_labels[row].nonzero().flatten().tolist() == [event]]
    means = [torch.nn.functional.normalize(energy[with_context.rows == row].mean(0), dim=0) for row in rows]
    assert len(means) > 1
    assert all(torch.dot(means[0], mean) > 0.99 for mean in means)
    # in the middle of long actions the signal is strongest
    instances, strength = instances_of(without), (without.streams["rgb"] - background.mean(0)).norm(dim=1)
    middle, ends = [], []
    for row, (start, end) in zip(instances.videos.tolist(), instances.bounds.tolist(), strict=True):
        if end - start > 6:
            first = int(without.starts[row])
            middle.append(strength[first + int((start + end) / 2 / 0.64)])
            ends.append(strength[first + int((start + 0.1 * (end - start)) / 0.64)])
    assert len(middle) > 20
    assert torch.stack(middle).mean() > 1.3 * torch.stack(ends).mean()


def test_an_annotation_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    instances = [{"segment": ["1.0", "9.9"], "label": "Yoga"}]
    database: dict[str, Any] = {
        "a": {"subset": "train", "annotations": instances},
        "b": {"subset": "train", "annotations": instances, "duration": 64.1},
        "video_test_0000950": {"subset": "test", "annotations": instances, "duration": 7.0},
    }
    path.write_text(json.dumps({"database": database}))
    made = make(annotation=path)
    train, test = train_of(made), made.test
    assert test is not None
    assert made.events == ("Yoga",)
    assert train.names == ("a", "b")
    assert train.lengths.tolist() == [16, 100]  # to the end of the instance; as the file says
    assert test.longest > 100  # THUMOS14's own videos have their real lengths, whatever the file says
    assert instances_of(train).bounds.tolist() == [[1.0, 9.9]] * 2
    path.write_text(json.dumps({"database": database | {"c": {"subset": "train", "annotations": []}}}))
    with pytest.raises(InputError, match=r"database\['c'\] has neither an instance nor a 'duration'"):
        make(annotation=path)
    with pytest.raises(InputError, match="no such file"):
        make(annotation=tmp_path / "nowhere.json")


def test_the_real_annotation(shared: Path) -> None:
    made = make(annotation=shared / "thumos14" / "gt.json")
    train, test = train_of(made), made.test
    assert test is not None
    with (shared / "thumos14" / "videos.csv").open(encoding="utf-8") as file:
        seconds = {row["video"]: float(row["duration"]) for row in csv.DictReader(file)}
    assert made.events == THUMOS14_EVENTS
    assert (len(train), len(test)) == (200, 210)
    assert (len(instances_of(train).videos), len(instances_of(test).videos)) == (3007, 3311)
    for videos in (train, test):
        assert videos.lengths.tolist() == [int(seconds[name] / 0.64) for name in videos.names]
    assert truth_of(train).any(2).float().mean() == pytest.approx(0.28, abs=0.005)
    assert np.isfinite(train.streams["rgb"].numpy()).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ["val"]}, "data=thumos14_synthetic has no val videos"),
        ({"modalities": {"a": ["rgb"]}}, "data.modalities: they must have each of data.streams, in order: rgb, flow"),
        ({"streams": {"sound": 3}, "modalities": {"a": ["sound"]}}, "data.streams: 'sound' is not possible"),
    ],
)
def test_wrong_settings(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make(**options)
    assert said in str(caught.value)


def test_training_on_it(command: Command, tmp_path: Path) -> None:
    small = ("data.sizes={train: 20, test: 4}", "data.streams={rgb: 4, flow: 4}", "data.sampling.segments=20")
    arguments = ("network.dim=8", "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=csv")
    run = ("+experiment=tal_mil", "data=thumos14_synthetic", *small, *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert command("train", *run) == 0
    assert set(json.loads((tmp_path / "run" / "scores.json").read_text())["map"]) >= {"0.5", "average_0.1_0.7"}
