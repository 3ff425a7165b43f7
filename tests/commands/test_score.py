"""``score`` as a user runs it: tables of any system, of any modalities, and of videos of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.metrics import score_timelines
from tests.conftest import Command
from tests.small import scores

DENSE = "filename\tonset\toffset\tevent_labels\n"


def table(path: Path, rows: str) -> Path:
    path.write_text(DENSE + rows)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "videos.csv").write_text("filename\nv\nw\n")
    return tmp_path / "videos.csv"


def test_predictions_scored_against_themselves_are_perfect(command: Command, ppl: Path, tmp_path: Path) -> None:
    listed = np.load(ppl / "predictions" / "probabilities.npz")["names"].tolist()
    videos = tmp_path / "videos.csv"
    videos.write_text("filename\n" + "\n".join(listed) + "\n")
    tables = [
        f"{prefix}{m}={ppl / 'predictions' / f'{m}.csv'}" for m in ("audio", "visual") for prefix in ("", "predicted_")
    ]
    assert command("score", f"videos={videos}", *tables, f"output={tmp_path / 'self.json'}") == 0
    perfect = json.loads((tmp_path / "self.json").read_text())
    assert set(perfect["segment"].values()) | set(perfect["event"].values()) == {100.0}
    assert perfect["videos"] == scores(ppl)["videos"]
    assert perfect["protocol"] == "common"


def test_both_ways_to_name_the_tables_give_the_same(command: Command, videos: Path, tmp_path: Path) -> None:
    audio, visual = table(tmp_path / "a.csv", "v\t0\t5\tDog\n"), table(tmp_path / "v.csv", "v\t2\t4\tDog\n")
    found_audio, found_visual = (
        table(tmp_path / "fa.csv", "v\t1\t5\tDog\n"),
        table(tmp_path / "fv.csv", "w\t2\t4\tDog\n"),
    )
    short = [f"audio={audio}", f"visual={visual}", f"predicted_audio={found_audio}", f"predicted_visual={found_visual}"]
    # in the order of the annotation, whatever the order of the predictions
    long = [
        f"truth={{audio: {audio}, visual: {visual}}}",
        f"predicted={{visual: {found_visual}, audio: {found_audio}}}",
    ]
    for name, given in (("short", short), ("long", long)):
        assert command("score", f"videos={videos}", *given, f"output={tmp_path / name}.json") == 0
    assert (tmp_path / "short.json").read_bytes() == (tmp_path / "long.json").read_bytes()
    found = json.loads((tmp_path / "long.json").read_text())
    assert list(found["segment"]) == ["audio", "visual", "audio_visual", "type_av", "event_av"]
    assert found["segment"]["audio"] == pytest.approx((100 * 8 / 9 + 100) / 2)  # v: 2 * 4 / (4 + 5); w: nothing to find
    assert found["segment"]["visual"] == 0


def test_any_modalities_and_lengths(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three modalities and videos of 3 to 40 segments, compared with the metric of the padded timelines."""
    generator = np.random.default_rng(0)
    modalities, events, lengths = ("audio", "visual", "touch"), ("Dog", "Cat"), {"v": 3, "w": 17, "x": 40}
    (tmp_path / "classes.txt").write_text("Dog\nCat\n")
    (tmp_path / "videos.csv").write_text("filename\n" + "\n".join(lengths) + "\n")
    arrays = {}
    for kind in ("truth", "predicted"):
        arrays[kind] = np.zeros((3, 40, 3, 2), dtype=bool)
        for row, length in enumerate(lengths.values()):
            arrays[kind][row, :length] = generator.random((length, 3, 2)) < 0.5
        for m, modality in enumerate(modalities):
            cells = np.argwhere(arrays[kind][:, :, m])
            rows = [f"{list(lengths)[n]}\t{t}\t{t + 1}\t{events[c]}\n" for n, t, c in cells.tolist()]
            table(tmp_path / f"{kind}_{modality}.csv", "".join(rows))
    given = [
        f"{kind}={{" + ", ".join(f"{m}: {tmp_path}/{kind}_{m}.csv" for m in modalities) + "}"
        for kind in ("truth", "predicted")
    ]
    output = tmp_path / "scores.json"
    assert command("score", f"videos={tmp_path / 'videos.csv'}", *given, "segments=40", f"output={output}") == 0
    mask = torch.arange(40) < torch.tensor(list(lengths.values()))[:, None]
    truth, predicted = (torch.from_numpy(arrays[kind]) for kind in ("truth", "predicted"))
    expected = score_timelines(predicted, truth, mask, modalities)
    found = json.loads(output.read_text())
    assert list(found["segment"]) == ["audio", "visual", "touch", "audio_visual_touch", "type_av", "event_av"]
    assert found["segment"] == pytest.approx(expected.segment)
    assert found["event"] == pytest.approx(expected.event)
    printed = capfd.readouterr().out
    assert "Touch" in printed
    assert "Audio-visual-touch" in printed
    # as everywhere, rows that end beyond the longest video are cut off and counted
    assert command("score", f"videos={tmp_path / 'videos.csv'}", *given, "segments=30") == 0
    assert "rows that reach past the end (cut off)" in capfd.readouterr().out


BOTH_WAYS = {
    "audio": "a.csv",
    "visual": "v.csv",
    "predicted_audio": "a.csv",
    "predicted_visual": "v.csv",
    "truth": "{audio: a.csv, visual: v.csv}",
    "predicted": "{audio: a.csv, visual: v.csv}",
}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there is nothing to compare: give truth={audio: CSV, visual: CSV} and predicted="),
        (list(BOTH_WAYS), "audio and truth: give either truth= and predicted=, or audio=, visual=, predicted_audio="),
        (["truth", "predicted", "predicted_visual"], "predicted_visual and truth: give either truth= and predicted=,"),
        (["audio", "visual", "predicted_audio"], "predicted_visual must be given: predicted_visual=..."),
        (["truth"], "predicted must be given: predicted=..."),
        (["predicted"], "truth must be given: truth=..."),
        (["truth", {"predicted": "{audio: a.csv}"}], "predicted has no table for 'visual'."),
        (["predicted", {"truth": "{audio: a.csv}"}], "truth has no table for 'visual'."),
        (
            ["truth", {"predicted": "{audio: a.csv, visaul: v.csv}"}],
            "predicted has no table for 'visual'. Did you mean 'visaul'?",
        ),
        ([{"truth": "[a.csv]"}, "predicted"], "truth=['a.csv']: it must be "),
        ([{"truth": "{audio: 3}"}, {"predicted": "{audio: a.csv}"}], "it must be "),
    ],
)
def test_other_ways_are_one_clear_error(
    command: Command, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[Any], message: str
) -> None:
    for name in ("a.csv", "v.csv"):
        table(tmp_path / name, "v\t0\t5\tDog\n")
    pairs = [pair for one in given for pair in (one if isinstance(one, dict) else {one: BOTH_WAYS[one]}).items()]
    assert command("score", f"videos={videos}", *(f"{key}={value}" for key, value in pairs)) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
