"""The extractors of a checkpoint: those by which the features of its training were made, built once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from avvp_pl.commands.objects import build
from avvp_pl.errors import InputError, nearest
from avvp_pl.runs.trust import check_built
from avvp_pl.video.extractor import Extractor
from avvp_pl.video.manifest import check_same, identity_of

Entries = Mapping[str, Mapping[str, Any]]


def extractor_settings(
    trained: Entries, streams: Sequence[str], given: Mapping[str, Any] | None, path: Path, trust: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the settings by which the extractors of the ``streams`` of the checkpoint ``path`` are built.

    ``trained`` are the entries of the manifest of its training's features, and the settings ``given`` for extractors
    are laid over theirs, such as where weights are on this machine. Raises :class:`InputError` where a stream has no
    extractor, for the settings of another one, and where something would be built that is not trusted.
    """
    if unknown := [stream for stream in streams if stream not in trained]:
        raise InputError(
            f"{path}: it does not know by which extractors its features were made ({', '.join(unknown)}), because they "
            "had no feats/manifest.json; extract the features of the training videos with python -m avvp_pl.extract, "
            "and train on them (or say what made them: data.extracted_as), or parse features (data.root=DIR)"
        )
    settings = {stream: dict(trained[stream]["settings"]) for stream in streams}
    for name, own in (given or {}).items():
        if name not in settings:
            known = ", ".join(settings)
            raise InputError(f"extractors.{name}: the extractors of {path} are {known}.{nearest(str(name), settings)}")
        if not isinstance(own, Mapping):
            raise InputError(f"extractors.{name}: it must be settings of the extractor, such as extractors.{name}.KEY=")
        settings[name] |= own
    check_built({"extractors": settings}, path, trust)
    return settings


def built_extractors(settings: Entries, trained: Entries, path: Path) -> dict[str, Extractor]:
    """Return the extractors that :func:`extractor_settings` describe, by their names.

    Raises :class:`InputError` for one that would make other features than those of the training of ``path``.
    """
    built = {
        name: build(f"extractors.{name}", OmegaConf.create(dict(own)), Extractor) for name, own in settings.items()
    }
    wanted = {name: trained[name]["identity"] for name in built}
    found = {name: identity_of(extractor) for name, extractor in built.items()}
    advice = "give the weights and settings of the training (extractors.NAME.KEY=VALUE), or train again"
    check_same(wanted, found, f"the training of {path}", "extractors", advice)
    return built
