"""A trained model as an object that parses videos, without its data set and without a command."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.restore import restored_model
from avvp_pl.errors import InputError, brief, nearest
from avvp_pl.library.inputs import Features, Reading
from avvp_pl.library.results import Parsing
from avvp_pl.runs.checkpoints import read_checkpoint, trained_config, trained_on
from avvp_pl.runs.reading import active_inferences
from avvp_pl.settings.conf import ConfigFiles
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch, ParsingNetwork


class Parser:
    """A trained model that parses videos, made by :func:`load`.

    >>> import avvp_pl
    >>> parser = avvp_pl.load(checkpoint)  # doctest: +SKIP
    >>> parser.parse({"vggish": sound, "res152": pictures, "r2plus1d_18": motion}).frame()  # doctest: +SKIP
    """

    def __init__(self, model: ParsingModule, reading: Reading, inference: str, batch_size: int) -> None:
        self._model, self._reading, self._inference, self._batch_size = model, reading, inference, batch_size

    @property
    def events(self) -> tuple[str, ...]:
        """The events that the model knows, in the order of the last axis of its tensors."""
        return self._reading.known.events

    @property
    def modalities(self) -> dict[str, tuple[str, ...]]:
        """The modalities, in the order of their axis, each with its streams."""
        return dict(self._reading.known.modalities)

    @property
    def streams(self) -> dict[str, int]:
        """The streams of features that the model needs, each with its dimension."""
        return self._reading.known.stream_dims

    @property
    def inference(self) -> str:
        """The name of the inference by which videos are parsed."""
        return self._inference

    @property
    def segment_seconds(self) -> float:
        """The duration of a segment."""
        return self._reading.known.segment_seconds

    @property
    def device(self) -> torch.device:
        """The device on which videos are parsed."""
        return self._model.device

    @property
    def network(self) -> ParsingNetwork:
        """The network, in evaluation mode: ``parser.network(parser.batch(features))`` has features of segments."""
        return self._model.network

    def __repr__(self) -> str:
        streams = ", ".join(f"{name}: {'+'.join(of)}" for name, of in self.modalities.items())
        return f"Parser({len(self.events)} events, {streams}; inference={self.inference!r}, device='{self.device}')"

    def parse(self, features: Features, names: Sequence[str] | None = None, *, split: str = "test") -> Parsing:
        """Parse videos, as ``python -m avvp_pl.predict`` does.

        ``features`` are, for each of the :attr:`streams`, an array or tensor [T, D] of one video, [B, T, D] of several,
        or a list of arrays [T, D] of videos of different lengths. They may also be a list of videos, each a mapping of
        streams to arrays; a :class:`~avvp_pl.types.Batch` or :class:`~avvp_pl.data.videos.VideoSet`; or the path of a
        folder. A folder in LLP layout has the videos of its ``split``; any other folder must have
        ``feats/STREAM/NAME.npy``, and all videos in it are parsed, sorted by name.

        Each row of an array is a segment if all streams of the video have the same number of rows. Otherwise, and in
        folders, the rule of the training decides how many rows are averaged over a segment (``data.segments``,
        ``data.rows_per_segment``).

        ``names`` are the names of the videos; None: ``video_0``, ``video_1``, .... Raises :class:`InputError` where
        features are missing, of another shape, or not finite.
        """
        videos = self._reading.videos(features, names, split)
        parsed = self._model.parse_all(videos, self._batch_size, self.inference)
        return Parsing(videos, parsed, self._reading.known, self._model.protocol, self._model.task)

    def batch(self, features: Features, *, split: str = "test") -> Batch:
        """Return the videos of ``features``, given as in :meth:`parse`, as one padded batch for the network."""
        videos = self._reading.videos(features, None, split)
        return videos[torch.arange(len(videos))].to(self.device)


def load(
    checkpoint: str | Path,
    *,
    inference: str | None = None,
    device: str | torch.device = "auto",
    segments: int | None = None,
    rows_per_segment: Mapping[str, int] | None = None,
    trust: Sequence[str] = (),
) -> Parser:
    """Load a checkpoint of ``python -m avvp_pl.train``. No data set is needed.

    ``inference`` is the name of one by which the run was tested, or ``classifier``, ``prototype`` or
    ``prototype_hard``; None: the first one of the training. ``device`` is a name of torch, such as ``cuda:1``, or
    ``auto``: a GPU where there is one. ``segments``, the number of segments of the longest video, and
    ``rows_per_segment`` of streams replace those of the training. ``trust`` names packages outside avvp_pl from which
    the checkpoint may build objects.

    Raises :class:`InputError` for a file that is no checkpoint, or that would build what is not trusted; for an
    inference that does not exist or would have to be fitted to training videos first; and for a device that cannot be
    used. Random numbers of the caller are not changed.
    """
    path = Path(checkpoint)
    content = read_checkpoint(path)
    replaced = {} if inference is None else _other_inference(content["config"].get("inference"), inference)
    config = trained_config(content, path, replaced, _packages(trust))
    reading = _reading(config, content, path, segments, rows_per_segment)
    with torch.random.fork_rng(devices=[]):
        model = restored_model(config, reading.known, content, path, replaced)
    name = model.inference if inference is None else inference
    if needed := model.needs_of(name):
        raise InputError(
            f"{path}: inference={name} has still to be fitted to the {' and '.join(needed)} videos; give the "
            "best checkpoint of a finished run, or another inference, such as classifier"
        )
    batch_size = int(OmegaConf.select(config, "data.eval_batch_size", default=128))
    return Parser(model.to(_usable(device)).eval(), reading, name, batch_size)


def _other_inference(trained: object, name: str) -> dict[str, DictConfig]:
    """Return what replaces the inferences of a training if it had none of this name: the one in ``conf/``."""
    own = active_inferences(trained) if isinstance(trained, dict) else []
    if name in own:
        return {}
    files = ConfigFiles()
    shipped = files.choices("inference")
    if name not in shipped:
        known = list(dict.fromkeys([*own, *shipped]))
        raise InputError(f"inference={name}: it must be one of {', '.join(known)}.{nearest(name, known)}")
    return {"inference": OmegaConf.create({name: files.settings("inference", name)})}


def _reading(
    config: DictConfig,
    content: Mapping[str, object],
    path: Path,
    segments: int | None,
    rows_per_segment: Mapping[str, int] | None,
) -> Reading:
    """Return how features become segments: by the settings of the training's data, if it has them."""
    data = config.data
    most = data.get("segments", sys.maxsize) if segments is None else segments
    rows = (data.get("rows_per_segment") or {}) if rows_per_segment is None else rows_per_segment
    known = trained_on(content, path, float(data.get("segment_seconds", 1.0)))
    rows = {str(stream): n for stream, n in rows.items() if n is not None}
    for name, number in {"segments": most, **rows}.items():
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{name}={number}: it must be a whole number, 1 or more")
    for stream in rows:
        if stream not in known.stream_dims:
            raise InputError(
                f"rows_per_segment: {stream!r} is not one of the streams {', '.join(known.stream_dims)}."
                f"{nearest(stream, known.stream_dims)}"
            )
    return Reading(known, most, rows, str(data.get("dtype", "float32")))


def _packages(trust: Sequence[str]) -> Sequence[str]:
    if isinstance(trust, str):
        raise InputError(f"trust={trust}: it must be a list of packages, such as ['{trust}']")
    return trust


def _usable(device: str | torch.device) -> torch.device:
    """Return a device on which a tensor can be made."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(f"device={device}: cannot be used ({brief(error)}); give cpu, cuda or auto") from None
    return found
