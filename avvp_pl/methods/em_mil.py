"""EM-MIL (Luo et al., ECCV 2020): which segments are key, and which events they show, teach each other in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.cross_entropy import binary_cross_entropy
from avvp_pl.losses.segments import shares
from avvp_pl.models.em_mil import EMMIL, EMMILOutput
from avvp_pl.models.one_modality import extremes_over_segments, mean_over_segments
from avvp_pl.parts import Method, Step, Term
from avvp_pl.types import ParsingNetwork


class ExpectationMaximization(Method):
    """Train the branches of keys in E steps, those of events in M steps, and the classifier of videos beside them.

    ``phases`` are the numbers of epochs of M steps in which every segment counts as key, of E steps, and of M steps.
    From then on E and M steps alternate, an epoch of each. Targets are computed from the network as it is before the
    step (:func:`key_targets`, :func:`event_targets`); ``key_margin`` is about those of events. The losses are

    - ``keys``, in E steps: the sum over streams of BCE(q, target), which is a mean over the segments of a video;
    - ``events``, in M steps: the sum over streams and events of BCE(p, target);
    - ``video``, in the first ``video_epochs`` epochs: -sum over c of w_c / |w| log P_c.

    All three are means over the videos of a batch, and always logged. A video without events teaches nothing: the
    public code skips it. What is not trained in an epoch rests: the optimizer does not move it, and counts no steps.
    """

    def __init__(self, network: ParsingNetwork, phases: Sequence[int], key_margin: float, video_epochs: int) -> None:
        super().__init__()
        if not isinstance(network, EMMIL):
            raise InputError(f"method=em_mil needs network=em_mil: {type(network).__name__} has no branch of keys")
        self.phases, self.key_margin, self.video_epochs = tuple(phases), key_margin, video_epochs

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the three losses, of which those that are not trained in this epoch have a weight of 0."""
        output, mask, labels = step.output, step.batch.mask, step.batch.weak_labels
        assert isinstance(output, EMMILOutput)
        phase = phase_of(step.epoch, self.phases)
        probs, keys = output.segment_probs.detach()[:, :, 0], output.key_probs.detach().mean(2)
        shown = mask if phase.all_key else event_targets(keys, mask, self.key_margin)
        losses = {
            "keys": keys_loss(output.key_probs, key_targets(probs, labels, mask), mask),
            "events": events_loss(output.event_probs, shown, labels, mask),
            "video": video_loss(output.video_probs, labels),
        }
        trained = self._trained(step.epoch)
        teaches = (labels > 0).any(1) & mask.any(1)  # [B]
        # also with a weight of 0, because with several processes every weight of the network needs a gradient
        return {name: Term((loss * teaches).mean(), float(trained[name])) for name, loss in losses.items()}

    def before_step(self, network: ParsingNetwork, epoch: int) -> None:
        """Let the weights rest that are not trained in this epoch."""
        assert isinstance(network, EMMIL)
        modules = {"keys": network.key_branches, "events": network.event_branches, "video": network.video_classifier}
        for name, trained in self._trained(epoch).items():
            if not trained:
                for parameter in modules[name].parameters():
                    parameter.grad = None

    def _trained(self, epoch: int) -> dict[str, bool]:
        step = phase_of(epoch, self.phases).step
        return {"keys": step == "E", "events": step == "M", "video": epoch < self.video_epochs}


class Phase(NamedTuple):
    """Which step the epochs of a phase have; ``all_key``: in an M step, every segment counts as key."""

    step: Literal["E", "M"]
    all_key: bool


def phase_of(epoch: int, phases: Sequence[int]) -> Phase:
    """Return the phase of an epoch, counted from 0.

    >>> "".join(phase_of(epoch, (1, 2, 2)).step for epoch in range(9))
    'MEEMMEMEM'
    """
    first, second, third = phases
    if epoch < first:
        return Phase("M", all_key=True)
    if epoch < first + second:
        return Phase("E", all_key=False)
    passed = epoch - first - second
    return Phase("M" if passed < third or (passed - third) % 2 else "E", all_key=False)


def key_targets(
    segment_probs: Float[Tensor, "B T C"], weak_labels: Float[Tensor, "B C"], mask: Bool[Tensor, "B T"]
) -> Bool[Tensor, "B T"]:
    """E step: a segment is key where the probability of an event of the video is above its mean over the segments.

    >>> probs, mask = torch.tensor([[[0.1, 0.9], [0.4, 0.1]]]), torch.ones(1, 2, dtype=torch.bool)
    >>> key_targets(probs, torch.tensor([[1.0, 0.0]]), mask)
    tensor([[False,  True]])
    """
    above = segment_probs > mean_over_segments(segment_probs, mask)[:, None]
    return (above & (weak_labels > 0)[:, None]).any(-1) & mask


def event_targets(key_probs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], margin: float) -> Bool[Tensor, "B T"]:
    """M step: the events of a video are in segments with q > mean_t q + margin (max_t q - min_t q).

    >>> key_probs, mask = torch.tensor([[0.2, 0.4, 0.6]]), torch.ones(1, 3, dtype=torch.bool)  # above 0.4 + 0.15 * 0.4
    >>> event_targets(key_probs, mask, 0.15)
    tensor([[False, False,  True]])
    """
    lowest, highest = extremes_over_segments(key_probs, mask)
    least = mean_over_segments(key_probs, mask) + margin * (highest - lowest)
    return (key_probs > least[:, None]) & mask


def keys_loss(
    key_probs: Float[Tensor, "B T N"], key: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """Return the sum over streams of the mean over segments of BCE(q, key), of each video.

    >>> keys_loss(torch.full((1, 4, 2), 0.5), torch.ones(1, 4).bool(), torch.ones(1, 4).bool())  # 2 log 2
    tensor([1.3863])
    """
    targets = key[:, :, None].expand_as(key_probs).to(key_probs.dtype)
    return mean_over_segments(binary_cross_entropy(key_probs, targets, reduction="none"), mask).sum(-1)


def events_loss(
    event_probs: Float[Tensor, "B T N C"],
    key: Bool[Tensor, "B T"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, " B"]:
    """Return the sum over streams and events of the mean over segments of BCE(p, key w_c), of each video.

    >>> events_loss(torch.full((1, 4, 2, 3), 0.5), torch.ones(1, 4).bool(), torch.ones(1, 3), torch.ones(1, 4).bool())
    tensor([4.1589])
    """
    targets = (key[:, :, None] & (weak_labels > 0)[:, None])[:, :, None].expand_as(event_probs)
    entropy = binary_cross_entropy(event_probs, targets.to(event_probs.dtype), reduction="none")
    return mean_over_segments(entropy, mask).sum((1, 2))


def video_loss(video_probs: Float[Tensor, "B C"], weak_labels: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """Return -sum over c of w_c / |w| log P_c of each video; 0 for one without events.

    >>> video_loss(torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[1.0, 0.0, 0.0]]))  # log 2
    tensor([0.6931])
    """
    return -(shares(weak_labels) * video_probs.clamp(min=torch.finfo(video_probs.dtype).tiny).log()).sum(1)
