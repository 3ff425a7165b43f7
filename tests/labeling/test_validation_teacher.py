from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.validation_teacher import Examples, ValidationTeacher, cut

EVENTS = ("Dog", "Cat", "Bell")
STREAMS = {"audio": ("vgg",), "visual": ("res", "flow")}
DIMS = {"vgg": 4, "res": 3, "flow": 2}


def videos_of(count: int, seed: int, shift: Mapping[str, float] | None = None) -> VideoSet:
    """Videos of 3 to 7 segments: events are directions in the features of each modality, which has its own truth."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 8, (count,), generator=generator)
    segments = int(lengths.sum())
    weak_labels = (torch.rand(count, len(EVENTS), generator=generator) < 0.5).float()
    of_segment = weak_labels.repeat_interleave(lengths, dim=0)[:, None]
    truth = (torch.rand(segments, 2, len(EVENTS), generator=generator) < 0.5) & (of_segment > 0)
    looks = {name: torch.randn(3, dim, generator=torch.Generator().manual_seed(dim)) for name, dim in DIMS.items()}
    streams = {
        name: 3 * truth[:, m].float() @ looks[name] + 0.1 * torch.randn(segments, DIMS[name], generator=generator)
        for m, names in enumerate(STREAMS.values())
        for name in names
    }
    for name, moved in (shift or {}).items():
        streams[name] = streams[name] + moved
    names = tuple(f"{seed}_{number}" for number in range(count))
    return VideoSet(names, lengths, streams, weak_labels, truth)


def teacher(**more: Any) -> ValidationTeacher:
    settings: dict[str, Any] = {"hidden_dim": 32, "dropout": 0.1, "learning_rate": 0.01, "weight_decay": 0.01}
    settings |= {"batch_size": 32, "max_epochs": 20, "folds": 3, "seed": 0}
    return ValidationTeacher(STREAMS, EVENTS, **(settings | more))


def test_its_logits_tell_which_segments_of_training_videos_have_an_event() -> None:
    val, train = videos_of(40, seed=1), videos_of(30, seed=2)
    made = teacher()({"val": val, "train": train})
    assert train.truth is not None
    has_event = train.weak_labels.repeat_interleave(train.lengths, dim=0)[:, None] > 0
    labels = (made.values > 0) & has_event
    assert labels.shape == train.truth.shape
    assert (labels == train.truth).float().mean() > 0.97
    assert made.note == "the teacher has learned from the annotated segments of 40 validation videos"
    assert made.thresholds is None


def test_a_modality_is_judged_by_its_own_features_alone() -> None:
    val, train = videos_of(20, seed=1), videos_of(10, seed=2)
    other = videos_of(10, seed=2, shift={"res": 5.0, "flow": -2.0})
    few = {"max_epochs": 3}
    one, two = (teacher(**few)({"val": val, "train": videos}).values for videos in (train, other))
    assert torch.equal(one[:, 0], two[:, 0])
    assert (one[:, 1] != two[:, 1]).all()


def test_it_depends_on_nothing_but_seed_and_data_and_draws_nothing_from_others() -> None:
    splits = {"val": videos_of(20, seed=1), "train": videos_of(5, seed=2)}
    made: list[torch.Tensor] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(made))
        expected = torch.Generator().manual_seed(len(made))
        with torch.inference_mode():  # as in the command
            made.append(teacher(seed=seed, max_epochs=3)(splits).values)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_the_truth_of_training_videos_is_never_read() -> None:
    val, train = videos_of(20, seed=1), videos_of(5, seed=2)
    without = VideoSet(train.names, train.lengths, train.streams, train.weak_labels)
    few = teacher(max_epochs=3)
    assert torch.equal(few({"val": val, "train": train}).values, few({"val": val, "train": without}).values)
    assert few.needs() == ("val",)


def test_thresholds_by_hand() -> None:
    """Four segments; the last one is of a video without the event, and the second event occurs nowhere."""
    truth = torch.tensor([[1.0, 0], [0, 0], [1, 0], [1, 0]])
    has_event = torch.tensor([[True, False], [True, False], [True, False], [False, False]])
    first = torch.tensor([3.0, 1.0, 2.0, -9.0])  # cut between 1 and 2: F1 is 1
    second = torch.tensor([1.0, 2.0, 3.0, -9.0])  # all three: 4/5, like the last one alone (2/3) is not
    logits = torch.stack([first, second])[:, :, None].repeat(1, 1, 2)
    thresholds, f1 = cut(logits, Examples(torch.zeros(4, 1), truth, has_event))
    assert thresholds.tolist() == [[1.5, 0], [0, 0]]  # below the lowest counted logit, 1, by 1
    assert f1.tolist() == pytest.approx([1.0, 0.8])


@pytest.mark.parametrize(("count", "folds"), [(2, 3), (0, 2)])
def test_too_few_validation_videos(count: int, folds: int) -> None:
    splits = {"val": videos_of(count, seed=1), "train": videos_of(5, seed=2)}
    with pytest.raises(InputError, match=rf"has {count} validation videos .* needs at least {folds} videos"):
        teacher(folds=folds)(splits)


def test_a_fold_of_empty_videos_is_left_out() -> None:
    val = videos_of(6, seed=1)
    segments = int(val.lengths[0])
    assert val.truth is not None
    lengths = torch.cat([val.lengths[:1], torch.zeros(5, dtype=torch.long)])
    streams = {name: stream[:segments] for name, stream in val.streams.items()}
    one = VideoSet(val.names, lengths, streams, val.weak_labels, val.truth[:segments])
    made = teacher(max_epochs=2)({"val": one, "train": videos_of(3, seed=2)})
    assert made.values.isfinite().all()
