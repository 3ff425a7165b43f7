"""How many segments networks take: any number, or as many as they say."""

from __future__ import annotations

import pytest
import torch

from avvp_pl.commands.build import build_network
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.settings.conf import config_dir
from tests.conftest import composed

NETWORKS = sorted(path.stem for path in (config_dir() / "network").glob("*.yaml"))
LENGTHS = (1, 10, 47, 130)  # as in training, and far from it


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_takes_any_length(tiny: ParsingSet, name: str) -> None:
    """It gives every segment probabilities, also of videos that are longer than any of its training."""
    torch.manual_seed(0)
    net = build_network(composed("mil", f"network={name}"), tiny).eval()
    assert net.longest is None
    streams = {stream: torch.randn(sum(LENGTHS), dim) for stream, dim in tiny.stream_dims.items()}
    names = tuple(map(str, LENGTHS))
    videos = VideoSet(names, torch.tensor(LENGTHS), streams, torch.zeros(len(LENGTHS), len(tiny.events)))
    for row, length in enumerate(LENGTHS):
        with torch.inference_mode():
            output = net(videos[torch.tensor([row])])
        assert output.segment_probs.shape[:2] == (1, length)
        for values in (output.segment_probs, output.video_probs, output.modality_probs):
            assert values.isfinite().all()
            assert ((values >= 0) & (values <= 1)).all()
