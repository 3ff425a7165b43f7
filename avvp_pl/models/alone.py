"""A network in which no modality attends to another one."""

from __future__ import annotations

import torch

from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


@torch.no_grad()
def run_alone(network: ParsingNetwork, batch: Batch, dropout: bool = False) -> ParsingOutput:
    """Run a network in which no modality attends to another one, without dropout unless it is wanted.

    Nothing about the network changes. The dropout is that of a network that is being trained.
    """
    training, attending = network.training, network.attending
    network.train(training and dropout)
    network.attending = ()
    try:
        return network(batch)
    finally:
        network.train(training)
        network.attending = attending
