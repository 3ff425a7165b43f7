"""What extractors with pretrained networks share: whose weights these are, and a projection that may follow."""

from __future__ import annotations

import hashlib
import importlib
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, Float64

from avvp_pl.errors import InputError, brief
from avvp_pl.video.extractor import Extractor


class Pretrained(Extractor):
    """An extractor whose rows are the embeddings of a pretrained network, or their projection.

    ``weights`` is the SHA-256 of the network's weights, ``dim`` the dimension of its embeddings, and ``pca`` the file
    of a :class:`Projection`. ``name`` is that of the stream: one extractor with different settings can so make two.
    """

    def __init__(self, weights: str, dim: int, pca: str | None, name: str) -> None:
        self.weights = weights
        self.projection = None if pca is None else Projection(Path(pca), dim)
        self.dim = dim if self.projection is None else self.projection.dim
        self.name = name

    def rows(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R dim"]:
        """Return the embeddings of some consecutive seconds, or their projection."""
        embeddings = self.embed(block)
        return embeddings if self.projection is None else self.projection(embeddings)

    @abstractmethod
    def embed(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R embedding"]:
        """Return what the network makes of a block; see :meth:`~avvp_pl.video.extractor.Extractor.rows`."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows, among it the checksums of the weights and of the projection."""
        pca = None if self.projection is None else self.projection.sha256
        return {**super().identity(), "weights": self.weights, "pca": pca}


class Projection:
    """(x - mean) @ components / scale, such as a PCA of embeddings that was fitted elsewhere.

    The file is a .npz with ``mean`` [D], ``components`` [D, K] and ``scale``, one number or [K].
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.sha256 = sha256_of([path])
        self.mean, self.components, self.scale = (_array(path, name) for name in ("mean", "components", "scale"))
        shape = self.components.shape
        if len(shape) != 2 or self.mean.shape != shape[:1] or self.scale.shape not in ((), shape[1:]):
            found = f"{list(self.mean.shape)}, {list(shape)} and {list(self.scale.shape)}"
            raise InputError(f"{path}: mean, components and scale have the shapes {found}, not [D], [D, K] and [K]")
        if shape[0] != dim:
            raise InputError(f"{path}: projects embeddings of {shape[0]} columns, but those of this network have {dim}")
        if not (self.scale > 0).all():
            raise InputError(f"{path}: scale must be above 0")
        self.dim = shape[1]

    def __call__(self, embeddings: Float32[np.ndarray, "R embedding"]) -> Float32[np.ndarray, "R dim"]:
        """Project the rows; the arithmetic is in double precision."""
        projected: Float64[np.ndarray, "R dim"] = (embeddings - self.mean) @ self.components / self.scale
        return projected.astype(np.float32)


def _array(path: Path, name: str) -> npt.NDArray[np.float64]:
    """Read one array of a .npz file, as finite numbers of double precision."""
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            array = np.asarray(file[name])
    except KeyError:
        raise InputError(f"{path}: has no {name}; a projection has mean, components and scale") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is not a .npz file of mean, components and scale ({brief(error)})") from None
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(f"{path}: {name} must consist of finite numbers")
    return array.astype(np.float64)


def sha256_of(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file, or of several files one after another with their names."""
    whole = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        if len(paths) == 1:
            return digest.hexdigest()
        whole.update(f"{path.name} {digest.hexdigest()}\n".encode())
    return whole.hexdigest()


def require(module: str, extractor: str, install: str) -> ModuleType:
    """Import a package that only some extractors need; ``install`` is the command that installs it."""
    try:
        return importlib.import_module(module)
    except Exception as error:  # an installed package that does not fit torch raises more than ImportError
        package = module.partition(".")[0]
        raise InputError(
            f"the extractor {extractor} needs {package}, which cannot be imported ({brief(error)}): {install}"
        ) from None
