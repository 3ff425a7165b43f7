"""The protocols of methods of localization: the pipelines whose detections are compared with those of public code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from avvp_pl.commands.objects import build
from avvp_pl.inference.detections import Levels, Pipeline
from avvp_pl.inference.detector import Detector
from avvp_pl.settings.conf import config_dir
from tests.inference.test_detections import PIPELINES

EM_MIL = Pipeline(gate=0.15, without_events="nothing", levels=(Levels((0.05,)),), upsampling=1)


def flattened(value: Any) -> Any:
    """Numbers and words, with tuples of them as lists, which pytest can compare approximately."""
    if isinstance(value, dict):
        return {f"{key}{inner}": x for key, own in value.items() for inner, x in flattened(own).items()}
    if isinstance(value, list | tuple):
        return {f".{number}{inner}": x for number, own in enumerate(value) for inner, x in flattened(own).items()}
    return {"": value}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("bas_net", PIPELINES["BaS-Net"]),
        ("um", PIPELINES["UM"]),
        ("em_mil", EM_MIL),
        ("localization", PIPELINES["ours"]),
    ],
)
def test_a_protocol_is_its_pipeline(protocol: str, expected: Pipeline) -> None:
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg = compose("train", [f"protocol={protocol}"])
    assert cfg.protocol.name == protocol
    assert cfg.protocol.selection.monitor is None
    detector = build("protocol.decision", cfg.protocol.decision, Detector, {"segment_seconds": 0.64})
    assert flattened(asdict(detector.pipeline)) == pytest.approx(flattened(asdict(expected)), abs=1e-12)
