"""Which epoch is tested, as checkpoints and files say it."""

from __future__ import annotations

from typing import Any

import pytest

from avvp_pl.runs.tested import ROW, TAUGHT, VALIDATED, EpochTested, Videos, from_dict, of_checkpoint, remark, row_of

MONITOR = "val/segment/type_av"
CONFIG = {"protocol": {"selection": {"monitor": MONITOR}}}


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ({"config": CONFIG, ROW: {MONITOR: 61.25}, TAUGHT: True}, EpochTested(3, MONITOR, 61.25, True)),
        ({"config": CONFIG, ROW: {"train/loss": 1.0}, TAUGHT: False}, EpochTested(3, MONITOR, None, False)),
        ({"config": CONFIG}, EpochTested(3, MONITOR, None, None)),  # of an earlier version
        (
            {"config": CONFIG, ROW: {MONITOR: 61.25}, VALIDATED: [8, 16]},
            EpochTested(3, MONITOR, 61.25, None, Videos(8, 16)),
        ),
        ({"config": CONFIG, ROW: {MONITOR: 61.25}, VALIDATED: [16, 16]}, EpochTested(3, MONITOR, 61.25, None)),
        ({"config": CONFIG, ROW: {MONITOR: 61.25}, VALIDATED: ["8"]}, EpochTested(3, MONITOR, 61.25, None)),
        ({VALIDATED: [8, 16]}, EpochTested(3, None, None, None)),  # the last epoch, which no score selected
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
    part = EpochTested(3, MONITOR, 61.2345, None, Videos(8, 16))
    assert str(part) == f"epoch 3 ({MONITOR} 61.23 of 8 of 16 validation videos)"


def test_a_row_says_all_that_is_unexpected() -> None:
    one = EpochTested(0, MONITOR, 50.0, False, Videos(8, 16))
    other = EpochTested(3, MONITOR, 50.0, True, Videos(8, 16))
    said = " (1 of 2 runs tested before any pseudo labels; selected by 8 of 16 validation videos)"
    assert remark([one, other]) == said
    assert remark([other._replace(part=None), None]) == ""
