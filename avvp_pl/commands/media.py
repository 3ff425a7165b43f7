"""Video files as the data of ``predict``: their features are extracted into a folder of the output."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.extracting import Extraction, extract_into
from avvp_pl.commands.extractors import built_extractors, extractor_settings
from avvp_pl.data.media import Extracted, check_seconds, extracted_videos
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, brief
from avvp_pl.timelines.timeline import Source
from avvp_pl.video.folder import feature_file

FEATURES = "features"  # the folder in the output
OF_FEATURES = ("data", "names")  # settings that say which features are parsed


class MediaFiles:
    """The video files ``cfg.videos``. :meth:`read` extracts and reads them, and the other attributes follow from it.

    ``sources`` are what is known of the files, by the names of the videos.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.folder = cfg, Path(cfg.output) / FEATURES
        self.sources: dict[str, Source] = {}
        self.extraction: Extraction | None = None
        for name in OF_FEATURES:
            if cfg.get(name) is not None:
                raise InputError(f"videos={cfg.videos}: these are parsed in place of features; leave out {name}")
        if cfg.split != "test":
            raise InputError(f"videos={cfg.videos}: video files belong to no split; leave out split={cfg.split}")

    def read(self, known: ParsingSet) -> ParsingSet:
        """Return the videos whose features could be extracted, with the streams of a training, ``known``.

        Raises :class:`InputError` where there is none, and where the extractors are not those of the training.
        """
        cfg, path = self.cfg, Path(self.cfg.checkpoint)
        check_seconds(known.segment_seconds, path)
        given: Any = None if cfg.extractors is None else OmegaConf.to_container(cfg.extractors, resolve=True)
        settings = extractor_settings(known.extractors, list(known.stream_dims), given, path, cfg.trust)
        extractors = built_extractors(settings, known.extractors, path)
        self.extraction = extraction = extract_into(cfg, self.folder, settings, list(extractors.values()))
        extraction.check()
        entries, found = extraction.folder.manifest.videos, []
        failed = set(extraction.folder.failed)
        for video in extraction.videos:
            if video.path in failed:
                continue
            entry = entries[video.key]
            features = {stream: _rows(feature_file(self.folder / "feats", stream, video.key)) for stream in settings}
            found.append(Extracted(video.name, entry.segments, features, entry.missing))
            self.sources[video.name] = Source(video.path, entry.seconds)
        videos = extracted_videos(found, known)
        modalities, made = known.modalities, known.extractors
        return ParsingSet(known.events, modalities, None, None, videos, known.segment_seconds, made)

    @property
    def failed(self) -> int:
        """The number of videos that could not be used."""
        return 0 if self.extraction is None else self.extraction.failed

    def finish(self) -> None:
        """Remove the features unless they are kept."""
        if not self.cfg.keep_features:
            shutil.rmtree(self.folder, ignore_errors=True)


def _rows(path: Path) -> npt.NDArray[np.float32]:
    """Return the rows that were extracted into a file."""
    try:
        rows: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({brief(error)}); remove it, and give the command again") from None
    return rows
