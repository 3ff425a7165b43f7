"""A trained model as an object that parses videos, without its data set and without a command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.extractors import built_extractors, extractor_settings
from avvp_pl.commands.restore import restored_model
from avvp_pl.data.media import check_seconds
from avvp_pl.data.windows import cutting_for
from avvp_pl.errors import InputError, brief, nearest
from avvp_pl.library.inputs import Features, Reading
from avvp_pl.library.media import extract, media_of
from avvp_pl.library.results import Parsing
from avvp_pl.runs.checkpoints import facts_of, read_checkpoint, trained_config, trained_lengths, trained_on
from avvp_pl.runs.reading import active_inferences
from avvp_pl.settings.conf import ConfigFiles
from avvp_pl.timelines.timeline import Fact, Source
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch, ParsingNetwork
from avvp_pl.video.extractor import Extractor


class Loaded(NamedTuple):
    """What a parser needs of its checkpoint beside the model: see :func:`load`.

    ``lengths`` are the numbers of segments of the shortest and the longest training video, if they are known.
    """

    path: Path
    inference: str
    batch_size: int
    lengths: tuple[int, int] | None
    extractors: Mapping[str, Mapping[str, Any]]
    trust: Sequence[str]


class Parser:
    """A trained model that parses videos, made by :func:`load`.

    >>> import avvp_pl
    >>> parser = avvp_pl.load(checkpoint)  # doctest: +SKIP
    >>> print(parser.parse("clip.mp4"))  # doctest: +SKIP
    >>> parser.parse({"vggish": sound, "res152": pictures, "r2plus1d_18": motion}).frame()  # doctest: +SKIP
    """

    def __init__(self, model: ParsingModule, reading: Reading, loaded: Loaded) -> None:
        self._model, self._reading, self._loaded = model, reading, loaded

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
        return self._loaded.inference

    @property
    def segment_seconds(self) -> float:
        """The duration of a segment."""
        return self._reading.known.segment_seconds

    @cached_property
    def extractors(self) -> dict[str, Extractor]:
        """The extractors of the training's features, by stream: what turns video files into what the model needs.

        They are built when they are first needed. Raises :class:`InputError` where the checkpoint does not know them,
        as features without a manifest were used, and where one cannot be built as it was, such as without its weights.
        """
        loaded, made = self._loaded, self._reading.known.extractors
        settings = extractor_settings(made, list(self.streams), loaded.extractors, loaded.path, loaded.trust)
        return built_extractors(settings, made, loaded.path)

    @cached_property
    def _made_by(self) -> dict[str, Fact]:
        loaded = self._loaded
        return facts_of(loaded.path, self._reading.known.extractors, self._model.protocol, loaded.inference)

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

    def parse(
        self,
        features: Features | Sequence[str | Path],
        names: Sequence[str] | None = None,
        *,
        split: str = "test",
        window: int | Literal["whole"] | None = None,
        overlap: int | None = None,
        missing_track: Literal["refuse", "mask"] = "refuse",
        damaged: Literal["refuse", "keep"] = "refuse",
        progress: Callable[[float], None] | None = None,
    ) -> Parsing:
        """Parse videos, as ``python -m avvp_pl.predict`` does.

        Of video files, ``features`` is the path of one, a list of such paths, a folder with videos, or a text file with
        a path on each line. Their features are extracted in memory by the :attr:`extractors`. A video without
        sound or without pictures, if the model needs both, is refused; with ``missing_track="mask"`` it is parsed by
        what it has, and what occurs in the other modality is not known. ``damaged="keep"`` uses what is left of a video
        that is cut off or badly damaged. ``progress`` is called with the fraction that is done, up to 1.

        Otherwise they are features: for each of the :attr:`streams`, an array or tensor [T, D] of one video, [B, T, D]
        of several, or a list of arrays [T, D] of videos of different lengths. They may also be a list of videos, each a
        mapping of streams to arrays; a :class:`~avvp_pl.types.Batch` or :class:`~avvp_pl.data.videos.VideoSet`; or the
        path of a folder. A folder in LLP layout has the videos of its ``split``; any other folder must have
        ``feats/STREAM/NAME.npy``, and all videos in it are parsed, sorted by name.

        Each row of an array is a segment if all streams of the video have the same number of rows. Otherwise, and in
        folders, the rule of the training decides how many rows are averaged over a segment (``data.segments``,
        ``data.rows_per_segment``).

        Long videos are seen through windows of ``window`` segments, of which neighbors share ``overlap``, or taken
        ``"whole"``. None: windows as long as the training videos, with half overlap, if these all had the same length;
        else whole.

        ``names`` are the names of the videos; None: those of their files, or ``video_0``, ``video_1``, .... Raises
        :class:`InputError` where a file cannot be used, and where features are missing, of another shape, not finite,
        or made by other extractors than those of the training.
        """
        media = media_of(features, names)
        sources: Mapping[str, Source] = {}
        if media is None:
            videos = self._reading.videos(features, names, split)  # type: ignore[arg-type]
        else:
            check_seconds(self.segment_seconds, self._loaded.path)
            given = missing_track, damaged, self._reading.dtype, progress
            videos, sources = extract(media, list(self.extractors.values()), self._reading.known, *given)
        cutting = cutting_for(videos, window, overlap, self._loaded.lengths, self.network.longest)
        parsed = self._model.parse_all(videos, self._loaded.batch_size, self.inference, cutting)
        if progress is not None:
            progress(1.0)
        known, protocol = self._reading.known, self._model.protocol
        return Parsing(videos, parsed, known, protocol, self._model.task, sources, self._made_by)

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
    extractors: Mapping[str, Mapping[str, object]] | None = None,
    trust: Sequence[str] = (),
) -> Parser:
    """Load a checkpoint of ``python -m avvp_pl.train``. No data set is needed.

    ``inference`` is the name of one by which the run was tested, or ``classifier``, ``prototype`` or
    ``prototype_hard``; None: the first one of the training. ``device`` is a name of torch, such as ``cuda:1``, or
    ``auto``: a GPU where there is one. ``segments``, the number of segments of the longest video, and
    ``rows_per_segment`` of streams replace those of the training. ``extractors`` are settings of extractors that
    replace those of the training, such as ``{"clip": {"weights": "FOLDER"}}``. ``trust`` names packages outside avvp_pl
    from which the checkpoint may build objects.

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
    lengths = trained_lengths(content, path)
    loaded = Loaded(path, name, batch_size, lengths, extractors or {}, tuple(_packages(trust)))
    return Parser(model.to(_usable(device)).eval(), reading, loaded)


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
    return Reading(path, known, most, rows, str(data.get("dtype", "float32")))


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
