from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.video.extractors.vggish import VGGish
from tests.video.test_mel import slow
from tests.video.test_networks import vggish_rows, vggish_weights

SECONDS = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)


def test_rows_are_the_network_of_the_first_96_frames(tmp_path: Path) -> None:
    state = vggish_weights()
    file = tmp_path / "vggish.pth"
    torch.save({**state, "pproc.pca_means": torch.zeros(128, 1)}, file)
    extractor = VGGish(str(file), "cpu", None, "vggish")
    rows = extractor.rows(SECONDS)
    assert rows.shape == (2, 128)
    assert rows.dtype == np.float32
    frames = np.lib.stride_tricks.sliding_window_view(SECONDS, 400, axis=1)[:, ::160][:, :96]
    window = np.sin(np.pi * np.arange(400) / 400) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(257)) / 512)  # no fast transform
    mels = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    filters = np.stack([np.interp(mels, edges[i : i + 3], [0, 1, 0], 0, 0) for i in range(64)], axis=1)
    spectrograms = np.log(np.abs((frames * window) @ basis) @ filters + 0.01)
    assert spectrograms[1, 40, 7] == pytest.approx(slow(SECONDS[1], 40, 7, 0.01, 0, "mel"), abs=1e-9)
    expected = vggish_rows(state, torch.from_numpy(spectrograms).float()[:, None]).numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-5)
    assert rows.min() == 0  # after ReLU, and neither projected nor quantized
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: is not a state dict of VGGish: it lacks embeddings\.0\.bias and"):
        VGGish(str(tmp_path / "w.pth"), "cpu", None, "vggish")
