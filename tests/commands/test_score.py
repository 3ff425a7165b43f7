"""``score`` as a user runs it: tables of any system, of any modalities, and of videos of any length."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.metrics import score_timelines
from tests.conftest import Command
from tests.small import environment, of_shell, scores

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
    assert command("score", f"videos={tmp_path / 'videos.csv'}", *given, "segments=30") == 2
    assert "ends after the 30 segments of 1 s, so it would be cut off; give segments=40" in capfd.readouterr().err


def test_one_modality(command: Command, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth, found = table(tmp_path / "t.csv", "v\t0\t5\tDog\n"), table(tmp_path / "p.csv", "v\t1\t5\tDog\n")
    given = [f"truth={{audio: {truth}}}", f"predicted={{audio: {found}}}", f"output={tmp_path / 'scores.json'}"]
    assert command("score", f"videos={videos}", *given) == 0
    scored = json.loads((tmp_path / "scores.json").read_text())
    assert list(scored["segment"]) == ["audio", "type_av", "event_av"]
    assert scored["segment"]["audio"] == pytest.approx((100 * 8 / 9 + 100) / 2)
    printed = capfd.readouterr().out
    assert "listed videos without any annotation (no event counts as true), such as 'w' in line 3" in printed
    assert "1 listed videos have no predictions; they count as empty, such as 'w' in line 3" in printed


def test_segments_of_another_duration(
    command: Command, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Truncated to whole seconds, the prediction would be perfect."""
    truth = table(tmp_path / "t.csv", "v\t0\t1.5\tDog\nw\t0\t2\tDog\n")
    found = table(tmp_path / "p.csv", "v\t0\t1\tDog\nw\t0\t2.5\tDog\n")
    given = [f"truth={{audio: {truth}}}", f"predicted={{audio: {found}}}", f"output={tmp_path / 'scores.json'}"]
    assert command("score", f"videos={videos}", *given) == 2
    error = capfd.readouterr().err
    assert f"{truth}, line 2: the event of 'v' from 0 to 1.5 s does not start and end with a segment of 1 s" in error
    assert "give segment_seconds=0.5 segments=20, which fit all rows" in error
    assert not (tmp_path / "scores.json").exists()
    assert command("score", f"videos={videos}", *given, "segment_seconds=0.5", "segments=20") == 0
    scored = json.loads((tmp_path / "scores.json").read_text())
    assert scored["segment"]["audio"] == pytest.approx((100 * 4 / 5 + 100 * 8 / 9) / 2)


