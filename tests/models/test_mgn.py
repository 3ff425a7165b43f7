"""MGN against an independent forward pass in loops, its scores of segments, padding, and who sees whom."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.models.mgn import MGN, AttentionLayer, Grouping
from avvp_pl.types import Batch
from tests.models.networks import (
    DIM,
    EVENTS,
    STREAM_DIMS,
    assert_close,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_same_outputs,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
    with_streams,
)

NUM_HEADS = 2


def make_net(modalities: int = 2, segments: int = 4, **settings: Any) -> MGN:
    """A small net in evaluation mode, all of whose weights, also biases, norms and tokens, are random.

    Those of the queries of groupings are large, so that assignments are far from even.
    """
    sizes = {"dim": DIM, "feedforward_dim": 10, "mixing_dim": 5, "num_heads": NUM_HEADS}
    layers = {"num_layers": 2, "num_fusion_layers": 1}
    net = MGN(modalities_of(modalities), STREAM_DIMS, EVENTS, segments, **{**sizes, **layers, **settings})
    randomized(net)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Grouping):
                module.query.weight.mul_(10)
    return net


# The reference: one video at a time, without padding, one token and one member at a time


def weights(module: nn.Module, *names: str) -> list[Tensor]:
    return [module.get_parameter(f"{name}.{kind}") for name in names for kind in ("weight", "bias")]


def norm(module: nn.Module, name: str, x: Tensor) -> Tensor:
    weight, bias = weights(module, name)
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def linear(module: nn.Module, name: str, x: Tensor) -> Tensor:
    weight, bias = weights(module, name)
    return x @ weight.T + bias


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def mlp(module: nn.Module, name: str, x: Tensor) -> Tensor:
    return linear(module, f"{name}.2", gelu(linear(module, f"{name}.0", x)))


def attention(module: nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    """Head after head, each with its own rows of the three projections."""
    of_layer = isinstance(module, AttentionLayer)
    first, last = ("in_projection.", "out_projection") if of_layer else ("in_proj_", "out_proj")
    projection, shift = (module.get_parameter(f"attention.{first}{kind}") for kind in ("weight", "bias"))
    parts = [x @ w.T + b for x, w, b in zip((queries, keys, keys), projection.chunk(3), shift.chunk(3), strict=True)]
    size, heads = DIM // NUM_HEADS, []
    for head in range(NUM_HEADS):
        q, k, v = (part[:, head * size : (head + 1) * size] for part in parts)
        scores = (q @ k.T / math.sqrt(size)).exp()
        heads.append(scores / scores.sum(1, keepdim=True) @ v)
    return linear(module, f"attention.{last}", torch.cat(heads, dim=1))


def reference_layer(layer: nn.Module, x: Tensor) -> Tensor:
    normed = norm(layer, "norm_attention", x)
    x = x + attention(layer, normed, normed)
    return x + mlp(layer, "feedforward", norm(layer, "norm_feedforward", x))


def reference_grouping(grouping: nn.Module, tokens: Tensor, members: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
    """Groups [K, D] and assignment [K, S]. Slots beyond the last token are empty, so their weights are unused."""
    tokens, members = norm(grouping, "norm_tokens", tokens), norm(grouping, "norm_members", members)
    (first, first_bias), (last, last_bias) = weights(grouping, "mixing.0"), weights(grouping, "mixing.2")
    number = len(tokens)
    mixed = torch.stack(
        [last[:number] @ gelu(first[:, :number] @ column + first_bias) + last_bias[:number] for column in tokens.T], 1
    )
    k = norm(grouping, "norm_mixed", mixed)
    k = k + attention(grouping, k, members)
    k = norm(grouping, "norm_attended", k + mlp(grouping, "feedforward", norm(grouping, "norm_feedforward", k)))
    query, key, value = (linear(grouping, name, x) for name, x in (("query", k), ("key", members), ("value", members)))
    assignment = torch.zeros(number, len(members))
    for s, member in enumerate(key):
        scores = torch.stack([(row @ member / math.sqrt(DIM)).exp() for row in query])
        if hard:
            assignment[scores.argmax(), s] = 1
        else:
            assignment[:, s] = scores / scores.sum()
    means = torch.stack([(row[:, None] * value).sum(0) / (row.sum() + 1) for row in assignment])
    group = k + linear(grouping, "projection", means)
    return group + mlp(grouping, "group_feedforward", norm(grouping, "norm_group", group)), assignment


@torch.no_grad()
def assert_equals_reference(net: MGN, batch: Batch, hard: bool = True) -> None:
    output = net(batch)
    for b in range(len(batch.mask)):
        real = batch.mask[b]
        streams = {
            name: net.fusions[name]([batch.features_in[stream][[b]][:, real] for stream in of_modality])[0]
            for name, of_modality in net.modalities.items()
        }
        groups = {}
        for m, (name, x) in enumerate(streams.items()):
            joined = torch.cat([x, net.event_tokens[m]])
            for layer in net.layers_of(name):
                joined = reference_layer(layer, joined)
            segments, tokens = joined[: len(x)], joined[len(x) :]
            if name in net.regroupings:
                segments, _ = reference_grouping(net.regroupings[name], streams[net.query_modality], segments, hard)
            groups[name], taken = reference_grouping(net.groupings[name], tokens, segments, hard=False)
            probs = 1 / (1 + (-linear(net.modality_heads[name], "", groups[name]).squeeze(1)).exp())
            shares = taken.exp() / taken.exp().sum(1, keepdim=True)
            scores = probs[:, None] * (taken if net.segment_scores == "paper" else 1 + shares)
            assert output.projected is not None
            assert_close(output.projected[b, real, m], x)
            assert_close(output.features[b, real, m], segments)
            assert_close(output.modality_probs[b, m], probs)
            assert_close(output.segment_probs[b, real, m], scores.T.clamp(max=1))
        fused = torch.cat([group for name, group in groups.items() if name != net.query_modality])
        fused = torch.cat([fused, groups[net.query_modality]])
        for layer in net.fusion_layers:
            fused = reference_layer(layer, fused)
        group, _ = reference_grouping(net.fusion_grouping, fused[-EVENTS:], fused[:-EVENTS], hard=False)
        assert_close(output.video_probs[b], 1 / (1 + (-linear(net.video_head, "", group).squeeze(1)).exp()))


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("segment_scores", ["code", "paper"])
@pytest.mark.parametrize("assignment", ["gumbel", "hard", "soft"])
def test_it_equals_the_reference(modalities: int, segment_scores: str, assignment: str) -> None:
    regrouped = ["audio", "text"]
    given: dict[str, Any] = {"segment_scores": segment_scores, "assignment": assignment, "regrouped": regrouped}
    net = make_net(modalities, **given)
    assert_equals_reference(net, make_batch(), assignment != "soft")
    assert_equals_reference(net, make_batch((4, 1, 3)), assignment != "soft")
    assert_equals_reference(make_net(modalities, segments=6, **given), make_batch((4, 1, 3)), assignment != "soft")


@pytest.mark.parametrize("query_modality", ["audio", "text"])
def test_another_modality_can_group_the_others(query_modality: str) -> None:
    assert_equals_reference(make_net(3, query_modality=query_modality, regrouped=["visual"]), make_batch((4, 2)))


def test_the_fusion_may_have_no_layers() -> None:
    assert_equals_reference(make_net(num_fusion_layers=0), make_batch())


# Scores of segments


def test_as_in_the_code_the_video_decides_nearly_alone() -> None:
    """The sum over t of p / P - 1 is 1, and at T = 10 it is at least 1 / (1 + 9 e) and at most e / (e + 9)."""
    net = make_net(segments=10)
    with torch.no_grad():
        for head in net.modality_heads.values():
            head.get_parameter("bias").sub_(5)  # so that no score is cut off at 1
        for grouping in net.groupings.values():
            grouping.get_parameter("query.weight").mul_(100)  # so that some events take all of a segment
    output = net(make_batch([10] * 4))
    probs = output.modality_probs[:, None]
    assert (output.segment_probs < 1).all()
    shares = output.segment_probs / probs - 1  # [B, T, M, C]
    assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    assert shares.min() >= 1 / (1 + 9 * math.e) - 1e-5
    assert shares.max() <= math.e / (math.e + 9) + 1e-5
    assert shares.max() - shares.min() > 0.02


def test_scores_by_hand() -> None:
    """An event of P = 0.41 that takes all of the first of ten segments, and one of P = 0.48 that takes all others."""
    first = torch.tensor([1.0] + [0.0] * 9)
    taken, probs, mask = torch.stack([first, 1 - first])[None], torch.tensor([[0.41, 0.48]]), torch.ones(1, 10).bool()
    (scores,) = make_net(segment_scores="code")._segment_probs(probs, taken, mask)
    shares = [math.e / (math.e + 9), 1 / (math.e + 9)], [1 / (1 + 9 * math.e), math.e / (1 + 9 * math.e)]
    assert scores[0].tolist() == pytest.approx([0.41 * (1 + shares[0][0]), 0.48 * (1 + shares[1][0])])
    assert scores[5].tolist() == pytest.approx([0.41 * (1 + shares[0][1]), 0.48 * (1 + shares[1][1])])
    assert (scores[:, 0] >= 0.5).tolist() == [True] + [False] * 9
    (scores,) = make_net(segment_scores="paper")._segment_probs(probs, taken, mask)
    assert scores[0].tolist() == pytest.approx([0.41, 0.0])
    assert scores[5].tolist() == pytest.approx([0.0, 0.48])


def test_as_in_the_code_an_event_that_is_in_the_modality_is_in_all_its_segments() -> None:
    output = make_net(segments=10)(make_batch([10] * 8))
    there = (output.modality_probs >= 0.5)[:, None].expand_as(output.segment_probs)
    assert 0.1 < there.float().mean() < 0.9
    assert (output.segment_probs[there] >= 0.5).all()


def test_as_in_the_paper_the_events_share_a_segment() -> None:
    net, batch = make_net(segment_scores="paper"), make_batch((4, 2))
    output = net(batch)
    shares = output.segment_probs / output.modality_probs[:, None]
    assert_close(shares.sum(-1)[batch.mask], torch.ones(6, 2))
    assert (output.segment_probs[~batch.mask] == 0).all()


@pytest.mark.parametrize("segment_scores", ["code", "paper"])
def test_scores_are_probabilities_and_every_slope_is_finite(segment_scores: str) -> None:
    """Even if P is nearly 1, and P (1 + share) above it."""
    net, batch = make_net(segment_scores=segment_scores), make_batch((4, 1))
    with torch.no_grad():
        for head in net.modality_heads.values():
            head.get_parameter("bias").add_(9)
    output = net(batch)
    assert ((output.segment_probs >= 0) & (output.segment_probs <= 1)).all()
    loss = pseudo_label_loss(output.segment_probs, torch.zeros_like(output.segment_probs), batch.mask)
    slopes = torch.autograd.grad(loss, [*net.parameters()], allow_unused=True)
    assert all(slope.abs().max() < 1e3 for slope in slopes if slope is not None)
    if segment_scores == "code":
        assert (output.segment_probs[batch.mask] == 1).any()


# Padding


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("segment_scores", ["code", "paper"])
@pytest.mark.parametrize("assignment", ["gumbel", "soft"])
def test_padding_changes_nothing(modalities: int, segment_scores: str, assignment: str) -> None:
    settings = {"segment_scores": segment_scores, "assignment": assignment, "regrouped": ["audio", "visual"]}
    assert_padding_changes_nothing(make_net(modalities, segments=7, **settings))


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_gives_no_nan(lengths: tuple[int, int]) -> None:
    net, batch = make_net(dropout=0.0).train(), make_batch(lengths, longest=4)
    streams = {name: x.clone().requires_grad_() for name, x in batch.features_in.items() if name != "words"}
    output = net(with_streams(batch, streams))
    total = output.video_probs.sum() + output.features.sum() + output.segment_probs.sum()
    assert total.isfinite()
    for slope in torch.autograd.grad(total, [*net.parameters(), *streams.values()]):
        assert slope.isfinite().all()


def test_a_longer_video_is_refused() -> None:
    with pytest.raises(InputError, match=r"network\.segments=3: .* and a video has 4; train with at least 4"):
        make_net(segments=3)(make_batch((4, 2)))


def test_without_regrouping_videos_have_any_length() -> None:
    assert_equals_reference(make_net(segments=1, regrouped=[]), make_batch((4, 2)))


# Modalities


def test_the_segments_of_audio_are_grouped_by_the_visual_ones_and_not_the_other_way() -> None:
    net, batch = make_net(), make_batch()
    output = net(batch)
    silent = net(with_streams(batch, {"vggish": -batch.features_in["vggish"]}))
    dark = net(with_streams(batch, {"res152": -batch.features_in["res152"]}))
    for before, after in ((output.features, silent.features), (output.segment_probs, silent.segment_probs)):
        assert torch.equal(before[:, :, 1], after[:, :, 1])
        assert not torch.allclose(before[:, :, 0], after[:, :, 0], atol=1e-3)
    for before, after in ((output.features, dark.features), (output.segment_probs, dark.segment_probs)):
        assert not torch.allclose(before[:, :, 0], after[:, :, 0], atol=1e-3)
    for other in (silent, dark):
        assert not torch.allclose(output.video_probs, other.video_probs, atol=1e-3)


@pytest.mark.parametrize("attending", [(), ("visual",), ("audio",)])
def test_a_modality_that_does_not_attend_is_not_regrouped(attending: tuple[str, ...]) -> None:
    net, plain, batch = make_net(), make_net(regrouped=[]), make_batch()
    plain.load_state_dict(net.state_dict(), strict=False)
    whole = net(batch)
    net.attending = attending
    assert_same_outputs(net(batch), whole if "audio" in attending else plain(batch))
    assert not torch.allclose(whole.features, plain(batch).features, atol=1e-2)


def test_one_modality_is_refused() -> None:
    with pytest.raises(InputError, match=r"the only modality is audio; add one to data\.modalities"):
        make_net(1)


def test_a_query_modality_that_the_data_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"^network\.query_modality=smell: .* must be one of audio, visual"):
        make_net(query_modality="smell")


# Training


@pytest.mark.parametrize("loss_of", ["all", "video"])
def test_every_parameter_has_a_gradient(loss_of: str) -> None:
    """With several processes all need one, even if no modality is asked for anything."""
    net = make_net(3, regrouped=["audio", "text"]).train()
    torch.manual_seed(0)
    output = net(make_batch())
    loss = output.video_probs.square().sum()
    if loss_of == "all":
        loss = loss + output.modality_probs.square().sum()
    for name, slope in zip(*named_slopes(net, loss), strict=True):
        assert slope.isfinite().all(), name
        assert slope.abs().max() > 0 or (name.startswith("modality_heads") and loss_of == "video"), name


def named_slopes(net: nn.Module, loss: Tensor) -> tuple[list[str], list[Tensor]]:
    names, parameters = zip(*net.named_parameters(), strict=True)
    return list(names), list(torch.autograd.grad(loss, parameters))


def test_it_starts_as_the_public_code_does() -> None:
    """Tokens and biases at 0, weights of standard deviation 0.02, and norms that change nothing."""
    torch.manual_seed(0)
    net = MGN(modalities_of(2), STREAM_DIMS, EVENTS, segments=10)
    for name, x in net.named_parameters():
        if "norm" in name and name.endswith("weight"):
            assert (x == 1).all(), name
        elif name == "event_tokens" or name.endswith("bias"):
            assert not x.any(), name
        elif x.numel() >= 5000:
            assert x.std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(x.mean().item()) < 0.002, name


def test_the_number_of_parameters_with_the_streams_of_llp() -> None:
    """Each Linear(a, b) has (a + 1) b, and a norm 2 x 128."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = MGN(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25, segments=10)
    streams = 129 * 128 + 2049 * 128 + 513 * 128 + 257 * 128
    attention, feedforward = 4 * 129 * 128, 129 * 512 + 513 * 128
    layer = attention + feedforward + 2 * 256
    grouping = 2 * attention + 2 * feedforward + 6 * 256  # and its mixing
    mixing = 26 * 64 + 65 * 25
    regrouping = grouping + 11 * 64 + 65 * 10
    everything = streams + 12 * layer + 3 * (grouping + mixing) + regrouping + 3 * 129 + 2 * 25 * 128
    # the public code has 25 * 129 more, those of the classifier of tokens, which are in the method
    assert sum(parameter.numel() for parameter in net.parameters()) == everything == 4_366_065 - 25 * 129


