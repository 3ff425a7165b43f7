"""The plain baseline must compute what avvp_pl does, or a ratio of their times means nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from avvp_pl.data.videos import ParsingSet
from avvp_pl.losses import guided_loss, mil_loss
from avvp_pl.metrics import score_timelines
from avvp_pl.models import HAN
from benchmarks.plain import STREAMS, PlainHAN, evaluate, score, train_epoch, write_npy
from tests.metrics.reference_avvp import LEVELS, SCORES

DIM = 16
LAYER = {
    "self_attention.in_projection.": "self_attention.in_proj_",
    "self_attention.out_projection.": "self_attention.out_proj.",
    "cross_attention.in_projection.": "cross_attention.in_proj_",
    "cross_attention.out_projection.": "cross_attention.out_proj.",
    "feedforward.0.": "expand.",
    "feedforward.3.": "contract.",
}
NAMES = {
    "fusions.audio.projections.0.": "audio.",
    "fusions.visual.projections.0.": "image.",
    "fusions.visual.projections.1.": "motion.",
    "fusions.visual.fuse.": "fusion.",
    **{f"layers.0.{ours}": f"layer.{plain}" for ours, plain in LAYER.items()},
    "layers.0.": "layer.",
}


def plain_name(name: str) -> str:
    prefix = next((ours for ours in NAMES if name.startswith(ours)), "")
    return NAMES.get(prefix, "") + name.removeprefix(prefix)


@pytest.fixture
def networks(tiny: ParsingSet) -> tuple[HAN, PlainHAN]:
    torch.manual_seed(0)
    modalities = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    ours = HAN(modalities, tiny.stream_dims, len(tiny.events), dim=DIM, feedforward_dim=DIM)
    audio_dim, image_dim, motion_dim = (tiny.stream_dims[stream] for stream in STREAMS.values())
    plain = PlainHAN(len(tiny.events), audio_dim, image_dim, motion_dim, dim=DIM, feedforward_dim=DIM)
    plain.load_state_dict({plain_name(name): value for name, value in ours.state_dict().items()})
    return ours.eval(), plain.eval()


def test_the_same_weights_parse_alike(tiny: ParsingSet, networks: tuple[HAN, PlainHAN], tmp_path: Path) -> None:
    assert tiny.val is not None
    ours, plain = networks
    files = write_npy(tiny.val, tmp_path)
    rows = torch.arange(len(tiny.val))
    (sample,) = DataLoader(files, batch_size=len(files))
    expected, actual = ours(tiny.val[rows]), plain.parse(sample)
    torch.testing.assert_close(sample["label"], tiny.val.weak_labels)
    torch.testing.assert_close(actual.video, expected.video_probs)
    torch.testing.assert_close(torch.stack([actual.heard, actual.seen], dim=1), expected.modality_probs)
    torch.testing.assert_close(actual.segments, expected.segment_probs)
    torch.testing.assert_close(actual.features, expected.features)
    found = evaluate(plain, DataLoader(files, batch_size=1))
    occurs = (expected.video_probs >= 0.5)[:, None, None] & (expected.segment_probs >= 0.5)
    np.testing.assert_array_equal(np.stack([np.stack(video) for video in found]), occurs.permute(0, 2, 3, 1).numpy())


def test_the_same_loss_is_learned_from(tiny: ParsingSet, networks: tuple[HAN, PlainHAN], tmp_path: Path) -> None:
    assert tiny.val is not None
    ours, plain = networks
    batch = tiny.val[torch.arange(len(tiny.val))]
    plain.layer.dropout.p = plain.layer.self_attention.dropout = plain.layer.cross_attention.dropout = 0.0
    loader = DataLoader(write_npy(tiny.val, tmp_path), batch_size=len(tiny.val))
    optimizer = torch.optim.Adam(plain.parameters(), 3e-4)
    (first,), (second,) = (train_epoch(plain, loader, optimizer) for _ in range(2))
    output = ours(batch)
    targets = torch.stack([batch.weak_labels, 0.9 * batch.weak_labels + 0.05], dim=1)
    guided = guided_loss(output.modality_probs, targets, [1.0, 1.0])
    loss = mil_loss(output.video_probs, batch.weak_labels) + guided
    assert first == pytest.approx(loss.item(), rel=1e-5)
    assert second < first


@pytest.mark.parametrize("density", [0.02, 0.3, 0.7])
def test_the_same_timelines_score_alike(density: float) -> None:
    truth, prediction = torch.rand(2, 30, 10, 2, 6, generator=torch.Generator().manual_seed(0)) < density
    ours = score_timelines(prediction, truth)
    expected = [getattr(ours, level)[name] for level in LEVELS for name in SCORES]
    predicted, true = (
        [(video[0], video[1]) for video in timeline.permute(0, 2, 3, 1).float().numpy()]
        for timeline in (prediction, truth)
    )
    assert score(predicted, true) == pytest.approx(expected, rel=0, abs=1e-9)
