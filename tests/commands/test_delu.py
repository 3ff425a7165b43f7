"""DELU and CO2-Net as runs on the embedded twin of THUMOS14, which has one modality with two streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.settings.conf import config_dir
from tests.conftest import Command
from tests.small import content, rows, scores

BATCHES = 6
SETTINGS = (
    "data.sizes.train=40",
    "data.sizes.test=12",
    "data.sampling.segments=30",
    f"data.order.batches={BATCHES}",
    "method.pairs=2",
    "data.batch_size=6",
    "network.dim=16",
    "network.attention_dim=8",
    "optimizer.learning_rate=0.01",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "threads=1",
    "logger=csv",
)


def settings_of(method: str, folder: Path, *more: str) -> list[str]:
    return [f"+experiment={method}", *SETTINGS, f"hydra.run.dir={folder}", *more]


def train(command: Command, method: str, folder: Path, *more: str) -> Path:
    assert command("train", *settings_of(method, folder, *more)) == 0
    return folder


@pytest.mark.parametrize("method", ["delu", "co2_net"])
def test_all_terms_of_the_loss_are_logged(command: Command, tmp_path: Path, method: str) -> None:
    run = train(command, method, tmp_path)
    (row,) = rows(run / "metrics.csv")
    terms = {name.removeprefix("train/") for name in row if name.startswith("train/")}
    own = {"mil", "mil_attended", "mutual", "sparsity", "guide", "co_activity"}
    assert terms >= own
    assert terms & {"evidence", "curriculum"} == ({"evidence", "curriculum"} if method == "delu" else set())
    assert content(run)["global_step"] == BATCHES
    assert scores(run)["videos"]["listed"] == 12


def test_its_own_protocol_cuts_the_attention(command: Command, tmp_path: Path) -> None:
    ambiguous = tmp_path / "ambiguous.txt"
    ambiguous.write_text("elsewhere 1.0 2.0\n")
    run = train(command, "delu", tmp_path / "run", "protocol=delu", f"protocol.task.ambiguous={ambiguous}")
    assert list(OmegaConf.load(run / "config.yaml").inference) == ["attended_logits"]
    assert scores(run)["protocol"].startswith("delu, segments_212_long")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.order.pairs=1"], "the first 4 videos of a batch must be pairs that share an event"),
        (["data.batch_size=3"], "data.batch_size=3: a batch with data.order.pairs=2 needs at least 4 videos"),
        (
            ["data.modalities.fused=[rgb]", "~data.streams.flow"],
            "network=cross_modal needs one modality with two streams",
        ),
        (["data.streams.rgb=32"], "network=cross_modal needs two streams of the same dimension"),
    ],
)
def test_what_is_wrong_is_refused(
    command: Command, tmp_path: Path, settings: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *settings_of("delu", tmp_path, *settings)) == 2
    assert message in capsys.readouterr().err


def protocol(name: str) -> Any:
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [f"protocol={name}"]), resolve=False)


def test_protocols_of_the_public_code() -> None:
    """The table of docs/localization.md."""
    delu, co2_net = protocol("delu"), protocol("co2_net")
    for cfg, name, count, scoring in (
        (delu, "delu", 20, "segments_212_long"),
        (co2_net, "co2_net", 10, "segments_212"),
    ):
        assert list(cfg["inference"]) == ["attended_logits"]
        assert (cfg["protocol"]["name"], cfg["protocol"]["task"]["scoring"]["name"]) == (name, scoring)
        assert cfg["protocol"]["selection"]["monitor"] is None
        decision = cfg["protocol"]["decision"]
        assert decision["attention_levels"] == {"lowest": 0.1, "highest": 0.9, "count": count}
        expected = {
            "video_threshold": 0.2,
            "strict_gate": False,
            "without_events": "best",
            "curve_levels": None,
            "upsampling": 1,
            "shortest": 1,
            "outer": 0.25,
            "video_weight": 0.2,
            "video_score_as_one": False,
            "unique": False,
            "suppression": "gaussian",
            "sigma": 0.3,
            "added_seconds": 0.64,
            "lowest": None,
        }
        assert {key: decision[key] for key in expected} == expected
