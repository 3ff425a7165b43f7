"""LEAP's network against loops over videos, events, layers and modalities, and its embeddings of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models import LEAP
from avvp_pl.models.leap import EventQueries
from avvp_pl.models.mm_pyramid import PreNormLayer
from avvp_pl.types import Batch, ParsingOutput
from tests.models.networks import (
    DIM,
    EVENTS,
    STREAM_DIMS,
    THREE,
    assert_all_padding_has_no_events,
    assert_close,
    assert_dropout_acts_only_in_training,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_same_outputs,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    reference_streams,
    with_streams,
)
from tests.models.reference_pyramid import (
    linear,
    normalized,
    slow_attention,
    slow_layer,
    slow_pyramid,
    with_small_weights,
)


def make_net(
    modalities: Mapping[str, Sequence[str]] = THREE,
    num_query_layers: int = 2,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    cross_attention: bool = True,
    event_embeddings: Path | None = None,
    seed: int = 0,
) -> LEAP:
    """A small net in evaluation mode, all of whose weights are random."""
    net = LEAP(
        modalities,
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        num_heads=2,
        num_levels=2,
        num_query_layers=num_query_layers,
        dropout=dropout,
        attention_dropout=attention_dropout,
        cross_attention=cross_attention,
        event_embeddings=None if event_embeddings is None else str(event_embeddings),
    )
    return with_small_weights(net, seed)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.npy"
    np.save(path, np.random.default_rng(0).standard_normal((EVENTS, 5)))
    return path


# The reference


def slow_queries(queries: nn.Module, event: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities of one event in the segments [T, D] of one modality of one video, and in all of them."""
    assert isinstance(queries, EventQueries)
    query = event
    for layer in queries.first:
        assert isinstance(layer, PreNormLayer)
        query = slow_layer(layer, query, list(x))
    last = queries.last
    attended = query + slow_attention(last, normalized(last.norm_attention, query), list(x))[0]
    _, logits = slow_attention(last, attended, list(x))  # once more, with the query that has attended
    hidden = linear(last.feedforward[0], normalized(last.norm_feedforward, attended)).clamp(min=0)
    query = attended + linear(last.feedforward[3], hidden)
    return logits.mean(0).sigmoid(), linear(queries.head, query).sigmoid()[0]


def reference(net: LEAP, batch: Batch, video: int) -> ParsingOutput:
    streams = dict(zip(net.modalities, reference_streams(net, batch, video), strict=True))
    hears = tuple(net.modalities) if net.attending is None else net.attending
    encoded = slow_pyramid(net.pyramid, streams, hears)
    segment_probs, modality_probs = [], []
    for name, x in encoded.items():
        events = [linear(net.embed, event) for event in net.event_embeddings]
        found = [slow_queries(net.queries[name], event, x) for event in events]
        segment_probs.append(torch.stack([probs for probs, _ in found], dim=1))
        modality_probs.append(torch.stack([prob for _, prob in found]))
    of_modalities = torch.stack(modality_probs)  # [M, C]
    features = torch.stack(list(encoded.values()), dim=1)
    return ParsingOutput(features, torch.stack(segment_probs, 1), of_modalities.amax(0), of_modalities)


def assert_equals_reference(net: LEAP, batch: Batch) -> None:
    output = net(batch)
    for b, mask in enumerate(batch.mask):
        found = ParsingOutput(
            output.features[b, mask], output.segment_probs[b, mask], output.video_probs[b], output.modality_probs[b]
        )
        assert_same_outputs(found, reference(net, batch, b))


@pytest.mark.parametrize("num_query_layers", [1, 2, 3])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_reference(modalities: int, num_query_layers: int) -> None:
    net = make_net(modalities_of(modalities), num_query_layers, seed=num_query_layers)
    assert_equals_reference(net, make_batch((5, 1, 3), longest=7))


def test_equals_reference_with_embeddings_from_a_file(file: Path) -> None:
    assert_equals_reference(make_net(event_embeddings=file), make_batch((4, 2)))


@pytest.mark.parametrize("attending", [("audio",), ("visual", "text"), ()])
def test_only_modalities_that_attend_see_the_others(attending: tuple[str, ...]) -> None:
    net = make_net()
    net.attending = attending
    assert_equals_reference(net, make_batch((4, 2)))


def test_without_cross_attention_audio_leaves_the_visual_events() -> None:
    net, batch = make_net(cross_attention=False), make_batch()
    other = with_streams(batch, {"vggish": batch.features_in["vggish"] + 1})
    for name in ("segment_probs", "modality_probs"):
        found, expected = (getattr(net(each), name).select(-2, 1) for each in (other, batch))
        assert_close(found, expected)


# Events


