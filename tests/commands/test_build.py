"""Objects from a configuration: what a data reader must return."""

from __future__ import annotations

from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_videos
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from tests.conftest import make_tiny


def unannotated() -> ParsingSet:
    """Videos as a reader returns them that knows no truth of the validation videos."""
    tiny = make_tiny()
    assert tiny.train is not None
    assert tiny.val is not None
    return replace(tiny, train=replace(tiny.train, truth=None), val=replace(tiny.val, truth=None))


def test_videos_that_are_scored_need_a_truth() -> None:
    cfg = OmegaConf.create({"data": {"source": {"_target_": f"{__name__}.unannotated"}}})
    with pytest.raises(InputError, match=r"^data\.source: the val videos have no truth, the annotation of their"):
        build_videos(cfg)
    videos = build_videos(cfg, truth_required=False)  # to parse them, none is needed
    assert videos.val is not None
    assert videos.val.truth is None
