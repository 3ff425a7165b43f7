"""``refine``: the product of a checkpoint, as a file that the next stage reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.methods.jomold import NoiseRates
from avvp_pl.methods.ma import ExchangedTracks
from avvp_pl.models import HAN
from tests.commands.conftest import LEARNING, Trained
from tests.conftest import Command
from tests.small import checkpoint, content, train

STREAMS = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}


@pytest.fixture
def base(trained: Trained) -> Path:
    return trained("+experiment=ma_base", *LEARNING)


def refine(command: Command, name: str, run: Path, output: Path, *more: str) -> None:
    arguments = (f"+refine={name}", f"checkpoint={checkpoint(run)}", f"output={output}", "trainer.accelerator=cpu")
    assert command("refine", *arguments, *more) == 0


def network_and_videos(run: Path) -> tuple[HAN, VideoSet]:
    """The network of a run, built by hand, and its training videos."""
    from omegaconf import OmegaConf

    saved = content(run, "best")
    videos = build_videos(OmegaConf.create(saved["config"]), ("train",))
    sizes = {"vggish": 128, "res152": 256, "r2plus1d_18": 128}
    network = HAN(STREAMS, sizes, len(videos.events), dim=32, feedforward_dim=32, fuse_single_stream=["visual"])
    weights = {name.removeprefix("network."): w for name, w in saved["state_dict"].items() if name[:8] == "network."}
    network.load_state_dict(weights)
    assert videos.train is not None
    return network.eval(), videos.train


def test_labels_of_ma_are_those_of_the_network_and_its_training_videos(
    command: Command, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.npz"
    refine(command, "ma", base, path)
    product = read_product(path, "modality_labels")
    network, videos = network_and_videos(base)
    with torch.inference_mode():
        expected = ExchangedTracks(STREAMS, 0.5, 0)(network, videos, 128)
    np.testing.assert_array_equal(product.values, expected.numpy())
    assert product.names == videos.names
    assert product.modalities == ("audio", "visual")
    assert product.checkpoint == hashlib.sha256(checkpoint(base).read_bytes()).hexdigest()
    weak_labels = videos.weak_labels.numpy()[:, None]
    assert (product.values <= weak_labels).all()
    removed = (product.values < weak_labels).sum((0, 2))
    assert removed.min() > 0
    counts = f"{int(weak_labels.sum())} labels, of which were removed: {removed[0]} audio, {removed[1]} visual"
    assert f"96 videos with {counts}: {path}\n" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_partners(
    command: Command, base: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        refine(command, "ma", base, tmp_path / f"{name}.npz", f"seed={seed}")
    one, same, other = ((tmp_path / f"{name}.npz").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


def test_rates_of_jomold(command: Command, base: Path, tmp_path: Path) -> None:
    """Of any network, whose modalities then do not see each other."""
    refine(command, "jomold", base, tmp_path / "rates.npz")
    network, videos = network_and_videos(base)
    with torch.inference_mode():
        expected = NoiseRates(list(STREAMS), {"audio": 0.6, "visual": 1.8}, {"visual": 0.9})(network, videos, 128)
    rates = read_product(tmp_path / "rates.npz", "rates").values
    np.testing.assert_array_equal(rates, expected.numpy())
    assert 0 < rates.mean() < 1


def test_the_next_stage_reads_the_file(command: Command, base: Path, tmp_path: Path) -> None:
    refine(command, "ma", base, tmp_path / "labels.npz")
    run = train(command, tmp_path / "ma", "+experiment=ma", f"method.targets.file={tmp_path / 'labels.npz'}", *LEARNING)
    assert list(content(run)["digests"]) == ["method.targets"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("checkpoint={run}", "output=x.npz"), "there is nothing to compute; give what to compute, such as +refine=ma"),
        (("+refine=ma", "output=x.npz"), "checkpoint must be given"),
        (("+refine=ma", "checkpoint={run}"), "output must be given"),
        (("+refine=ma", "checkpoint=nowhere.ckpt", "output=x.npz"), "nowhere.ckpt: no such checkpoint"),
        (("+refine=mA", "checkpoint={run}", "output=x.npz"), "there is no refine 'mA'."),
        (("+refine=ma", "checkpoint={run}", "output=x.npz", "refinement.threshold=2"), "it must be a number in [0, 1]"),
        (("+refine=ma", "checkpoint={run}", "output=x.npz", "refinement.treshold=1"), "'refinement.threshold'"),
        (("+refine=jomold", "checkpoint={run}", "output=x.npz", "+refinement.smoothing.visul=0"), "mean 'visual'?"),
        (("+refine=jomold", "checkpoint={run}", "output=x.npz", "+refinement.thresholds.touch=1"), "modalities are"),
        (("+refine=ma", "checkpoint={run}", "output=x.npz", "trainer.devices=2"), "refine runs in one process"),
        (("+recipe=ma", "checkpoint={run}", "output=x.npz"), "it is for python -m avvp_pl.recipe"),
    ],
)
def test_what_is_refused(
    command: Command,
    base: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    given = [argument.replace("{run}", str(checkpoint(base))) for argument in arguments]
    assert command("refine", "trainer.accelerator=cpu", *given) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "x.npz").exists()
