"""Networks of the package transformers, from a folder on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from avvp_pl.errors import InputError, brief
from avvp_pl.video.pretrained import require, sha256_of
from avvp_pl.video.weights import first_of

INSTALL = "pip install 'avvp_pl[transformers]'"
UNFIT = "; a torchvision or torchaudio that does not fit torch is often the cause: uninstall it, nothing here needs it"


def load_folder(architecture: str, kind: str, folder: Path, extractor: str, device: torch.device) -> tuple[Any, str]:
    """Return a network of transformers, such as ``CLIPVisionModelWithProjection``, and the SHA-256 of its folder.

    ``kind`` is the model type that its config.json must have, or the part of one. Nothing is downloaded, and nothing
    in the folder is executed.
    """
    files = deciding_files(folder)
    found = _kind_of(folder / "config.json")
    if not found.startswith(kind):
        raise InputError(f"{folder}: its config.json is that of {found or 'no known model'}, not of {kind}")
    transformers = require("transformers", extractor, INSTALL)
    try:
        build = getattr(transformers, architecture)
    except (ImportError, RuntimeError, OSError) as error:  # transformers imports torchvision and torchaudio if it can
        raise InputError(f"the extractor {extractor} cannot use transformers ({brief(error)}){UNFIT}") from None
    try:
        with _quiet(require("transformers.utils.logging", extractor, INSTALL)):
            network, report = build.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # of damaged files, transformers and safetensors raise classes of their own
        raise InputError(f"{folder}: cannot be loaded as {architecture} ({brief(error)})") from None
    absent = report["missing_keys"]
    if absent:  # transformers would fill them with random numbers
        raise InputError(f"{folder}: lacks weights of {architecture}: {first_of(absent)}")
    return network.requires_grad_(False).eval().to(device), sha256_of(files)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep transformers from listing the weights that are not used, those of the text, and from showing a bar."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def deciding_files(folder: Path) -> Sequence[Path]:
    """Return the configuration and the weights in a folder, in order of their names.

    Where there are weights in two formats, these are the ones that transformers reads: safetensors.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: must be a folder with config.json and weights, as transformers saves a model")
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        weights = sorted(folder.glob(pattern))
        if weights:
            return [folder / "config.json", *weights]
    raise InputError(f"{folder}: has no weights (model.safetensors or pytorch_model.bin)")


def _kind_of(config: Path) -> str:
    """Return the model type in a config.json."""
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{config}: cannot be read ({brief(error)})") from None
    return str(settings.get("model_type", "")) if isinstance(settings, dict) else ""