def test_permuting_the_events_permutes_their_probabilities(file: Path) -> None:
    net, batch, order = make_net(event_embeddings=file), make_batch((4, 2)), torch.tensor([2, 0, 1])
    before = net(batch)
    net.event_embeddings = net.event_embeddings[order]
    after = net(batch)
    assert_close(after.segment_probs, before.segment_probs[..., order])
    assert_close(after.modality_probs, before.modality_probs[..., order])
    assert_close(after.video_probs, before.video_probs[..., order])
    assert not torch.allclose(after.segment_probs, before.segment_probs, atol=1e-3)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_an_event_is_found_in_the_video_if_one_of_its_modalities_shows_it(threshold: float) -> None:
    net = make_net()
    for name in net.modalities:
        queries = net.queries[name]
        assert isinstance(queries, EventQueries)
        with torch.no_grad():
            queries.head.weight *= 40  # probabilities on both sides of the threshold
    output = net(make_batch((4, 2, 3), seed=1))
    union = (output.modality_probs >= threshold).any(dim=1)
    assert torch.equal(output.video_probs >= threshold, union)
    assert 0 < union.sum() < union.numel()


def test_embeddings_of_a_file_are_kept_but_not_trained(file: Path) -> None:
    net = make_net(event_embeddings=file)
    assert net.embed.in_features == 5
    assert_close(net.state_dict()["event_embeddings"], torch.from_numpy(np.load(file)).float())
    assert "event_embeddings" not in dict(net.named_parameters())
    learned = make_net()
    assert learned.event_embeddings.shape == (EVENTS, DIM)
    assert "event_embeddings" in dict(learned.named_parameters())


def saved(path: Path, value: Any) -> None:
    np.save(path, value, allow_pickle=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file; network.event_embeddings names it"),
        (lambda path: path.mkdir(), "cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "not an .npy file of numbers ("),
        (lambda path: path.write_bytes(b""), "not an .npy file of numbers ("),
        (lambda path: saved(path, np.array([[{}]])), "not an .npy file of numbers (Object arrays"),
        (lambda path: saved(path, np.zeros((4, 5))), "has shape [4, 5] and type float64; needed are numbers of shape"),
        (lambda path: saved(path, np.zeros(EVENTS)), "has shape [3] and type float64; needed are numbers of shape [3,"),
        (lambda path: saved(path, np.zeros((EVENTS, 0))), "has shape [3, 0] and type float64; needed are numbers"),
        (lambda path: saved(path, np.full((EVENTS, 2), "x")), "has shape [3, 2] and type <U1; needed are numbers"),
        (lambda path: saved(path, np.diag([1, np.nan, 1])), "row 1 has a value that is not a finite number"),
        (lambda path: saved(path, np.full((EVENTS, 2), 1e300)), "row 0 has a value that is not a finite number"),
    ],
)
def test_embeddings_that_cannot_be_used(tmp_path: Path, write: Any, message: str) -> None:
    path = tmp_path / "events.npy"
    write(path)
    with pytest.raises(InputError) as error:
        make_net(event_embeddings=path)
    assert str(error.value).startswith(f"{path}: {message}")


# Padding


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_padding_changes_nothing(modalities: int) -> None:
    assert_padding_changes_nothing(make_net(modalities_of(modalities)), longest=9)


@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_has_no_events_and_no_nan(lengths: tuple[int, int]) -> None:
    assert_all_padding_has_no_events(make_net(), lengths)


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


# Training


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net())


def test_every_parameter_has_a_gradient_where_none_attends() -> None:
    """As several processes need it."""
    net = make_net().train()
    net.attending = ()
    slopes = torch.autograd.grad(net(make_batch()).modality_probs.sum(), list(net.parameters()))
    for (name, _), slope in zip(net.named_parameters(), slopes, strict=True):
        assert bool(slope.any()) is not ("cross_layer" in name), name


@pytest.mark.parametrize("which", ["dropout", "attention_dropout"])
def test_dropout_acts_only_in_training(which: str) -> None:
    assert_dropout_acts_only_in_training(make_net(**{which: 0.5}), "segment_probs")  # type: ignore[arg-type]


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_scores_of_half_precision_are_summed_in_full_precision() -> None:
    """Only the projections of queries and keys are rounded, and not their products."""
    layer = make_net().queries["audio"].last
    assert isinstance(layer, PreNormLayer)
    x = torch.randn(1, 1, 4, DIM, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer.attention.scores(x, x)
    weight, bias = (
        part.bfloat16() for part in (layer.attention.in_projection.weight, layer.attention.in_projection.bias)
    )
    rounded = nn.functional.linear(x.bfloat16(), weight, bias).float()
    query, key = rounded[..., :DIM], rounded[..., DIM : 2 * DIM]
    torch.testing.assert_close(found, query @ key.transpose(2, 3) / (2 * DIM) ** 0.5, atol=1e-6, rtol=1e-6)
