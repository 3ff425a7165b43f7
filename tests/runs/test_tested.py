"""Which epoch is tested, as checkpoints and files say it."""

from __future__ import annotations

from typing import Any

import pytest

from avvp_pl.runs.tested import ROW, TAUGHT, EpochTested, from_dict, of_checkpoint, row_of

MONITOR = "val/segment/type_av"
CONFIG = {"protocol": {"selection": {"monitor": MONITOR}}}


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ({"config": CONFIG, ROW: {MONITOR: 61.25}, TAUGHT: True}, EpochTested(3, MONITOR, 61.25, True)),
        ({"config": CONFIG, ROW: {"train/loss": 1.0}, TAUGHT: False}, EpochTested(3, MONITOR, None, False)),
        ({"config": CONFIG}, EpochTested(3, MONITOR, None, None)),  # of an earlier version
        ({}, EpochTested(3, None, None, None)),
        ({"config": {"protocol": 5}, ROW: 5, TAUGHT: "yes"}, EpochTested(3, None, None, None)),  # damaged
    ],
)
def test_a_checkpoint_says_which_epoch_it_is_of(checkpoint: dict[str, Any], expected: EpochTested) -> None:
    found = of_checkpoint({"epoch": 3, **checkpoint})
    assert found == expected
    assert from_dict(found.as_dict()) == expected


def test_a_row_has_numbers_only() -> None:
    assert row_of({ROW: {"a": 1, "b": "x", "c": None, "d": 0.5}}) == {"a": 1.0, "d": 0.5}
    assert from_dict(None) is None


def test_an_epoch_is_said_with_its_score() -> None:
    assert str(EpochTested(3, MONITOR, 61.2345, None)) == f"epoch 3 ({MONITOR} 61.23)"
    assert str(EpochTested(3, None, None, None)) == "epoch 3"