def test_a_branch_of_a_layer_is_skipped_for_whole_videos() -> None:
    """Each video has one of four outcomes: both branches, one, or none; what is added is doubled at p = 0.5."""
    torch.manual_seed(0)
    layer = AttentionLayer(DIM, NUM_HEADS, 10, dropout=0.5)
    x, mask = torch.randn(200, 3, DIM), torch.ones(200, 3, dtype=torch.bool)

    def outcome(first: bool, second: bool) -> Tensor:
        normed = norm(layer, "norm_attention", x)
        attended = torch.stack([attention(layer, own, own) for own in normed])
        added = x + 2 * attended * first
        return added + 2 * mlp(layer, "feedforward", norm(layer, "norm_feedforward", added)) * second

    found = layer(x, mask)
    outcomes = torch.stack([outcome(first, second) for first in (False, True) for second in (False, True)])
    nearest = (outcomes - found).abs().amax((2, 3))  # [4, B]
    assert (nearest.amin(0) < 1e-5).all()
    counts = nearest.argmin(0).bincount(minlength=4)
    assert ((counts > 25) & (counts < 75)).all()  # 50 expected, four standard deviations of 6
    layer.eval()
    whole = x + torch.stack([attention(layer, own, own) for own in norm(layer, "norm_attention", x)])
    assert_close(layer(x, mask), whole + mlp(layer, "feedforward", norm(layer, "norm_feedforward", whole)))


