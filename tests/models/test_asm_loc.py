"""ASM-Loc's networks against loops over single videos, and what proposals change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.asm_loc import ASMLoc, ASMLocOutput, ProposalAttention, SegmentNorm
from avvp_pl.pseudo_labels.proposals import covering
from avvp_pl.types import Batch, Proposals
from tests.models.networks import DIM, EVENTS, STREAM_DIMS, make_batch, randomized
from tests.pseudo_labels.test_proposals import proposals_of

STREAMS = {"video": ["vggish", "r2plus1d_18"]}
LENGTHS = (12, 5, 9)
FOUND = [
    [(0, 0.9, 2.0, 4.0), (0, 0.8, 3.0, 7.0), (2, 0.3, 9.0, 11.0), (2, 0.2, 0.0, 1.0)],
    [(1, 0.5, 0.0, 2.0), (1, 0.3, 1.0, 5.0)],
    [],
]


def make(proposals: str = "data", **options: object) -> ASMLoc:
    given = {"dim": DIM, "num_heads": 2, "segments": 10, "test_segments": None} | options
    return ASMLoc(STREAMS, STREAM_DIMS, EVENTS, proposals, **given)  # type: ignore[arg-type]


def whole(longest: int | None = None) -> Batch:
    """Videos of 12, 5 and 9 segments, with proposals in two of them."""
    return replace(make_batch(LENGTHS, longest), proposals=proposals_of(*FOUND))


def double(batch: Batch) -> Batch:
    return replace(batch, features_in={name: x.double() for name, x in batch.features_in.items()})


def slow_attention(layer: ProposalAttention, x: Tensor, allowed: Tensor) -> Tensor:
    """What each row of ``x`` [N, D] gets of those that it may attend to."""
    size = x.shape[1] // layer.num_heads
    rows = []
    for n in range(len(x)):
        seen, heads = allowed[n].nonzero()[:, 0].tolist(), []
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            query = layer.query(x[n])[part]
            if not seen:
                heads.append(torch.zeros_like(query))
                continue
            scores = torch.stack([query @ layer.key(x[m])[part] / size**0.5 for m in seen])
            values = torch.stack([layer.value(x[m])[part] for m in seen])
            heads.append(scores.softmax(0) @ values)
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def slow_norm(norm: SegmentNorm, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def slow_output(net: ASMLoc, x: Tensor, cover: Tensor) -> dict[str, Tensor]:
    """Of the samples [J, D] of one video, with those that each proposal covers [K, J]."""
    f = F.conv1d(x.T[None], net.embed.weight, net.embed.bias, padding=1)[0].relu().T
    if net.intra is not None and net.inter is not None:
        together = torch.stack(
            [torch.stack([(cover[:, i] & cover[:, j]).any() for j in range(len(x))]) for i in range(len(x))]
        )
        f = f + slow_norm(net.intra.norm, net.intra.out(slow_attention(net.intra, f, together)))
        cover = cover[cover.any(1)]
        back = torch.zeros_like(f)
        if len(cover):
            means = torch.stack([f[line].mean(0) for line in cover])
            attended = slow_attention(net.inter, means, torch.ones(len(cover), len(cover), dtype=torch.bool))
            for j in cover.any(0).nonzero()[:, 0].tolist():
                back[j] = attended[cover[:, j]].mean(0)
        f = f + slow_norm(net.inter.norm, net.inter.out(back))
    logits = net.event_head(f)
    attention = net.attention_head(f).softmax(1)[:, 0]

    def pooled(scores: Tensor, share: int) -> Tensor:
        highest = scores.sort(0, descending=True).values[: max(1, len(scores) // share)]
        return highest.mean(0).softmax(0)

    return {
        "features": f,
        "logits": logits,
        "attention": attention,
        "foreground": pooled(attention[:, None] * logits, 8),
        "background": pooled((1 - attention[:, None]) * logits, 3),
        "curves": (attention[:, None] * logits).softmax(1)[:, :-1],
    }


@torch.no_grad()
@pytest.mark.parametrize("proposals", ["none", "data"])
def test_it_equals_the_loops(proposals: str) -> None:
    net, batch = randomized(make(proposals)).double(), double(whole())
    output = net(batch)
    samples = output.samples
    read = samples.read(torch.cat([batch.features_in[name] for name in STREAMS["video"]], 2))
    assert batch.proposals is not None
    cover = covering(batch.proposals, samples)
    assert (samples.mask.sum(1) > torch.tensor(LENGTHS)).tolist() == [proposals == "data"] * 2 + [False]
    for number in range(len(LENGTHS)):
        real = samples.mask[number]
        expected = slow_output(net, read[number, real], cover[number][:, real])
        for name in ("logits", "attention", "foreground", "background", "curves"):
            found = getattr(output, name)[number]
            found = found[real] if len(found) == len(real) and name not in {"foreground", "background"} else found
            torch.testing.assert_close(found, expected[name], msg=name)
        torch.testing.assert_close(output.video_probs[number], expected["foreground"][:-1])
        torch.testing.assert_close(output.modality_probs[number, 0], expected["foreground"][:-1])
        if net.uncertainty_head is not None:
            assert output.uncertainty is not None
            torch.testing.assert_close(
                output.uncertainty[number, real], net.uncertainty_head(expected["features"])[:, 0]
            )
        places = samples.of_segments(12)[number, : LENGTHS[number]]
        for name, of_samples in (("segment_probs", "curves"), ("features", "features")):
            left = places.floor().long().clamp(max=int(real.sum()) - 2)
            share = (places - left)[:, None]
            between = expected[of_samples][left] * (1 - share) + expected[of_samples][left + 1] * share
            torch.testing.assert_close(getattr(output, name)[number, : LENGTHS[number], 0], between)


def test_the_numbers_of_parameters_are_the_published_ones() -> None:
    for proposals, expected in (("none", 12_632_087), ("data", 46_213_143)):
        with torch.device("meta"):
            net = ASMLoc({"video": ["rgb", "flow"]}, {"rgb": 1024, "flow": 1024}, 20, proposals)  # type: ignore[arg-type]
        assert sum(parameter.numel() for parameter in net.parameters()) == expected


@torch.no_grad()
@pytest.mark.parametrize("proposals", ["none", "data"])
def test_padding_changes_nothing(proposals: str) -> None:
    """Neither of segments nor of proposals, nor a video beside the others, also one without segments."""
    net, batch = randomized(make(proposals)), whole()
    padded = whole(15)
    filled = {name: x.masked_fill(~padded.mask[:, :, None], 7.0) for name, x in padded.features_in.items()}
    alone = net(batch)
    for other in (
        padded,
        replace(padded, features_in=filled),
        replace(batch, proposals=proposals_of(*FOUND, widest=7)),
    ):
        output = net(other)
        for name in ("segment_probs", "features"):
            real = getattr(output, name)[:, :12][batch.mask]
            torch.testing.assert_close(real, getattr(alone, name)[batch.mask])
        torch.testing.assert_close(output.foreground, alone.foreground)
    assert batch.proposals is not None
    for number, length in enumerate(LENGTHS):
        rows = torch.tensor([number])
        single = Batch(
            {name: x[rows, :length] for name, x in batch.features_in.items()},
            batch.mask[rows, :length],
            batch.weak_labels[rows],
            batch.index[rows],
            batch.segment[rows, :length],
            None,
            batch.proposals.of(rows),
        )
        torch.testing.assert_close(net(single).segment_probs[0], alone.segment_probs[number, :length])


@pytest.mark.parametrize("proposals", ["none", "data"])
def test_an_empty_video_changes_nothing_in_training(proposals: str) -> None:
    """Not even the statistics of batch normalization."""
    longer = {name: F.pad(x, (0, 0, 0, 0, 0, 1)) for name, x in whole().features_in.items()}
    with_it = replace(make_batch((*LENGTHS, 0)), features_in=longer, proposals=proposals_of(*FOUND, []))
    torch.manual_seed(0)
    net, state = make(proposals, dropout=0.0, segments=60), {}  # so many that nothing is drawn
    randomized(net).train()
    for name, batch in (("without", whole()), ("with", with_it)):
        copy = make(proposals, dropout=0.0, segments=60)
        copy.load_state_dict(net.state_dict())
        output = copy.train()(batch)
        assert torch.isfinite(output.video_probs).all()
        state[name] = (output.video_probs[:3].detach(), dict(copy.state_dict()))
    torch.testing.assert_close(state["with"][0], state["without"][0])
    torch.testing.assert_close(state["with"][1], state["without"][1])


@pytest.mark.parametrize("proposals", ["none", "data"])
def test_every_weight_gets_a_gradient_in_training(proposals: str) -> None:
    net = randomized(make(proposals)).train()
    output = net(whole())
    terms = [output.logits.square().sum(), output.attention.sum(), output.foreground.log().sum()]
    if output.uncertainty is not None:
        terms.append(output.uncertainty.sum())
    torch.autograd.backward(torch.stack(terms).sum())
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.endswith("key.bias"), name  # softmax does not see the bias
    fresh = make(proposals).train()  # and in the first step, where the attention adds nothing
    torch.autograd.backward(fresh(replace(whole(), proposals=proposals_of([], [], []))).logits.sum())
    unused = {"attention_head.weight", "attention_head.bias", "uncertainty_head.weight"}
    assert {name for name, parameter in fresh.named_parameters() if parameter.grad is None} <= unused


@torch.no_grad()
def test_a_new_network_is_the_base_network() -> None:
    """The attention adds nothing until it has learned; the samples are those of the proposals."""
    torch.manual_seed(0)
    full = make().eval()
    base = make("none").eval()
    base.load_state_dict({name: value for name, value in full.state_dict().items() if name in base.state_dict()})
    batch = whole()
    base.sample = full.sample  # type: ignore[method-assign]
    for name in ("logits", "attention", "foreground", "features"):
        assert torch.equal(getattr(full(batch), name), getattr(base(batch), name))


@torch.no_grad()
def test_without_proposals_the_attention_adds_the_same_everywhere() -> None:
    net = randomized(make())
    x, mask = torch.randn(2, 6, DIM), torch.ones(2, 6, dtype=torch.bool)
    for attend in (net.intra.within, net.inter.across):  # type: ignore[union-attr]
        added = attend(x, torch.zeros(2, 3, 6), mask) - x
        torch.testing.assert_close(added, added[:1, :1].expand_as(added))
        assert added.abs().max() > 0.1


@torch.no_grad()
def test_segments_inside_one_proposal_have_no_order() -> None:
    layer = randomized(make()).intra
    assert layer is not None
    x, mask = torch.randn(1, 6, DIM), torch.ones(1, 6, dtype=torch.bool)
    covered = torch.tensor([[[0.0, 1, 1, 1, 1, 0]]])
    order = torch.tensor([0, 3, 1, 4, 2, 5])
    torch.testing.assert_close(layer.within(x[:, order], covered, mask), layer.within(x, covered, mask)[:, order])
    other = x.clone()
    other[:, 0] += 1
    assert torch.equal(layer.within(other, covered, mask)[:, 1:], layer.within(x, covered, mask)[:, 1:])


def test_the_norm_is_that_of_torch_where_nothing_is_padding() -> None:
    norm, theirs = SegmentNorm(DIM), nn.BatchNorm1d(DIM)
    for module in (norm, theirs):
        nn.init.constant_(module.weight, 0.7)
        nn.init.constant_(module.bias, -0.2)
    mask = torch.ones(3, 5, dtype=torch.bool)
    for _ in range(3):
        x = torch.randn(3, 5, DIM)
        torch.testing.assert_close(norm(x, mask), theirs(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(norm.running_mean, theirs.running_mean)
    torch.testing.assert_close(norm.running_var, theirs.running_var)
    x = torch.randn(2, 5, DIM)
    torch.testing.assert_close(norm.eval()(x, mask[:2]), theirs.eval()(x.transpose(1, 2)).transpose(1, 2))


def test_whole_samples_are_dropped_from_the_classifier_only() -> None:
    torch.manual_seed(0)
    net = make("none", segments=400, dropout=0.5).train()
    nn.init.constant_(net.event_head.bias, 3.0)
    assert net.embed.bias is not None
    nn.init.constant_(net.embed.bias, 5.0)  # no feature is 0 by itself
    output = net(whole())
    missing = (output.logits == 3).all(2).double().mean().item()
    assert missing == pytest.approx(0.5, abs=0.06)
    again = net(whole())
    longest = output.samples.mask.sum(1).argmin()
    assert torch.equal(output.attention[longest], again.attention[longest])  # a stretched video has the same samples


def test_training_has_as_many_samples_of_every_video() -> None:
    output = make(segments=10).train()(whole())
    assert output.logits.shape == (3, 10, EVENTS + 1)
    assert output.segment_probs.shape == (3, 12, 1, EVENTS)
    assert output.samples.mask.all()


def test_all_modalities_have_the_same_probabilities() -> None:
    both = {"audio": ["vggish"], "visual": ["r2plus1d_18"]}
    net = ASMLoc(both, STREAM_DIMS, EVENTS, "none", dim=DIM, num_heads=2)
    torch.manual_seed(0)
    output = randomized(net)(whole())
    assert output.segment_probs.shape == (3, 12, 2, EVENTS)
    assert torch.equal(output.segment_probs[:, :, 0], output.segment_probs[:, :, 1])
    one = make("none")
    one.load_state_dict(net.state_dict())
    assert torch.equal(one.eval()(whole()).segment_probs[:, :, 0], output.segment_probs[:, :, 0])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"data\.proposals=FILE"):
        make()(replace(whole(), proposals=None))
    with pytest.raises(InputError, match=r"multiple of network\.num_heads=3"):
        make(num_heads=3)


def test_batches_carry_their_proposals_to_a_device() -> None:
    batch = whole().to("meta")
    assert isinstance(batch.proposals, Proposals)
    assert {column.device.type for column in batch.proposals} == {"meta"}
    assert isinstance(make("none")(whole()), ASMLocOutput)


@pytest.mark.parametrize("allowed", ["some", "none"])
def test_attention_to_nothing_is_0_and_its_gradients_are_right(allowed: str) -> None:
    layer, generator = ProposalAttention(8, 2).double(), torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    may = torch.rand(2, 5, 5, generator=generator) < (0.5 if allowed == "some" else 0)
    may[0, 3] = may[1, 0] = False
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    attended = layer.attend(ours, may)
    assert not attended[~may.any(2)].any()
    torch.autograd.backward((attended * weights).sum())
    expected = torch.stack([slow_attention(layer, video, own) for video, own in zip(theirs, may, strict=True)])
    torch.testing.assert_close(attended, expected)
    if allowed == "some":
        torch.autograd.backward((expected * weights).sum())
    else:
        theirs.grad = torch.zeros_like(x)
    torch.testing.assert_close(ours.grad, theirs.grad)


@torch.no_grad()
def test_outputs_are_in_full_precision() -> None:
    net, batch = make().eval(), whole()
    with torch.autocast("cpu", torch.bfloat16):
        found = net(batch)
    for output in (found.features, found.segment_probs, found.video_probs, found.logits, found.attention):
        assert output.dtype == torch.float32
    torch.testing.assert_close(found.segment_probs, net(batch).segment_probs, atol=0.05, rtol=0.05)
