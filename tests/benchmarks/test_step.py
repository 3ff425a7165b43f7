"""The operations of a training step, against numbers by hand."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step import OF_LSTMS


def test_the_operations_of_an_lstm() -> None:
    """14 segments, 4 x 3 gates, 5 inputs and 3 states; a multiplication and an addition; forward once, back twice."""
    lstm, x = torch.nn.LSTM(5, 3, bias=False, batch_first=True), torch.randn(2, 7, 5, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=OF_LSTMS) as counter:
        torch.autograd.backward(lstm(x)[0].sum())
    assert counter.get_total_flops() == 14 * (4 * 3) * (5 + 3) * 2 * 3
