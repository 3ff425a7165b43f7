"""How many segments networks take: any number, or as many as they say."""

from __future__ import annotations

import pytest
import torch

from avvp_pl.commands.build import build_network
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.settings.conf import config_dir
from avvp_pl.types import ParsingNetwork
from tests.conftest import composed

NETWORKS = sorted(path.stem for path in (config_dir() / "network").glob("*.yaml"))
ONE_MODALITY = {"asm_loc", "bas_net", "cross_modal", "em_mil", "um"}
LENGTHS = (1, 10, 47, 130)  # as in training, and far from it


def build(name: str, tiny: ParsingSet) -> tuple[ParsingNetwork, VideoSet]:
    """A small network, and random videos for it."""
    modalities: dict[str, tuple[str, ...]] = {"fused": ("rgb", "flow")}
    dims = {"rgb": 6, "flow": 6}
    if name not in ONE_MODALITY:
        modalities, dims = dict(tiny.modalities), tiny.stream_dims
    generator = torch.Generator().manual_seed(0)
    streams = {stream: torch.randn(sum(LENGTHS), dim, generator=generator) for stream, dim in dims.items()}
    names = tuple(map(str, LENGTHS))
    videos = VideoSet(names, torch.tensor(LENGTHS), streams, torch.zeros(len(LENGTHS), len(tiny.events)))
    settings = ["network.proposals=none"] if name == "asm_loc" else []
    cfg = composed("mil", f"network={name}", *settings)
    return build_network(cfg, ParsingSet(tiny.events, modalities, videos, None, None)).eval(), videos


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_takes_any_length_or_says_how_many_segments(tiny: ParsingSet, name: str) -> None:
    """It gives every segment probabilities, also of videos that are longer than any of its training."""
    net, videos = build(name, tiny)
    assert net.longest == (10 if name == "mgn" else None)
    for row, length in enumerate(LENGTHS):
        batch = videos[torch.tensor([row])]
        if net.longest is not None and length > net.longest:
            with pytest.raises(InputError, match="segments"):
                net(batch)
            continue
        with torch.inference_mode():
            output = net(batch)
        assert output.segment_probs.shape[:2] == (1, length)
        for values in (output.segment_probs, output.video_probs, output.modality_probs):
            assert values.isfinite().all()
            assert ((values >= 0) & (values <= 1)).all()