def test_tables_of_other_videos_have_no_score(
    command: Command, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing predicted would be compared with nothing true, which is perfect."""
    here, other = table(tmp_path / "t.csv", "v\t0\t5\tDog\n"), table(tmp_path / "p.csv", "V\t5\t9\tDog\n")
    for truth, found in ((here, other), (other, here), (other, other)):
        given = [f"truth={{audio: {truth}}}", f"predicted={{audio: {found}}}", f"output={tmp_path / 'scores.json'}"]
        assert command("score", f"videos={videos}", *given) == 2
        error = capfd.readouterr().err
        assert f"{other}: names none of the 2 listed videos: it has 'V' in line 2, and {videos} has " in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize("with_classes", [False, True])
def test_events_with_commas(command: Command, videos: Path, tmp_path: Path, with_classes: bool) -> None:
    rows = "v\t0\t5\tMale speech, man speaking\nw\t0\t5\tDog\n"
    path = table(tmp_path / "t.csv", rows)
    given = [f"truth={{audio: {path}}}", f"predicted={{audio: {path}}}", f"output={tmp_path / 'scores.json'}"]
    if with_classes:
        (tmp_path / "mine.txt").write_text("Male speech, man speaking\nDog\n")
        given.append(f"classes={tmp_path / 'mine.txt'}")
    assert command("score", f"videos={videos}", *given) == 0
    per_event = json.loads((tmp_path / "scores.json").read_text())["per_event"]["segment"]["audio"]
    assert per_event == {"Dog": 100.0, "Male speech, man speaking": 100.0}


def test_composed_and_decomposed_names(command: Command, tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("filename\nCaf\xe9_1\n", encoding="utf-8")
    truth, found = tmp_path / "t.csv", tmp_path / "p.csv"
    truth.write_text(DENSE + "Caf\xe9_1\t0\t5\tB\xe4r\n", encoding="utf-8")
    found.write_text(DENSE + '"Cafe\u0301_1"\t0\t5\tBa\u0308r\n', encoding="utf-8")
    given = [f"truth={{audio: {truth}}}", f"predicted={{audio: {found}}}", f"output={tmp_path / 'scores.json'}"]
    assert command("score", f"videos={tmp_path / 'videos.csv'}", *given) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["per_event"]["event"]["audio"] == {"B\xe4r": 100.0}


def test_a_total_below_the_list_is_no_video(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would be a perfect one."""
    names = [f"clip_{number}" for number in range(6)]
    truth = table(tmp_path / "t.csv", "".join(f"{name}\t0\t5\tDog\n" for name in names[1:]))
    found = table(tmp_path / "p.csv", "".join(f"{name}\t4\t5\tDog\n" for name in names[2:]))
    given = [f"truth={{audio: {truth}}}", f"predicted={{audio: {found}}}", f"output={tmp_path / 'scores.json'}"]
    videos = tmp_path / "videos.csv"
    for total in ("Total\t6", "6 videos\t"):
        videos.write_text("filename\tevent_labels\n" + "".join(f"{name}\tDog\n" for name in names) + f"{total}\n")
        assert command("score", f"videos={videos}", *given) == 2
        error = capfd.readouterr().err
        assert f"{videos}: {total.split()[0]}" in error.replace("'", "")
        assert "in line 8 is in none of the tables and unlike the videos that are" in error
        assert not (tmp_path / "scores.json").exists()
    table(
        tmp_path / "t.csv", truth.read_text().partition("\n")[2] + "6 videos\t\t\t\n"
    )  # the annotation says it is one
    assert command("score", f"videos={videos}", *given) == 0


def test_predictions_of_each_modality_are_counted(
    command: Command, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Together, both videos have predictions; and a table that has none is a warning."""
    truth = table(tmp_path / "t.csv", "v\t0\t5\tDog\nw\t0\t2\tDog\n")
    found, nothing = table(tmp_path / "p.csv", "v\t0\t5\tDog\nw\t0\t5\tDog\n"), table(tmp_path / "n.csv", "")
    true = f"truth={{audio: {truth}, visual: {truth}}}"
    assert command("score", f"videos={videos}", true, f"predicted={{audio: {found}, visual: {nothing}}}") == 0
    printed = capfd.readouterr().out
    assert "2 of 2 videos have predictions\naudio: 2 of 2, visual: 0 of 2\n" in printed
    assert f"1 x {nothing}: tables that have no rows (no video has an event there), such as n.csv" in printed
    assert command("score", f"videos={videos}", true, f"predicted={{audio: {found}, visual: {found}}}") == 0
    assert "audio: 2 of 2" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("redirected", "writes", "code"),
    [(">/dev/full", False, 1), (">/dev/full", True, 0), ("| head -c 1 >/dev/null", False, 0), ("", False, 0)],
)
def test_a_result_that_cannot_be_printed_is_lost(
    videos: Path, tmp_path: Path, redirected: str, writes: bool, code: int
) -> None:
    """Unless it is in a file; and a reader that leaves, as ``head`` does, has read enough."""
    if "full" in redirected and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    path = table(tmp_path / "t.csv", "v\t0\t5\tDog\n")
    output = [f"output={tmp_path / 'scores.json'}"] if writes else []
    line = of_shell("score", f"videos={videos}", f"truth={{audio: {path}}}", f"predicted={{audio: {path}}}", *output)
    script = f"set -o pipefail; {shlex.join(line)} {redirected}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert ("and is lost" in done.stderr) == ("full" in redirected)
    assert (tmp_path / "scores.json").exists() == writes


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
