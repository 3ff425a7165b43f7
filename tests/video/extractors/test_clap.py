from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.video.extractors.clap import Clap, mel_filters, repeated, seconds_of, spectrogram

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'avvp_pl[transformers]'")
BLOCK = np.random.default_rng(0).uniform(-0.7, 0.7, (10, 48000)).astype(np.float32)
BLOCK *= np.linspace(0.01, 1, 10, dtype=np.float32)[:, None]
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
Models = dict[bool, tuple[Any, Path]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small CLAP that fuses views of longer sounds, and one that does not, with their folders."""
    made = {}
    for fusion in (True, False):
        torch.manual_seed(0)
        audio = {
            "patch_embeds_hidden_size": 8,
            "hidden_size": 64,
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "enable_fusion": fusion,
            "fusion_type": "aff_2d" if fusion else None,
        }
        config = transformers.ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=12)
        model = transformers.ClapModel(config).eval()
        folder = tmp_path_factory.mktemp("clap")
        model.save_pretrained(folder)
        made[fusion] = (model, folder)
    return made


def features(fusion: bool) -> Any:
    """The inputs of CLAP as transformers makes them, with the frequencies of LAION's networks."""
    return transformers.ClapFeatureExtractor(
        truncation="fusion" if fusion else "rand_trunc", frequency_min=50, frequency_max=14000
    )


@pytest.mark.parametrize("fusion", [True, False])
def test_embeddings_are_those_of_the_whole_model(models: Models, fusion: bool) -> None:
    model, folder = models[fusion]
    extractor = Clap(str(folder), "embedding", "cpu", 2, None, "clap")
    rows = extractor.rows(BLOCK[:3])
    assert (extractor.dim, rows.shape) == (12, (3, 12))
    assert rows.dtype == np.float32
    read = features(fusion)(list(BLOCK[:3]), sampling_rate=48000, return_tensors="pt")["input_features"]
    # transformers marks one of the sounds as longer at random, where none is
    with torch.inference_mode():
        embedded = model.get_audio_features(input_features=read, is_longer=torch.zeros(3, 1, dtype=torch.bool))
    expected = embedded.pooler_output.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


def slow_seconds(maps: np.ndarray) -> np.ndarray:
    """VALOR's reading of maps [D, 2, 32]: bicubic to 1,024 positions, the mean over frequency, and of each tenth."""

    def cubic(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    low = maps.mean(1)  # [D, 32]
    enlarged = np.zeros((len(low), 1024))
    for i in range(1024):
        at = (i + 0.5) / 32 - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            enlarged[:, i] += cubic(at - j) * low[:, min(max(j, 0), 31)]
    return np.stack([enlarged[:, 1024 * k // 10 : -(-1024 * (k + 1) // 10)].mean(1) for k in range(10)])


def test_seconds_of_maps_are_those_of_the_definition() -> None:
    maps = np.random.default_rng(1).normal(size=(5, 2, 32))
    found = seconds_of(torch.from_numpy(maps).float()[None])[0]
    np.testing.assert_allclose(found, slow_seconds(maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seconds", [10, 4])
def test_maps_hear_ten_seconds_at_once(models: Models, seconds: int) -> None:
    model, folder = models[True]
    extractor = Clap(str(folder), "map", "cpu", 2, None, "clap")
    rows = extractor.rows(BLOCK[:seconds])
    assert (extractor.dim, rows.shape) == (64, (seconds, 64))
    whole = (BLOCK[:seconds].clip(-1, 1) * 32767).astype(np.int16).reshape(-1) / np.float32(32767)
    read = features(True)(whole, sampling_rate=48000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        heard = model.audio_model(input_features=read, is_longer=torch.zeros(1, 1, dtype=torch.bool))
    expected = slow_seconds(heard.last_hidden_state[0].numpy())[:seconds]
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(rows[0] - rows[-1]).max() > 1e-3


def test_a_sound_is_repeated_as_often_as_it_fits() -> None:
    sound = np.arange(1, 48000 * 4 + 1, dtype=np.float32)
    whole = repeated(sound)
    assert whole.shape == (480000,)
    np.testing.assert_array_equal(whole[: 48000 * 8], np.concatenate([sound, sound]))
    assert not whole[48000 * 8 :].any()


@pytest.mark.parametrize("fusion", [True, False])
def test_a_spectrogram_is_that_of_transformers(fusion: bool) -> None:
    sound = BLOCK.reshape(-1)
    expected = features(fusion)(sound, sampling_rate=48000)["input_features"][0][0]
    np.testing.assert_allclose(spectrogram(sound, mel_filters(fusion)), expected, rtol=1e-3, atol=1e-3)


def test_silence_is_at_the_floor() -> None:
    assert set(spectrogram(np.zeros(480000, np.float32), mel_filters(True)).flatten().tolist()) == {-100.0}


@pytest.mark.parametrize("output", ["embedding", "map"])
def test_the_identity_has_the_output(models: Models, output: Literal["embedding", "map"]) -> None:
    identity = Clap(str(models[True][1]), output, "cpu", 1, None, "clap").identity()
    assert (identity["output"], identity["dim"]) == (output, {"embedding": 12, "map": 64}[output])


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"its config\.json is that of clip, not of clap"):
        Clap(str(tmp_path), "embedding", "cpu", 1, None, "clap")