@pytest.mark.parametrize("assignment", ["gumbel", "hard", "soft"])
def test_assignments_in_training_and_evaluation(assignment: Any) -> None:
    """Members of equal scores are spread evenly by noise, and only by noise."""
    grouping = Grouping(4, DIM, NUM_HEADS, 10, 5, assignment)
    nn.init.zeros_(grouping.query.weight)
    nn.init.zeros_(grouping.query.bias)
    nn.init.normal_(grouping.key.weight)
    with torch.no_grad():
        grouping.query.bias.copy_(torch.randn(DIM))  # the same score for all tokens
    torch.manual_seed(0)
    tokens, members, mask = torch.randn(1, 4, DIM), torch.randn(1, 4000, DIM), torch.ones(1, 4000, dtype=torch.bool)
    found = grouping(tokens, members, mask).assignment
    assert_close(found.sum(1), torch.ones(1, 4000))
    if assignment == "soft":
        assert_close(found, torch.full_like(found, 0.25))
        return
    assert_close(found, found.round())
    noisy = assignment == "gumbel"
    assert ((found.mean(2) - 0.25).abs() < 0.03).all() == noisy
    again = grouping(tokens, members, mask).assignment
    assert torch.equal(again.round(), found.round()) is not noisy
    grouping.eval()
    assert torch.equal(grouping(tokens, members, mask).assignment, grouping(tokens, members, mask).assignment)


