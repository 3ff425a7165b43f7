"""A run without pseudo labels."""

from __future__ import annotations

import torch

from avvp_pl.data.videos import ParsingSet
from avvp_pl.labeling.none import NoLabels
from avvp_pl.parts import Team
from tests.conftest import Build
from tests.stand_ins import lookup, some_videos, step_of


def test_there_are_never_any_labels() -> None:
    part, videos = NoLabels(), some_videos([2, 3], [[1.0], [0.0]])
    network, batch = lookup(videos), videos[torch.arange(2)]
    assert part.refresh(videos, 5, Team()) is None
    assert part.build(videos, Team()) is None
    assert not part.ready
    assert part(step_of(network, batch)) == {}
    assert part.progress() == {}
    assert part.bank is None
    assert part.labels(batch) is None


def test_nothing_of_it_is_logged_or_in_the_checkpoint(build: Build, tiny: ParsingSet) -> None:
    module, _ = build("mil")
    assert tiny.train is not None
    module.training_step(tiny.train[torch.arange(8)], 0)
    assert list(module.losses) == ["mil", "guided", "loss"]
    assert not [name for name in module.state_dict() if name.startswith("labeling")]
