"""MA: the removed labels against an enumeration with a network of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.methods.ma import ExchangedTracks, partners, relative_errors
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

STREAMS = {"audio": ["sound"], "visual": ["frames", "motion"]}
WEAK = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
LENGTHS = [3, 1, 2, 2, 4]


class OwnTracks(ParsingNetwork):
    """P_m(c) is feature c of the modality in the first segment: each modality reads only itself."""

    feature_dim = 1

    def forward(self, batch: Batch) -> ParsingOutput:
        first = [batch.features_in[stream][:, 0, :4] for stream in ("sound", "frames")]
        modality_probs = torch.stack(first, 1)
        assert torch.equal(batch.features_in["motion"][:, 0, 0], batch.features_in["frames"][:, 0, 4])
        segments = modality_probs[:, None].expand(-1, batch.mask.shape[1], -1, -1)
        return ParsingOutput(segments[..., :1], segments, modality_probs.mean(1), modality_probs)


def tracks(seed: int = 0) -> tuple[VideoSet, Tensor]:
    """Videos in which every segment shows the same, and P [N, M, C] of their modalities."""
    probs = torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(seed))
    repeated = probs.repeat_interleave(torch.tensor(LENGTHS), 0)  # [S, M, C]
    which = torch.arange(5.0).repeat_interleave(torch.tensor(LENGTHS))[:, None]  # the number of the video
    streams = {"sound": repeated[:, 0], "frames": torch.cat([repeated[:, 1], which], 1), "motion": which}
    return VideoSet(tuple("abcde"), torch.tensor(LENGTHS), streams, torch.tensor(WEAK)), probs


def errors_by_hand(probs: Tensor) -> list[list[float]]:
    of_modality = []
    for m in range(2):
        wrong = [sum((probs[n, m, c] > 0.5) != (WEAK[n][c] == 1) for n in range(5)) / 5 for c in range(4)]
        of_modality.append([float(w / max(wrong)) for w in wrong])
    return of_modality


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_the_removed_labels_by_enumeration(seed: int, threshold: float) -> None:
    videos, probs = tracks(seed)
    labels = ExchangedTracks(STREAMS, threshold, seed)(OwnTracks(), videos, 2)
    partner, errors = partners(videos.weak_labels, videos.lengths, seed).tolist(), errors_by_hand(probs)
    for n in range(5):
        for m in range(2):
            for c in range(4):
                own, other = probs[n, m, c].item(), probs[partner[n], 1 - m, c].item()
                cut = threshold * errors[m][c]
                removed = partner[n] >= 0 and own < cut and other < cut
                assert labels[n, m, c].item() == (0 if removed else WEAK[n][c]), (n, m, c)


def test_errors_by_hand() -> None:
    videos, probs = tracks()
    torch.testing.assert_close(relative_errors(OwnTracks(), videos, 2), torch.tensor(errors_by_hand(probs)))


def test_half_the_threshold_halves_the_cut() -> None:
    """With probabilities just above half of the cut, nothing is removed any more."""
    videos, probs = tracks()
    cut = relative_errors(OwnTracks(), videos, 5)
    everywhere = VideoSet(
        videos.names,
        videos.lengths,
        {**videos.streams, "sound": videos.streams["sound"] * 0 + 0.26},
        videos.weak_labels,
    )
    found = {
        threshold: ExchangedTracks(STREAMS, threshold, 0)._absent(
            OwnTracks(), everywhere[torch.arange(5)], everywhere[torch.arange(5)], 0, threshold * torch.ones(4)
        )
        for threshold in (0.5, 0.25)
    }
    assert not found[0.25].any()
    assert torch.equal(found[0.5], probs[:, 1] < 0.5)
    assert cut.amax(1).tolist() == [1.0, 1.0]


def test_a_network_that_errs_nowhere_removes_nothing() -> None:
    videos, _ = tracks()
    right = videos.weak_labels.repeat_interleave(videos.lengths, 0)
    streams = {**videos.streams, "sound": right, "frames": torch.cat([right, videos.streams["motion"]], 1)}
    perfect = VideoSet(videos.names, videos.lengths, streams, videos.weak_labels)
    labels = ExchangedTracks(STREAMS, 0.5, 0)(OwnTracks(), perfect, 2)
    assert torch.equal(labels, videos.weak_labels[:, None].expand(-1, 2, -1))


def allowed(weak_labels: Sequence[Sequence[float]], lengths: Sequence[int], n: int) -> set[int]:
    mine = {c for c, w in enumerate(weak_labels[n]) if w}
    others = [{c for c, w in enumerate(row) if w} for row in weak_labels]
    return {k for k, events in enumerate(others) if not events & mine and lengths[k]}


def test_partners_share_no_event_and_all_such_videos_are_drawn_equally_often() -> None:
    weak_labels, lengths = torch.tensor(WEAK), torch.tensor(LENGTHS)
    drawn = [partners(weak_labels, lengths, seed) for seed in range(900)]
    for n in range(5):
        possible = allowed(WEAK, LENGTHS, n)
        counts = {k: sum(int(one[n]) == k for one in drawn) for k in possible}
        if not possible:
            assert {int(one[n]) for one in drawn} == {-1}
            continue
        assert sum(counts.values()) == 900
        assert all(abs(count - 900 / len(possible)) < 90 for count in counts.values())
    assert partners(weak_labels, lengths * torch.tensor([1, 0, 1, 1, 1]), 0)[0] == 2  # an empty video shows nothing


def test_a_shorter_partner_is_repeated_and_a_longer_one_cut() -> None:
    """The network asserts that all streams of a modality come from the same video; all segments are read here."""
    videos, _ = tracks()

    class Whole(OwnTracks):
        seen: list[list[list[float]]]

        def forward(self, batch: Batch) -> ParsingOutput:
            self.seen.append(batch.features_in["motion"].squeeze(-1).tolist())
            return super().forward(batch)

    network = Whole()
    network.seen = []
    ExchangedTracks(STREAMS, 0.5, 1)(network, videos, 5)
    partner = partners(videos.weak_labels, videos.lengths, 1).tolist()
    with_own_sound = network.seen[1]  # after the errors: the motion is that of the partner
    for n, length in enumerate(LENGTHS):
        which = float(partner[n] if partner[n] >= 0 else n)
        assert with_own_sound[n] == [which] * length + [0.0] * (4 - length)