def test_a_hard_assignment_has_the_gradient_of_the_soft_one() -> None:
    hard, soft = (Grouping(3, DIM, NUM_HEADS, 10, 5, how) for how in ("hard", "soft"))
    soft.load_state_dict(hard.state_dict())
    torch.manual_seed(0)
    tokens, members, mask = torch.randn(2, 3, DIM), torch.randn(2, 5, DIM), torch.ones(2, 5, dtype=torch.bool)
    factors = torch.randn(2, 3, 5)
    slopes = [
        torch.autograd.grad((grouping(tokens, members, mask).assignment * factors).sum(), grouping.query.weight)[0]
        for grouping in (hard, soft)
    ]
    assert slopes[0].abs().max() > 0
    torch.testing.assert_close(slopes[0], slopes[1])


def test_empty_slots_take_nothing() -> None:
    grouping = Grouping(5, DIM, NUM_HEADS, 10, 5, "gumbel")
    mask, real = torch.ones(2, 6, dtype=torch.bool), torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    taken = grouping(torch.randn(2, 5, DIM), torch.randn(2, 6, DIM), mask, real).assignment
    assert (taken[0, 3:] == 0).all()
    assert_close(taken.sum(1), torch.ones(2, 6))


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_a_network_of_low_precision_has_scores_of_full_precision() -> None:
    net, batch = make_net(segment_scores="paper").bfloat16(), make_batch()
    output = net(with_streams(batch, {name: x.bfloat16() for name, x in batch.features_in.items()}))
    assert output.features.dtype == output.video_probs.dtype == torch.float32
    shares = output.segment_probs / output.modality_probs[:, None]
    assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
