"""The labels that a method asks each segment for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.data.products import Product, write_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.segment_targets import FromFile, SegmentLoss
from avvp_pl.methods.targets import Smoothed
from tests.stand_ins import lookup, some_videos, step_of

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "cat")
WEAK = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


def videos_of(lengths: tuple[int, int] = (2, 3)) -> VideoSet:
    return some_videos(lengths, WEAK)


def labels() -> np.ndarray:
    """A different label for everything that can have one: [S, M, C] of video0 and video1."""
    values = np.linspace(0.1, 0.9, 5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    return values * np.repeat(np.array(WEAK, dtype=np.float32), [2, 3], axis=0)[:, None]


def written(path: Path, names: tuple[str, ...] = ("video0", "video1")) -> Path:
    """The videos in the reverse order."""
    rows = {"video0": [0, 1], "video1": [2, 3, 4]}
    order = [row for name in reversed(names) for row in rows[name]]
    lengths = np.array([len(rows[name]) for name in reversed(names)])
    write_product(path, Product("labels", tuple(reversed(names)), lengths, MODALITIES, EVENTS, labels()[order]))
    return path


def test_labels_of_a_batch_are_those_of_its_segments(tmp_path: Path) -> None:
    videos, part = videos_of(), FromFile(MODALITIES, EVENTS, str(written(tmp_path / "labels.npz")))
    assert part.digest() is None
    part.start(videos)
    found = part(step_of(lookup(videos, modalities=2), videos[torch.tensor([1, 0])]))
    assert found.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(found[0].numpy(), labels()[2:])
    np.testing.assert_array_equal(found[1, :2].numpy(), labels()[:2])
    assert part.state_dict() == {}
    assert part.digest() is not None


def test_what_the_file_lacks_has_its_weak_label_only_on_request(tmp_path: Path) -> None:
    path = written(tmp_path / "labels.npz", ("video1",))
    with pytest.raises(InputError, match="has no labels of the video 'video0'"):
        FromFile(MODALITIES, EVENTS, str(path)).start(videos_of())
    part = FromFile(MODALITIES, EVENTS, str(path), missing="weak")
    part.start(videos_of())
    np.testing.assert_array_equal(part.labels[:2].numpy(), np.tile(np.array(WEAK[0], dtype=np.float32), (2, 2, 1)))
    np.testing.assert_array_equal(part.labels[2:].numpy(), labels()[2:])
    whole = FromFile(MODALITIES, EVENTS, str(written(tmp_path / "whole.npz")))
    whole.start(videos_of())
    assert whole.digest() != part.digest()


def test_videos_without_any_segment(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    names, nothing = ("video0", "video1"), np.zeros((0, 2, 3))
    write_product(path, Product("labels", names, np.zeros(2, dtype=np.int64), MODALITIES, EVENTS, nothing))
    videos, part = videos_of((0, 0)), FromFile(MODALITIES, EVENTS, str(path))
    part.start(videos)
    batch = videos[torch.tensor([1])]
    assert part(step_of(lookup(videos_of()), batch)).shape == (1, 1, 2, 3)


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_a_method_can_learn_from_labels_of_segments_beside_its_own_losses(tmp_path: Path, weight: float) -> None:
    """The sum over modalities of the mean over real segments and events, one number at a time."""
    videos, network = videos_of(), lookup(videos_of(), modalities=2)
    segments = SegmentLoss(MODALITIES, EVENTS, str(written(tmp_path / "labels.npz")), weight)
    method = Guided(MODALITIES, EVENTS, "none", {}, Smoothed(MODALITIES, {}), segments=segments)
    segments.start(videos)
    step = step_of(network, videos[torch.arange(2)])
    probs = torch.rand(2, 3, 2, 3, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    step = step._replace(output=replace(step.output, segment_probs=probs))
    terms = method(step)
    assert set(terms) == {"mil", "guided", "segments"} - ({"segments"} if weight == 0 else set())
    if weight:
        places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
        losses = [
            -z * math.log(p) - (1 - z) * math.log(1 - p)
            for row, (video, time) in enumerate(places)
            for m in range(2)
            for p, z in zip(probs[video, time, m].tolist(), labels()[row, m].tolist(), strict=True)
        ]
        assert terms["segments"].weight == weight
        assert terms["segments"].value.item() == pytest.approx(math.fsum(losses) / (len(places) * 3), rel=1e-5)
