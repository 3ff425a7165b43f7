"""The contrast of modalities: which features are compared, with which weight, for how many modalities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.nce import nce_loss
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.targets import Smoothed
from avvp_pl.parts import Step, total
from tests.stand_ins import lookup, some_videos, step_of

NAMES = ("audio", "visual", "odour")


def contrast(modalities: int = 2, **others: Any) -> Contrast:
    settings = {"others": "encoded", "form": "log_mix", "temperature": 0.3, "smoothing": 0.2, "weight": 0.5}
    return Contrast(NAMES[:modalities], **{**settings, **others})


def a_step(modalities: int = 2) -> Step:
    videos = some_videos([4, 2], [[1.0, 0.0], [1.0, 1.0]])
    step = step_of(lookup(videos, modalities), videos[torch.arange(2)])
    return step._replace(output=replace(step.output, projected=step.output.features.flip(-1)))


def pair(step: Step, others: Tensor, modality: int) -> float:
    mine, its = step.output.features[:, :, 0], others[:, :, modality]
    return nce_loss(mine, its, step.batch.mask, 0.3, 0.2, "log_mix").item()


def test_the_first_modality_finds_its_time_in_the_other() -> None:
    step = a_step()
    encoded, projected = contrast()(step), contrast(others="projected")(step)
    assert step.output.projected is not None
    assert encoded.value.item() == pytest.approx(pair(step, step.output.features, 1))
    assert projected.value.item() == pytest.approx(pair(step, step.output.projected, 1))
    assert encoded.value != projected.value
    assert encoded.weight == projected.weight == 0.5


def test_of_several_other_modalities_it_is_the_mean() -> None:
    step = a_step(3)
    expected = (pair(step, step.output.features, 1) + pair(step, step.output.features, 2)) / 2
    assert contrast(3)(step).value.item() == pytest.approx(expected)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match=r"compares modalities, but the data has only audio; give method\.contrast"):
        contrast(1)
    step = a_step()
    without = step._replace(output=replace(step.output, projected=None))
    with pytest.raises(InputError, match="Lookup returns no features of segments by themselves"):
        contrast(others="projected")(without)


def test_it_stands_beside_the_guided_losses_and_a_weight_of_0_leaves_it_out() -> None:
    step = a_step()

    def guided(part: Contrast | None) -> Guided:
        return Guided(NAMES[:2], ("bell", "dog"), "none", {}, Smoothed(NAMES[:2], {}), part)

    plain, both = guided(None)(step), guided(contrast())(step)
    assert list(both) == ["mil", "guided", "modality_contrast"]
    torch.testing.assert_close(total(both), total(plain) + 0.5 * both["modality_contrast"].value)
    assert list(guided(contrast(weight=0.0))(step)) == list(plain) == ["mil", "guided"]
