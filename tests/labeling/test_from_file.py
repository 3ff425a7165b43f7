"""Labels from a file: matched by name, refused where they cannot be right, and the same after a resume."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avvp_pl.data.products import Product, write_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.from_file import FromFile
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.parts import Step, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

EVENTS, MODALITIES = ("Dog", "Cello", "Speech"), ("audio", "visual")
LENGTHS = {"a": 2, "b": 0, "c": 3, "c2": 3}
WEAK = {"a": [1, 0, 1], "b": [1, 1, 1], "c": [0, 1, 0], "c2": [0, 1, 1]}


def training(*names: str) -> VideoSet:
    """Some of the three videos, one of which is empty."""
    lengths = torch.tensor([LENGTHS[name] for name in names])
    streams = {"sound": torch.zeros(int(lengths.sum()), 4)}
    return VideoSet(names, lengths, streams, torch.tensor([WEAK[name] for name in names]).float())


def true_labels(*names: str) -> Any:
    """A label for each (video, segment, modality, event) that can have one: its hash, so to say, in (0, 1)."""
    return np.concatenate(
        [
            np.array(
                [
                    [[(ord(name[0]) + 7 * t + 3 * m + c) % 10 / 20 + 0.25 for c in range(3)] for m in range(2)]
                    for t in range(LENGTHS[name])
                ],
                dtype=np.float32,
            ).reshape(-1, 2, 3)
            * np.array(WEAK[name], dtype=np.float32)
            for name in names
        ]
    )


def write(path: Path, names: Sequence[str] = ("a", "b", "c"), **others: Any) -> Path:
    lengths = np.array([LENGTHS[name] for name in names])
    whole = Product("labels", tuple(names), lengths, MODALITIES, EVENTS, true_labels(*names))
    write_product(path, replace(whole, **others))
    return path


def labeling(path: Path, **others: Any) -> FromFile:
    settings: dict[str, Any] = {"label_threshold": 0.5, "weight_pseudo_label": 0.1, "start_epoch": 0}
    return FromFile(MODALITIES, EVENTS, str(path), **(settings | others))


@given(
    st.permutations(range(3)), st.permutations(range(2)), st.permutations(range(3)), st.permutations(["a", "b", "c"])
)
def test_labels_are_matched_by_name(
    tmp_path_factory: pytest.TempPathFactory,
    videos: list[int],
    modalities: list[int],
    events: list[int],
    trained: list[str],
) -> None:
    names = [("a", "b", "c")[video] for video in videos]
    path = write(
        tmp_path_factory.getbasetemp() / "permuted.npz",
        names,
        modalities=tuple(MODALITIES[m] for m in modalities),
        events=tuple(EVENTS[c] for c in events),
        values=true_labels(*names)[:, modalities][:, :, events],
    )
    part = labeling(path)
    part.start(training(*trained))
    assert part.stored is not None
    np.testing.assert_array_equal(part.stored.numpy(), true_labels(*trained))


def test_labels_are_there_from_the_first_epoch_that_is_asked_for(tmp_path: Path) -> None:
    videos, part = training("c", "a"), labeling(write(tmp_path / "labels.npz"), start_epoch=2)
    part.start(videos)
    assert part.refresh(videos, 1, Team()) is None
    assert (part.ready, part.progress()) == (False, {})
    assert part.refresh(videos, 2, Team()) is not None
    assert part.ready
    assert part.pseudo_labels is not None
    np.testing.assert_array_equal(part.pseudo_labels.numpy(), true_labels("c", "a"))


class Constant(ParsingNetwork):
    """Probabilities of 0.3, whatever is put in."""

    feature_dim = 1

    def forward(self, batch: Batch) -> ParsingOutput:
        probs = torch.full((*batch.mask.shape, 2, 3), 0.3)
        return ParsingOutput(torch.zeros(*batch.mask.shape, 2, 1), probs, probs.mean((1, 2)), probs.mean(1))


def test_what_labels_teach(tmp_path: Path) -> None:
    videos, part = training("c", "b", "a"), labeling(write(tmp_path / "labels.npz"), weight_pseudo_label=0.7)
    part.start(videos)
    part.refresh(videos, 0, Team())
    batch, network = videos[torch.tensor([2, 0])], Constant()
    terms = part(Step(network, batch, output := network(batch), epoch=0, done=0.0))
    expected = torch.zeros(2, 3, 2, 3)
    expected[0, :2], expected[1] = torch.from_numpy(true_labels("a")), torch.from_numpy(true_labels("c"))
    assert terms.keys() == {"pseudo_label"}
    assert terms["pseudo_label"].weight == 0.7
    assert terms["pseudo_label"].value == pseudo_label_loss(output.segment_probs, expected, batch.mask)


def test_what_training_does_not_list_is_ignored_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        tmp_path / "labels.npz",
        events=(*EVENTS, "Car", "Cat"),
        values=np.pad(true_labels("a", "b", "c"), ((0, 0), (0, 0), (0, 2)), constant_values=1),
    )
    with caplog.at_level(logging.INFO):
        labeling(path).start(training("c", "a", "b"))
        labeling(path).start(training("c"))
        labeling(write(path)).start(training("a", "b", "c"))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 of its events are not in the training data and are ignored, such as 'Car'",
        f"{path}: covers 3 of 3 training videos, labels above 0: 7 audio, 7 visual",
        f"{path}: 2 of its videos are not in the training data and are ignored, such as 'a'",
        f"{path}: 2 of its events are not in the training data and are ignored, such as 'Car'",
        f"{path}: covers 1 of 1 training videos, labels above 0: 3 audio, 3 visual",
        f"{path}: covers 3 of 3 training videos, labels above 0: 7 audio, 7 visual",
    ]


def test_videos_that_the_file_lacks_may_have_their_weak_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "labels.npz", ["c"])
    part = labeling(path, missing="weak")
    with caplog.at_level(logging.INFO):
        part.start(training("a", "c", "b"))
    assert part.stored is not None
    assert torch.equal(part.stored[:2], torch.tensor([1.0, 0, 1]).expand(2, 2, 3))  # a, in every segment and modality
    np.testing.assert_array_equal(part.stored[2:].numpy(), true_labels("c"))
    covered = f"{path}: covers 1 of 3 training videos, labels above 0: 3 audio, 3 visual; "
    assert caplog.messages == [covered + "the other 2 have their weak label everywhere"]


def test_a_file_of_none_of_the_videos_is_refused_in_any_case(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.npz", ["c"])
    with pytest.raises(InputError, match=r"has no labels of the video 'a', and 1 more are missing"):
        labeling(path, missing="weak").start(training("a", "b"))


def test_logits_are_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "logits.npz", kind="logits", values=-5 * true_labels("a", "b", "c"))
    with pytest.raises(InputError) as error:
        labeling(path).start(training("a"))
    assert str(error.value) == (
        f"{path}: holds logits, but labels are needed; python -m avvp_pl.refine +refine=from_logits makes labels of "
        "logits"
    )


def test_valors_loss_is_the_sum_of_the_means_of_its_modalities(tmp_path: Path) -> None:
    """The slope by a logit is (p - z) / (B T C)."""
    videos = training("c", "c2")
    part = labeling(write(tmp_path / "labels.npz", ["c", "c2"]), weight_pseudo_label=1.0, over_modalities="sum")
    part.start(videos)
    part.refresh(videos, 0, Team())
    logits = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch, network = videos[torch.arange(2)], Constant()
    output = replace(network(batch), segment_probs=logits.sigmoid())
    term = part(Step(network, batch, output, 0, 0.0))["pseudo_label"]
    (slope,) = torch.autograd.grad(term.weight * term.value, logits)
    labels = part.of_batch(Step(network, batch, output, 0, 0.0))
    torch.testing.assert_close(slope, (logits.sigmoid() - labels).detach() / (2 * 3 * 3))


def above_the_weak_label(value: float) -> Any:
    labels = true_labels("a", "b", "c")
    labels[3, 1, 2] = value  # Speech in c
    return labels


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a missing video": ({"names": ("a", "b")}, "has no labels of the video 'c'; the training data has it, so add it"),
    "many missing videos": ({"names": ("a",)}, "has no labels of the video 'b', and 1 more are missing"),
    "a mistyped event": (
        {"events": ("Dog", "Celo", "Speech")},
        "has no labels of the event 'Cello'; the training data has it, so add it. Did you mean 'Celo'?",
    ),
    "a missing modality": ({"modalities": ("audio", "video")}, "has no labels of the modality 'visual'"),
    "another length": (
        {"lengths": np.array([3, 0, 2])},
        "'a' has 3 segments, but 2 in the data; write labels for the segments of the data",
    ),
    "a label above the weak label": (
        {"values": above_the_weak_label(1e-6)},
        "has a label above 0 for Speech in 'c', whose weak label does not have this event; set such labels to 0, or",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    others, message = REFUSED[case]
    path = write(tmp_path / "labels.npz", **others)
    with pytest.raises(InputError) as error:
        labeling(path).start(training("a", "b", "c"))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def digest(path: Path, *names: str) -> str:
    part = labeling(path)
    assert part.digest() is None
    part.start(training(*names))
    found = part.digest()
    assert found is not None
    return found


def test_the_digest_is_that_of_the_labels_of_the_training_videos(tmp_path: Path) -> None:
    """In whatever order and in whatever file they are."""
    path, moved = write(tmp_path / "labels.npz"), write(tmp_path / "moved.npz", ["c", "a", "b"])
    assert path.read_bytes() != moved.read_bytes()
    assert digest(path, "a", "c") == digest(moved, "a", "c")
    assert digest(path, "a", "c") != digest(path, "c", "a")
    values = true_labels("a", "b", "c")
    values[0, 0, 0] = np.nextafter(values[0, 0, 0], np.float32(1))  # of a
    other = write(tmp_path / "other.npz", values=values)
    assert digest(path, "a", "c") != digest(other, "a", "c")
    assert digest(path, "b", "c") == digest(other, "b", "c")


def test_the_middle_of_an_epoch_is_continued_with_its_labels(tmp_path: Path) -> None:
    videos, path = training("a", "c"), write(tmp_path / "labels.npz")
    before, after = labeling(path), labeling(path)
    before.start(videos)
    before.refresh(videos, 3, Team())
    after.start(videos)
    assert not after.ready
    after.resume(before.progress())
    batch, network = videos[torch.tensor([0])], Constant()
    step = Step(network, batch, network(batch), epoch=3, done=0.5)
    assert after(step)["pseudo_label"].value == before(step)["pseudo_label"].value
    after.resume({})
    assert not after.ready
