"""``score task=localization``: detections of any system, under every protocol, and what is wrong with them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command

PERFECT = "mAP in percent, seconds_210 (2 videos, 3 instances); 3 instances, 3 detections"


def instance(start: float | str, end: float | str, label: str = "Diving", **more: Any) -> dict[str, Any]:
    return {"segment": [start, end], "label": label, **more}


def truth() -> dict[str, Any]:
    """Bounds are text or numbers; another subset has a video, too."""
    return {
        "database": {
            "v": {"subset": "test", "annotations": [instance("1.0", "2.5"), instance(4, 9.5, "Shotput")]},
            "w": {"subset": "test", "annotations": [instance(0, 3)]},
            "x": {"subset": "train", "annotations": [instance(0, 3, "HighJump")]},
        }
    }


def found() -> dict[str, Any]:
    """The instances, of which that of `w` has a lower score."""
    return {
        "version": "any",
        "results": {
            "v": [instance(1.0, 2.5, score=0.9), instance(4, 9.5, "Shotput", score=1)],
            "w": [instance("0", "3", score=0.5, more=None)],
        },
    }


Change = Callable[[dict[str, Any]], object]


class Files:
    """A truth and detections, to be damaged."""

    def __init__(self, root: Path) -> None:
        self.root, self.truth, self.found = root, root / "gt.json", root / "found.json"
        self.output = root / "scores.json"
        self.write(truth(), found())

    def write(self, true: Any, detected: Any) -> None:
        self.truth.write_text(json.dumps(true))
        self.found.write_text(json.dumps(detected))

    def arguments(self, *more: str) -> list[str]:
        return ["task=localization", f"truth={self.truth}", f"detections={self.found}", f"output={self.output}", *more]

    @property
    def scores(self) -> Any:
        return json.loads(self.output.read_text())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_truth_is_perfect(command: Command, files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("score", *files.arguments()) == 0
    assert set(files.scores["map"].values()) == {100.0}
    assert files.scores["per_event"]["0.5"] == {"Diving": 100.0, "Shotput": 100.0}
    assert files.scores["videos"] == {"listed": 2, "with_predictions": 2}
    # a truth of its own must not pass for that of THUMOS14
    assert files.scores["protocol"] == "seconds_210 (2 videos, 3 instances)"
    printed = capfd.readouterr().out
    assert "is defined for 210 videos with 3311 instances, and the truth has 2 with 3" in printed
    assert "0.1:0.5" in printed
    assert PERFECT in printed


def test_any_truth_under_a_name_of_its_own(command: Command, files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    own = ["scoring.name=mine", "scoring.videos=null", "scoring.instances=null", "scoring.excluded=[w]"]
    assert command("score", *files.arguments(*own)) == 0
    assert files.scores["protocol"] == "mine"
    assert files.scores["instances"] == 2
    printed = capfd.readouterr().out
    assert "WARNING" not in printed
    assert "detections dropped by the protocol: 1 in videos that do not count" in printed


def test_another_subset(command: Command, files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    detected = {"results": {"x": [instance(0, 3, "HighJump", score=1)], "v": [instance(0, 3, "HighJump", score=2)]}}
    files.write(truth(), detected)
    assert command("score", *files.arguments("subset=train")) == 0
    assert files.scores["map"]["0.5"] == 50  # a false positive in a video of another subset
    assert files.scores["detections"]["in_other_videos"] == 1
    printed = capfd.readouterr().out
    assert "1 detections are in 1 videos that are not scored, so they are false positives, such as 1 in 'v'" in printed


def test_videos_without_detections_are_counted(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    detected = found()
    del detected["results"]["w"]
    files.write(truth(), detected)
    assert command("score", *files.arguments()) == 0
    assert files.scores["videos"] == {"listed": 2, "with_predictions": 1}
    assert files.scores["map"]["0.1"] == 75
    printed = capfd.readouterr().out
    assert "1 scored videos have no detections, such as 'w'; their instances count as missed" in printed
    assert "1 of 2 videos have detections" in printed
    files.write(truth(), {"results": {}})
    assert command("score", *files.arguments()) == 0
    assert files.scores["map"]["0.1"] == 0


def test_several_files_of_truth(command: Command, files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    more = files.root / "more.json"
    more.write_text(json.dumps({"database": {"y": {"subset": "test", "annotations": [instance(0, 3)]}}}))
    both = [*files.arguments()[:1], f"truth=[{files.truth},{more}]", *files.arguments()[2:]]
    assert command("score", *both) == 0
    assert files.scores["instances"] == 4
    more.write_text(json.dumps({"database": {"v": {"subset": "test", "annotations": []}}}))
    assert command("score", *both) == 2
    assert f"{more}: database['v'] is in {files.truth}, too; remove one of them" in capfd.readouterr().err


def entry(**changed: Any) -> Change:
    """Change the first detection of `v`; None removes a key."""

    def change(detected: dict[str, Any]) -> None:
        first = detected["results"]["v"][0]
        for key, value in changed.items():
            if value is None:
                del first[key]
            else:
                first[key] = value

    return change


def put(*place: Any, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        *above, last = place
        node: Any = content
        for name in above:
            node = node[name]
        node[last] = value

    return change


TIMES = "both must be times in seconds from the start of the video, 0 or more"
DETECTIONS: dict[str, tuple[Change, str]] = {
    "no segment": (entry(segment=None), "results['v'][0] has no 'segment'; it must be such as {\"segment\":"),
    "no label": (entry(label=None), "results['v'][0] has no 'label'"),
    "no score": (entry(score=None), "results['v'][0] has no 'score'"),
    "a score called otherwise": (entry(score=None, scores=0.5), "has no 'score'; it must be such as"),
    "a score as text": (entry(score="0.9"), "results['v'][0]['score'] is '0.9'; it must be a finite number"),
    "a score that is NaN": (entry(score=float("nan")), "['score'] is NaN; it must be a finite number"),
    "an infinite score": (entry(score=float("-inf")), "['score'] is -Infinity; it must be a finite number"),
    "a score beyond all numbers": (entry(score=10**400), "it must be a finite number"),
    "a score that is true": (entry(score=True), "['score'] is true; it must be a finite number"),
    "a score in a list": (entry(score=[0.5]), "['score'] is [0.5]; it must be a finite number"),
    "a bound that is NaN": (entry(segment=[float("nan"), 2]), f"['segment'] is [NaN, 2]; {TIMES}"),
    "an infinite bound": (entry(segment=[1, float("inf")]), f"['segment'] is [1, Infinity]; {TIMES}"),
    "a negative bound": (entry(segment=[-0.5, 2]), f"['segment'] is [-0.5, 2]; {TIMES}"),
    "a bound that is no number": (entry(segment=["one", 2]), f"['segment'] is ['one', 2]; {TIMES}"),
    "a bound that is null": (entry(segment=[0, None]), f"is [0, null]; {TIMES}"),
    "a reversed interval": (entry(segment=[2.5, 1.0]), "['segment'] is [2.5, 1.0]; it must end after its start"),
    "an empty interval": (entry(segment=[1, 1]), "['segment'] is [1, 1]; it must end after its start"),
    "one bound": (entry(segment=[1]), "['segment'] is [1]; it must be a list of two times in seconds, [START, END]"),
    "three bounds": (entry(segment=[1, 2, 3]), "it must be a list of two times in seconds"),
    "bounds in a mapping": (entry(segment={"start": 1, "end": 2}), "it must be a list of two times in seconds"),
    "a segment in words": (entry(segment="1-2"), "['segment'] is '1-2'; it must be a list of two times"),
    "an unknown label": (
        entry(label="Divng"),
        "results['v'][0]['label'] is 'Divng', which is none of the 2 events of the scored instances. "
        "Did you mean 'Diving'?",
    ),
    "a label of another subset": (entry(label="HighJump"), "is none of the 2 events of the scored instances"),
    "a label that is a number": (entry(label=7), "['label'] is 7; it must be the name of an event"),
    "an empty label": (entry(label=" "), "['label'] is ' '; it must be the name of an event"),
    "an entry that is a list": (put("results", "v", 0, value=[1, 2]), "results['v'][0] is a list; it must be {"),
    "entries that are a mapping": (
        put("results", "v", value={"segment": [1, 2]}),
        "results['v'] is a mapping; it must be a list of entries such as {",
    ),
    "entries that are null": (put("results", "v", value=None), "results['v'] is null; it must be a list of entries"),
    "results that are a list": (
        put("results", value=[instance(0, 1, score=1)]),
        "results is a list; it must be a mapping from the names of videos",
    ),
    "no results": (lambda detected: detected.pop("results"), "there is no 'results' at its top"),
    "results called otherwise": (
        lambda detected: detected.update(result=detected.pop("results")),
        "which must have the detections of each video. Did you mean 'result'?",
    ),
    "only other videos": (
        put("results", value={"V": [instance(0, 1, score=1)]}),
        "none of its videos is scored: it has 'V', and the truth has 'v'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTIONS)
def test_wrong_detections_are_one_clear_error(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    change, message = DETECTIONS[name]
    detected = found()
    change(detected)
    files.write(truth(), detected)
    assert_refused(command, files, capfd, f"{files.found}: ", message)


def assert_refused(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], *messages: str, more: tuple[str, ...] = ()
) -> None:
    assert command("score", *files.arguments(*more)) == 2
    error = capfd.readouterr().err
    assert all(message in error for message in messages), error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    assert not files.output.exists()


BYTES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "line 1: this is not JSON (Expecting value, column 1)"),
    "a cut file": (b'{"results": {\n"v": [', "line 2: this is not JSON (Expecting value, column 7)"),
    "a table": (b"video,start,end,label,score\nv,0,1,Diving,1\n", "line 1: this is not JSON"),
    "a list": (b"[]", "there is no 'results' at its top"),
    "a number": (b"3", "there is no 'results' at its top"),
    "no text": (b'{"results": \xff}', "line 1: this is not UTF-8 text; save the file as UTF-8"),
    "too deep": (b"[" * 100_000, "its brackets are nested too deep"),
    "a number of too many digits": (b'{"results": ' + b"9" * 5000 + b"}", "this is not JSON that can be read"),
    "a video twice": (b'{"results": {"v": [], "w": [], "v": []}}', "the key 'v' stands twice in the same braces"),
    "a video twice in two spellings": (
        '{"results": {"Cafe\u0301": [], "Caf\xe9": []}}'.encode(),
        "stands twice in the same braces; remove one or join them",
    ),
    "a score twice": (
        b'{"results": {"v": [{"segment": [0, 1], "label": "Diving", "score": 1, "score": 2}]}}',
        "the key 'score' stands twice in the same braces",
    ),
}


@pytest.mark.parametrize("name", BYTES)
def test_what_is_not_json_is_one_clear_error(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    content, message = BYTES[name]
    files.found.write_bytes(content)
    assert_refused(command, files, capfd, str(files.found), message)
    files.write(truth(), found())
    files.truth.write_bytes(content.replace(b"results", b"database"))
    assert_refused(command, files, capfd, str(files.truth), message.replace("results", "database"))


TRUTHS: dict[str, tuple[Change, str]] = {
    "no database": (lambda true: true.pop("database"), "there is no 'database' at its top, which must have the"),
    "no subset": (lambda true: true["database"]["v"].pop("subset"), "database['v'] has no 'subset'."),
    "no annotations": (lambda true: true["database"]["v"].pop("annotations"), "database['v'] has no 'annotations'."),
    "a subset that is a number": (put("database", "v", "subset", value=3), "['subset'] is 3; it must be text, such as"),
    "a video that is a list": (put("database", "v", value=[]), "database['v'] is a list; it must be {"),
    "annotations that are a mapping": (
        put("database", "v", "annotations", value={}),
        "database['v']['annotations'] is a mapping; it must be a list of entries such as {",
    ),
    "an empty instance": (
        put("database", "v", "annotations", 0, "segment", value=["2.5", "2.5"]),
        "database['v']['annotations'][0]['segment'] is ['2.5', '2.5']; it must end after its start",
    ),
    "no instance": (
        lambda true: [entry.update(annotations=[]) for entry in true["database"].values()],
        "the videos of the subset 'test' have no instances",
    ),
    "another subset": (
        lambda true: [entry.update(subset="testing") for entry in true["database"].values()],
        "no video is of the subset 'test': the subsets are 'testing' (3 videos); give subset=NAME. "
        "Did you mean 'testing'?",
    ),
    "no video": (put("database", value={}), "no video is of the subset 'test': there is no video"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
def test_a_wrong_truth_is_one_clear_error(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    change, message = TRUTHS[name]
    true = truth()
    change(true)
    files.write(true, found())
    assert_refused(command, files, capfd, f"{files.truth}: ", message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("truth=null",), "truth must be given: truth=FILE"),
        (("detections=null",), "detections must be given: detections=FILE"),
        (("truth={audio: a.csv}",), "truth: with task=localization it must be the path of a JSON file, or a list"),
        (("truth=nowhere.json",), "nowhere.json: no such file"),
        (("task=detection",), "task=detection: it must be one of parsing, localization"),
        (("segments=20",), "segments has no effect with task=localization; it is a setting of task=parsing"),
        (("task=parsing",), "detections has no effect with task=parsing; it is a setting of task=localization"),
        (("ambiguous=a.csv",), "ambiguous has no effect with scoring=seconds_210, which ignores ambiguous time"),
        (("scoring=seconds_212",), "scoring=seconds_212: detections in ambiguous time do not count; give ambiguous="),
        (("scoring=seconds_211",), "there is no scoring 'seconds_211'. Did you mean 'seconds_212'?"),
        (("scoring.unit=segments",), "scoring.unit makes another protocol; give it a name, too: scoring.name=NAME"),
        (("scoring.name=a", "scoring.excluded=[v,w]"), "scoring=a: all instances are in videos that do not count"),
    ],
)
def test_settings_that_do_not_fit(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], given: tuple[str, ...], message: str
) -> None:
    names = {one.partition("=")[0] for one in given}
    arguments = [one for one in files.arguments() if one.partition("=")[0] not in names]
    assert command("score", *arguments, *given) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_settings_of_localization_without_its_task(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    for given in ("scoring=seconds_212", "subset=test", "scoring.unit=segments"):
        assert command("score", "videos=v.csv", given) == 2
        assert "has no effect with task=parsing; it is a setting of task=localization" in capfd.readouterr().err
    assert command("score", "audio=a.csv") == 2
    assert "videos must be given: videos=..." in capfd.readouterr().err
    assert command("score", "videos=v.csv", "truth=gt.json", "predicted={audio: a.csv}") == 2
    assert "truth=gt.json: it must be a mapping such as {audio: CSV, visual: CSV}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,start\nv,1\n", "the header must have the columns video,start,end; end is missing"),
        ("video,start,end\nv,1\n", "line 2: the row has 2 cells, but the header has 3"),
        ("video,start,end\nv,2,1\n", "line 2: is ['2', '1']; it must end after its start"),
        ("v 1 2\nw 1\n", "line 2: 'w 1' must be a video, a start and an end, with spaces between"),
        ("", "the file has no intervals"),
    ],
)
def test_wrong_ambiguous_time(
    command: Command, files: Files, capfd: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = files.root / "ambiguous.csv"
    path.write_text(content)
    assert_refused(command, files, capfd, message, more=("scoring=seconds_212", f"ambiguous={path}"))


@pytest.mark.parametrize("layout", ["video,start,end\n{},{},{}\n", "{}  {} {}\n"])
@pytest.mark.parametrize(
    ("start", "end", "kept"), [(2.5, 3.5, 3), (2.4, 3.5, 2), (0.5, 1.0, 3), (0.5, 1.1, 2), (3.0, 4.5, 2)]
)
def test_whatever_overlaps_ambiguous_time_is_dropped(
    command: Command, files: Files, layout: str, start: float, end: float, kept: int
) -> None:
    """Detections of any event, and in this video only; bounds that only touch do not overlap."""
    path = files.root / "ambiguous"
    path.write_text(layout.format("v", start, end))
    assert command("score", *files.arguments("scoring=seconds_212", f"ambiguous={path}")) == 0
    assert files.scores["detections"]["scored"] == kept
    assert files.scores["detections"]["dropped"] == {
        "excluded_videos": 0, "ambiguous": 3 - kept, "single_segment": 0,
    }  # fmt: skip


def test_segments_and_the_shortest_detections(command: Command, files: Files) -> None:
    """With 25 frames a second and 16 a segment, 1 to 2.5 s are segments 1.5625 to 3.90625, rounded 2 to 4."""
    detected = {"results": {"v": [instance(1.0, 2.5, score=1), instance(4, 9.5, "Shotput", score=1)], "w": []}}
    detected["results"]["w"] = [instance(0.1, 0.7, score=2)]  # one segment, once it is rounded
    files.write(truth(), detected)
    (files.root / "a").write_text("z 0 1\n")
    more = [f"ambiguous={files.root / 'a'}"]
    assert command("score", *files.arguments("scoring=segments_212", *more)) == 0
    # of the true 2 to 4, 1.5625 to 3.90625 has 1.90625 in 2.4375: 0.78
    assert files.scores["per_event"]["0.7"]["Diving"] == 25
    assert command("score", *files.arguments("scoring=segments_212_long", *more)) == 0
    assert files.scores["per_event"]["0.7"]["Diving"] == 50
    assert files.scores["detections"]["dropped"]["single_segment"] == 1


# THUMOS14: what each protocol is worth on one file of real detections

REAL = {
    "seconds_210": [69.68, 63.74, 54.63, 44.89, 34.10, 23.39, 12.47, 43.27],
    "seconds_210_of_212": [68.93, 63.02, 53.98, 44.33, 33.64, 23.03, 12.24, 42.74],
    "seconds_212": [68.41, 62.51, 53.68, 44.09, 33.51, 22.93, 12.22, 42.48],
    "segments_212": [67.98, 62.74, 53.97, 45.46, 35.92, 24.53, 12.34, 43.28],
    "segments_212_long": [68.60, 63.30, 54.44, 46.15, 36.49, 25.16, 12.72, 43.84],
}


@pytest.fixture
def all_of_thumos(shared: Path, tmp_path: Path) -> list[str]:
    """The truth of 212 videos, in two files."""
    dropped: dict[str, Any] = {}
    with (shared / "thumos14" / "dropped_segments.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            annotations = dropped.setdefault(row["video"], {"subset": "test", "annotations": []})["annotations"]
            annotations.append(instance(row["start"], row["end"], row["label"]))
    (tmp_path / "dropped.json").write_text(json.dumps({"database": dropped}))
    return [str(shared / "thumos14" / "gt.json"), str(tmp_path / "dropped.json")]


@pytest.mark.parametrize("scoring", REAL)
def test_real_detections(
    command: Command,
    shared: Path,
    all_of_thumos: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    scoring: str,
) -> None:
    of_thumos = shared / "thumos14"
    arguments = [f"scoring={scoring}", f"detections={of_thumos / 'detections_real.json'}"]
    if scoring not in {"seconds_210", "seconds_210_of_212"}:
        arguments.append(f"ambiguous={of_thumos / 'ambiguous_test.csv'}")
    true = all_of_thumos if "212" in scoring else all_of_thumos[:1]
    arguments += [f"truth=[{','.join(true)}]", f"output={tmp_path / 'scores.json'}"]
    assert command("score", "task=localization", *arguments) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    values = [*scores["map"].values()]
    assert [round(value, 2) for value in [*values[:7], scores["map"]["average_0.1_0.7"]]] == REAL[scoring]
    assert scores["protocol"] == scoring
    assert "WARNING" not in capfd.readouterr().out


def test_the_best_that_is_possible_with_detections_in_210_of_212_videos(
    command: Command, shared: Path, all_of_thumos: list[str], tmp_path: Path
) -> None:
    database = json.loads((shared / "thumos14" / "gt.json").read_text())["database"]
    results = {
        video: [{**one, "score": 1.0} for one in entry["annotations"]]
        for video, entry in database.items()
        if entry["subset"] == "test"
    }
    (tmp_path / "perfect.json").write_text(json.dumps({"results": results}))
    given = ["scoring=seconds_210_of_212", f"truth=[{','.join(all_of_thumos)}]"]
    given += [f"detections={tmp_path / 'perfect.json'}", f"output={tmp_path / 'scores.json'}"]
    assert command("score", "task=localization", *given) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["map"]
    assert {round(value, 2) for value in found.values()} == {98.87}
