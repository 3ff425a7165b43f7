"""The labels that a method asks each modality for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avvp_pl.data.products import Product, write_product
from avvp_pl.errors import InputError
from avvp_pl.losses import guided_loss
from avvp_pl.methods.targets import FromFile, Smoothed
from tests.stand_ins import lookup, some_videos, step_of


def targets(
    modalities: Sequence[str], smoothing: Mapping[str, float], weak_labels: Sequence[Sequence[float]]
) -> Tensor:
    videos = some_videos([2] * len(weak_labels), weak_labels)
    network = lookup(videos, len(modalities))
    return Smoothed(modalities, smoothing)(step_of(network, videos[torch.arange(len(weak_labels))]))


def test_smoothing_by_hand() -> None:
    """HAN's: w for audio, 0.9 w + 0.05 for the visual side."""
    found = targets(["audio", "visual"], {"audio": 1.0, "visual": 0.9}, [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    expected = [[[1, 0, 0], [0.95, 0.05, 0.05]], [[1, 1, 0], [0.95, 0.95, 0.05]]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_modality_that_is_not_named_is_not_smoothed() -> None:
    found = targets(["audio", "odour"], {"audio": 0.8, "visual": 0.5}, [[1.0, 0.0]])
    torch.testing.assert_close(found, torch.tensor([[[0.9, 0.1], [1.0, 0.0]]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.9, 1.0])
def test_labels_of_both_kinds_are_equally_far_from_one_half(smoothing: float) -> None:
    """And at a distance of s / 2: nothing is left of the labels for s = 0."""
    ((of_event, of_none),) = targets(["audio"], {"audio": smoothing}, [[1.0, 0.0]])[0]
    assert of_event.item() + of_none.item() == pytest.approx(1)
    assert of_event.item() - 0.5 == pytest.approx(smoothing / 2)


def test_hans_visual_loss_is_least_at_its_smoothed_label() -> None:
    """BCE(p_v, 0.9 w + 0.05) has its minimum at p_v = 0.95 for w = 1 and at 0.05 for w = 0."""
    asked = targets(["visual"], {"visual": 0.9}, [[1.0, 0.0]])
    probs = torch.tensor([[[0.95, 0.05]]], requires_grad=True)
    torch.autograd.backward(guided_loss(probs, asked, [1.0]))
    torch.testing.assert_close(probs.grad, torch.zeros(1, 1, 2), atol=1e-6, rtol=0)


def test_it_moves_with_the_module_but_is_not_in_checkpoints() -> None:
    part = Smoothed(["audio"], {"audio": 0.5})
    assert part.state_dict() == {}
    assert part.to("meta").keep.device.type == "meta"


# labels of two videos: the first has both events, the second only the dog
OF_FILE = {
    "kind": "modality_labels",
    "names": ("first", "second"),
    "lengths": np.array([3, 1]),
    "modalities": ("audio", "visual"),
    "events": ("bell", "dog"),
    "values": np.array([[[1, 0], [0, 1]], [[0, 0.5], [0, 1]]]),
}


def written(path: Path, **others: Any) -> Path:
    write_product(path, Product(**{**OF_FILE, **others}))
    return path


def training(*names: str) -> Any:
    weak_labels = {"first": [1.0, 1.0], "second": [0.0, 1.0]}
    made = some_videos([2] * len(names), [weak_labels[name] for name in names])
    return type(made)(names, made.lengths, made.streams, made.weak_labels)


def of_file(path: Path) -> FromFile:
    return FromFile(["audio", "visual"], ["bell", "dog"], {"visual": 0.9}, str(path))


def test_labels_of_a_file_are_smoothed_and_removed_ones_are_0(tmp_path: Path) -> None:
    """0.9 y + 0.05 for the visual side; a weak label that is 0 is smoothed as well."""
    videos, part = training("second", "first"), of_file(written(tmp_path / "labels.npz"))
    part.start(videos)
    found = part(step_of(lookup(videos), videos[torch.tensor([1, 0])]))
    expected = [[[1.0, 0.0], [0.0, 0.95]], [[0.0, 0.5], [0.05, 0.95]]]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert part.state_dict() == {}


def test_a_file_with_all_labels_is_hans_targets(tmp_path: Path) -> None:
    videos = training("first", "second")
    part = of_file(written(tmp_path / "labels.npz", values=np.array([[[1, 1]] * 2, [[0, 1]] * 2])))
    part.start(videos)
    step = step_of(lookup(videos), videos[torch.arange(2)])
    torch.testing.assert_close(part(step), Smoothed(["audio", "visual"], {"visual": 0.9})(step))


def test_names_are_matched_in_any_order_and_the_digest_tells_other_labels(tmp_path: Path) -> None:
    videos = training("first", "second")
    values = np.asarray(OF_FILE["values"])
    turned = written(
        tmp_path / "turned.npz",
        names=("second", "first"),
        modalities=("visual", "audio"),
        events=("dog", "bell"),
        values=values[::-1, ::-1, ::-1],
    )
    parts = [of_file(written(tmp_path / "plain.npz")), of_file(turned)]
    parts.append(of_file(written(tmp_path / "other.npz", values=values / 2)))
    for part in parts:
        assert part.digest() is None
        part.start(videos)
    assert torch.equal(parts[0].labels, parts[1].labels)
    assert parts[0].digest() == parts[1].digest() != parts[2].digest()


def test_videos_that_the_file_lacks_may_keep_their_weak_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "labels.npz", names=("first", "third"))
    part = FromFile(["audio", "visual"], ["bell", "dog"], {"visual": 0.9}, str(path), missing="weak")
    videos = training("second", "first")
    with caplog.at_level(logging.INFO):
        part.start(videos)
    found = part(step_of(lookup(videos), videos[torch.arange(2)]))
    expected = [[[0.0, 1.0], [0.05, 0.95]], [[1.0, 0.0], [0.0, 0.95]]]
    torch.testing.assert_close(found, torch.tensor(expected))
    covered = f"{path}: covers 1 of 2 training videos, labels above 0: 1 audio, 1 visual; "
    assert caplog.messages[-1] == covered + "the other 1 have their weak label everywhere"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"names": ("first", "third")}, "has no modality labels of the video 'second'; the training data has it"),
        ({"events": ("bell", "cat")}, "has no modality labels of the event 'dog'"),
        ({"modalities": ("audio", "odour")}, "has no modality labels of the modality 'visual'"),
        (
            {"values": np.array([[[1, 0], [0, 1]], [[0, 1], [0.25, 1]]])},
            "has a label above 0 for bell (visual) in 'second', whose weak label does not have this event",
        ),
        (
            {"kind": "labels", "values": np.zeros((4, 2, 2))},
            "holds labels, but modality_labels are needed; give another file",
        ),
    ],
)
def test_files_that_do_not_fit_the_training_videos(tmp_path: Path, others: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "labels.npz", **others)
    with pytest.raises(InputError) as error:
        of_file(path).start(training("first", "second"))
    assert str(error.value).startswith(f"{path}: {message}")
