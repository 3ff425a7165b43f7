"""The results of video parsing, and the files that contain them."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.data.annotations import Oddities, read_timelines
from avvp_pl.data.known import digest_of
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.metrics import ParsingScores, score_timelines
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.parsing import (
    ParsingTask,
    print_scores,
    scores_as_dict,
    write_parsed,
    write_pictures,
    write_predictions,
)


def parsed_truth(split: VideoSet) -> Parsed:
    """The truth of a split, as if it had been found with a probability of 0.75 for what is true and 0.25 else."""
    assert split.truth is not None
    videos = torch.stack([video.any(0) for video in torch.split(split.truth, split.lengths.tolist())])
    return Parsed(split.lengths, split.truth, 0.25 + 0.5 * split.truth.float(), videos.float())


def test_predictions_are_read_back(ragged: ParsingSet, tmp_path: Path) -> None:
    assert ragged.test is not None
    assert ragged.test.truth is not None
    parsed = parsed_truth(ragged.test)
    write_predictions(tmp_path, ragged.test.names, parsed, ragged)
    lengths = dict(zip(ragged.test.names, ragged.test.lengths.tolist(), strict=True))
    for m, modality in enumerate(("audio", "visual")):
        table = read_timelines(tmp_path / f"{modality}.csv", ragged.events, 10, Oddities(), lengths=lengths)
        for name, truth in zip(ragged.test.names, parsed.videos(ragged.test.truth), strict=True):
            found = table.get(name, np.zeros((lengths[name], 25), dtype=bool))
            assert np.array_equal(found, truth[:, m].numpy())
    with np.load(tmp_path / "probabilities.npz") as archive:
        assert archive["names"].tolist() == list(ragged.test.names)
        assert archive["events"].tolist() == list(ragged.events)
        assert archive["modalities"].tolist() == ["audio", "visual"]
        assert archive["lengths"].tolist() == ragged.test.lengths.tolist()
        assert archive["segment"].dtype == archive["video"].dtype == np.float16
        assert np.array_equal(archive["segment"].astype(np.float32), parsed.probs.numpy())
        assert np.array_equal(archive["video"].astype(np.float32), parsed.video_probs.numpy())


def test_the_same_predictions_are_the_same_bytes(tiny: ParsingSet, tmp_path: Path) -> None:
    assert tiny.test is not None
    for name in ("one", "two"):
        write_predictions(tmp_path / name, tiny.test.names, parsed_truth(tiny.test), tiny)
    assert (tmp_path / "one" / "probabilities.npz").read_bytes() == (
        tmp_path / "two" / "probabilities.npz"
    ).read_bytes()
    with zipfile.ZipFile(tmp_path / "one" / "probabilities.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_timelines_have_the_length_of_each_video_and_times_in_seconds(ragged: ParsingSet, tmp_path: Path) -> None:
    assert ragged.test is not None
    slow = replace(ragged, segment_seconds=0.5)
    write_parsed(tmp_path, ragged.test.names, parsed_truth(ragged.test), slow)
    content = json.loads((tmp_path / "timelines.json").read_text())
    assert content["events"] == list(ragged.events)
    assert content["segment_seconds"] == 0.5
    assert list(content["videos"]) == list(ragged.test.names)
    truths = torch.split(ragged.test.truth, ragged.test.lengths.tolist())  # type: ignore[arg-type]
    for video, truth in zip(content["videos"].values(), truths, strict=True):
        assert video["segments"] == len(truth)
        assert list(video["events"]) == ["audio", "visual"]
        again = torch.zeros_like(truth)
        for m, entries in enumerate(video["events"].values()):
            for entry in entries:
                assert entry["probability"] == 0.75
                onset, offset = (round(2 * entry[name]) for name in ("onset", "offset"))
                again[onset:offset, m, ragged.events.index(entry["event"])] = True
        assert torch.equal(again, truth)


def scored(modalities: tuple[str, ...]) -> ParsingScores:
    truth = torch.rand(6, 8, len(modalities), 3, generator=torch.Generator().manual_seed(0)) > 0.5
    return score_timelines(~truth | (torch.arange(8) < 5)[:, None, None], truth, None, modalities)


def test_scores_have_the_name_of_their_protocol(tiny: ParsingSet, tmp_path: Path) -> None:
    assert tiny.test is not None
    assert tiny.test.truth is not None
    truth = tiny.test.padded(tiny.test.truth)
    scores = score_timelines(truth, truth)
    ParsingTask().write(tmp_path, tiny.test.names, parsed_truth(tiny.test), scores, tiny, "mine")
    content = json.loads((tmp_path / "scores.json").read_text())
    of_run = {"tested": None, "test_videos": digest_of(tiny.test.names)}
    assert content == json.loads(json.dumps(scores_as_dict(scores, tiny.events, "mine", of_run)))
    assert content["protocol"] == "mine"
    assert content["segment"]["audio"] == 100.0
    assert content["videos"] == {"listed": 12, "with_predictions": 12}
    assert list(content["per_event"]["event"]["audio"]) == list(tiny.events)
    assert (tmp_path / "predictions" / "visual.csv").is_file()


def test_the_printed_table_has_a_column_for_each_track(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(scored(("audio", "visual", "touch")), "a title")
    printed = capsys.readouterr().out
    assert printed.startswith("a title\n")
    for heading in ("Audio", "Visual", "Touch", "Audio-visual-touch", "Type@AV", "Event@AV"):
        assert heading in printed
    print_scores(scored(("audio", "visual")), "")
    assert "Audio-visual " in capsys.readouterr().out


# ---- pictures


def draw(tiny: ParsingSet, folder: Path, *names: str, keys: tuple[str, ...] = ()) -> list[str]:
    assert tiny.test is not None
    split = replace(tiny.test, names=(*names, *tiny.test.names[len(names) :]), keys=keys)
    write_pictures(folder, split, parsed_truth(tiny.test), tiny, len(names))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pictures_have_the_names_of_the_feature_files(tiny: ParsingSet, tmp_path: Path) -> None:
    assert tiny.test is not None
    long = f"CCCCCCCCCCC_0_{'9' * 300}"  # its key has eleven letters; its whole name is too long for a file
    names = ("AAAAAAAAAAA_0_10", "holiday", long)
    keys = ("AAAAAAAAAAA", "holiday", "CCCCCCCCCCC", *tiny.test.names[3:])
    written = draw(tiny, tmp_path, *names, keys=keys)
    assert written == ["pictures/AAAAAAAAAAA.png", "pictures/CCCCCCCCCCC.png", "pictures/holiday.png"]


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", ".."])
def test_no_name_leads_out_of_the_folder(tiny: ParsingSet, tmp_path: Path, name: str) -> None:
    """Videos of a reader that gives them no keys."""
    (written,) = draw(tiny, tmp_path / "out", name)
    assert Path(written).parent == Path("pictures")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "out" / written]


def test_names_that_a_table_cannot_hold_are_refused(tiny: ParsingSet, tmp_path: Path) -> None:
    assert tiny.test is not None
    with pytest.raises(InputError, match="cannot be written into a table"):
        write_predictions(tmp_path, ("a\tb", *tiny.test.names[1:]), parsed_truth(tiny.test), tiny)


@pytest.mark.parametrize(("columns", "folded"), [(200, False), (18, True)])
def test_a_terminal_that_is_too_narrow_gets_a_line_for_each_score(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, folded: bool
) -> None:
    scores = scored(("audio", "visual"))
    monkeypatch.setenv("COLUMNS", str(columns))
    print_scores(scores, "a title")  # to a pipe, which has no width
    assert f"│ {scores.segment['audio']:.1f} " in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_scores(scores, "a title")
    printed = capsys.readouterr().out
    assert ("│" in printed) == (not folded)
    if folded:
        assert f"segment\n  Audio {scores.segment['audio']:.1f}\n" in printed
        assert f"\n  Event@AV {scores.event['event_av']:.1f}\n" in printed
        assert all(len(line) <= 22 for line in printed.splitlines()[1:13])
