"""AVSDN, the dual-modality sequence-to-sequence network (Lin, Li, Wang, ICASSP 2019), adapted to parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import max_mil_pooling
from avvp_pl.models.recurrent import RecurrentNetwork, SegmentLSTM, State
from avvp_pl.types import Batch, ParsingOutput


class AVSDN(RecurrentNetwork):
    """An LSTM encodes each modality; their last states, mixed, start an LSTM that reads all modalities once more.

    So every segment of the decoder knows the whole video. The heads are ours, since the original labels audio-visual
    events only: one Linear on ReLU(decoder), whose maximum over the segments is ``video_probs``, and one Linear, which
    all modalities share, on [decoder; encoder of the modality], whose maxima are ``modality_probs``. The input of the
    latter is ``features``: one space for all modalities, of which the decoder's half is the same for each of them.

    ``bidirectional`` turns all LSTMs into those of two directions. A state is then mixed in each direction by itself.
    ``feedforward_dim`` is the size inside U (see :meth:`mix`). For the other arguments see
    :class:`~avvp_pl.models.recurrent.RecurrentNetwork`.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        hidden_dim: int = 128,
        feedforward_dim: int = 128,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(modalities, stream_dims, dim, hidden_dim, bidirectional)
        output_dim = (1 + bidirectional) * hidden_dim
        self.feature_dim = 2 * output_dim
        self.mixers = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(hidden_dim, feedforward_dim), nn.Tanh(), nn.Linear(feedforward_dim, hidden_dim)
                )
                for name in self.modalities
            }
        )
        self.decoder = SegmentLSTM(sum(self.input_dims.values()), hidden_dim, bidirectional)
        self.event_head = nn.Linear(self.feature_dim, num_events)
        self.video_head = nn.Linear(output_dim, num_events)
        nn.init.xavier_uniform_(self.video_head.weight)  # as in the public code

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        inputs = self.inputs(batch)
        encoded = self.encode(inputs, batch.mask)
        last = zip(*(own.last for own in encoded), strict=True)  # the hidden states, then the cells
        start = State(*(self.mix(torch.stack(of_modalities)) for of_modalities in last))
        decoded = self.decoder(torch.cat(inputs, dim=-1), batch.mask, start).outputs
        features = torch.stack([torch.cat([decoded, own.outputs], dim=-1) for own in encoded], dim=2)  # [B, T, M, D]
        segment_probs = full_precision(self.event_head(features)).sigmoid()  # [B, T, M, C]
        fused_probs = full_precision(self.video_head(decoded.relu())).sigmoid()  # [B, T, C]
        return ParsingOutput(
            full_precision(features),
            segment_probs,
            max_mil_pooling(fused_probs, batch.mask),
            max_mil_pooling(segment_probs, batch.mask),
        )

    def mix(self, states: Float[Tensor, "M directions B H"]) -> Float[Tensor, "directions B H"]:
        """Return the mean over modalities of tanh(s_m + mean over n of U_n s_n), where s is ReLU(states)."""
        states = states.relu()
        mixed = torch.stack([mixer(own) for mixer, own in zip(self.mixers.values(), states, strict=True)]).mean(dim=0)
        return (states + mixed).tanh().mean(dim=0)
