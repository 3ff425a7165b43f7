"""The manifest: what was written is read, what is damaged is refused, and identities are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avvp_pl.errors import InputError
from avvp_pl.video.decode import VERSION
from avvp_pl.video.extractors.logmel import LogMel
from avvp_pl.video.manifest import (
    Manifest,
    Stream,
    Video,
    check_same,
    identity_of,
    read_manifest,
    stream_of,
    write_manifest,
)

SETTINGS = {"_target_": "avvp_pl.video.extractors.logmel.LogMel", "bands": 8}
VIDEO = Video("Föhn.mp4", 1234, 9.98, 10, ["logmel"], ["visual"], ["the track of sound ends at 3.0 s"])


def made() -> Manifest:
    return Manifest({"logmel": stream_of(LogMel(8), SETTINGS)}, {"Föhn": VIDEO})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, made())
    assert read_manifest(tmp_path) == made()
    assert read_manifest(tmp_path / "nowhere") is None
    content = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert content["streams"]["logmel"]["settings"] == SETTINGS
    assert content["streams"]["logmel"]["identity"]["decoding"] == VERSION


def test_an_identity_has_the_version_of_the_decoding() -> None:
    assert identity_of(LogMel(8)) == {**LogMel(8).identity(), "decoding": VERSION}
    assert stream_of(LogMel(8), SETTINGS) == Stream(identity_of(LogMel(8)), "audio", 1, SETTINGS)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ((), 3, "format is None, but must be 1; restore the file"),
        (("format",), 2, "a later version of avvp_pl has written this; use that version"),
        (("format",), "1", "format is '1', but must be 1"),
        (("streams",), [], "streams is [], but must be a mapping"),
        (("streams", "logmel"), 1, "streams.logmel is 1, but must be a mapping"),
        (("streams", "logmel", "modality"), "smell", "streams.logmel.modality is 'smell', but must be audio or visual"),
        (("streams", "logmel", "rows_per_segment"), 0, "streams.logmel.rows_per_segment is 0, but must be a whole"),
        (("streams", "logmel", "identity"), None, "streams.logmel.identity is None, but must be a mapping"),
        (("streams",), {}, "videos.Föhn.streams is 'logmel', but must be one of "),
        (("videos", "Föhn", "file"), 3, "videos.Föhn.file is 3, but must be text"),
        (("videos", "Föhn", "bytes"), True, "videos.Föhn.bytes is True, but must be a whole number of at least 0"),
        (("videos", "Föhn", "seconds"), "ten", "videos.Föhn.seconds is 'ten', but must be a number of seconds"),
        (("videos", "Föhn", "segments"), 1.5, "videos.Föhn.segments is 1.5, but must be a whole number of at least 1"),
        (("videos", "Föhn", "missing"), "audio", "videos.Föhn.missing is 'audio', but must be a list of texts"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, place: tuple[str, ...], value: Any, said: str) -> None:
    write_manifest(tmp_path, made())
    path = tmp_path / "manifest.json"
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    if place:
        inner[place[-1]] = value
    path.write_text(json.dumps(content if place else value), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="this is not the manifest that extract writes"):
        read_manifest(tmp_path)


def test_only_the_same_identities_fit_together() -> None:
    eight, nine = ({"logmel": identity_of(LogMel(bands))} for bands in (8, 9))
    check_same(eight, eight, "the checkpoint", "feats", "extract them again")
    check_same(eight, {}, "the checkpoint", "feats", "extract them again")
    with pytest.raises(InputError) as caught:
        check_same(nine, eight, "the checkpoint", "feats", "extract them again")
    assert str(caught.value) == (
        "feats: the features 'logmel' are not those of the checkpoint: dim is 32 there and 36 here, bands is 8 there "
        "and 9 here; extract them again"
    )
    with pytest.raises(InputError, match="weights is None there and 'abc' here"):
        check_same({"x": {"weights": "abc"}}, {"x": {}}, "the checkpoint", "feats", "extract them again")
