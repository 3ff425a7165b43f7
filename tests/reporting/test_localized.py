"""Reports of localization: what is read, compared, drawn and shown, against numbers by hand and literal loops."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.data.activitynet import Annotation, Interval, Results
from avvp_pl.data.known import THUMOS14_EVENTS, THUMOS14_TEST_VIDEOS, digest_of
from avvp_pl.errors import InputError
from avvp_pl.metrics.tal import score_detections
from avvp_pl.pages.page import MOST_POINTS
from avvp_pl.reporting.browser import Intervals
from avvp_pl.reporting.detected import browse_intervals, choose
from avvp_pl.reporting.events import frequencies, per_event
from avvp_pl.reporting.evidence import gather, write_report
from avvp_pl.reporting.localized import (
    FoundIntervals,
    IntervalReader,
    LocalizedVideos,
    Outcome,
    count,
    drawn_videos,
    of_localized_split,
    outcomes_of,
)
from avvp_pl.reporting.page import _browser
from avvp_pl.reporting.published import of_data, read_published
from avvp_pl.reporting.rows import tables
from avvp_pl.reporting.thresholds import by_tiou
from avvp_pl.reporting.workspace import write_workspace
from avvp_pl.runs.reading import LOCALIZATION, Run, by_setting, read_run, read_runs
from avvp_pl.tasks.localization import intervals_of
from avvp_pl.types import Detections, Instances
from tests.conftest import Command
from tests.reporting import made
from tests.reporting.made_localization import (
    EVENTS,
    LENGTHS,
    SECONDS,
    TRUST,
    TRUTH,
    detections,
    random_detections,
    read,
    run_folder,
    scoring,
)
from tests.small import REPOSITORY

NAMES = [
    f"map/{name}"
    for name in (*(f"0.{k}" for k in range(1, 8)), *(f"average_{r}" for r in ("0.1_0.5", "0.3_0.7", "0.1_0.7")))
]


@pytest.fixture
def videos() -> LocalizedVideos:
    return of_localized_split(read())


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds of the base, and one run of PPL."""
    for seed in (0, 1):
        run_folder(tmp_path / "runs" / f"mil{seed}", seed=seed)
    run_folder(tmp_path / "runs" / "ppl", "tal_ppl_soft", 0, random_detections(7))
    return tmp_path / "runs"


@pytest.fixture
def _outside() -> Iterator[None]:
    """A reader outside the package is found by its name, wherever the tests are run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY))
        yield


# What is read


def test_a_run_has_the_scores_of_its_task(tmp_path: Path) -> None:
    run = read_run(run_folder(tmp_path / "a"))
    assert run.task == LOCALIZATION
    assert list(run.scores) == NAMES
    assert run.protocol == "localization, seconds_210 (4 videos, 5 instances)"
    assert run.events == EVENTS
    assert set(run.per_event) == {"map"}
    assert run.per_event["map"]["0.5"]["Throw"] is None  # no instance
    assert list(read_published()["table5"]["PPL"]) == NAMES
    made_run = made.made_run(tmp_path / "b")
    assert made_run.task == "parsing"
    assert "average" in made_run.scores


def test_other_tasks_protocols_and_instances_never_share_a_table(tmp_path: Path) -> None:
    one = run_folder(tmp_path / "one")
    made.run_folder(tmp_path / "parsing", data="small")
    both = [one, tmp_path / "parsing"]
    with pytest.raises(
        InputError,
        match=r"^the runs are of two tasks, parsing and localization, .* protocol=common or protocol=localization, or",
    ):
        read_runs(both)
    assert [run.task for run in read_runs(both, "common")] == ["parsing"]
    assert [run.task for run in read_runs(both, "localization, seconds_210")] == [LOCALIZATION]
    with pytest.raises(
        InputError, match=r"no run was scored under this protocol \(common: 1 run, localization, seconds_210"
    ):
        read_runs(both, "localization, seconds_212")
    other = run_folder(tmp_path / "other", protocol={"name": "seconds_212", "excluded": []})
    with pytest.raises(
        InputError,
        match=r"several protocols .* or protocol=localization scoring@protocol.task.scoring=seconds_212, or evaluate",
    ):
        read_runs([one, other])
    less = run_folder(tmp_path / "less", protocol={"excluded": ["video 300"]})
    with pytest.raises(InputError, match="were scored on different instances"):
        read_runs([one, less])


# Rows and printed numbers


def test_every_printed_row_of_table_5_has_its_experiment() -> None:
    rows = {row.label: row for row in tables()["table5"]}
    assert set(read_published()["table5"]) <= set(rows)
    experiments = {
        "BaS-Net": "bas_net", "EM-MIL": "em_mil", "UM": "um", "CO2-Net": "co2_net", "ASM-Loc": "asm_loc",
        "DELU": "delu", "PPL": "tal_ppl_soft",
    }  # fmt: skip
    assert {label: rows[label].experiment for label in experiments} == experiments


def test_printed_numbers_stand_beside_thumos_itself_only(tmp_path: Path) -> None:
    run = read_run(run_folder(tmp_path / "a"))
    published = read_published()
    assert of_data(published, [run]) == {}

    def renamed(test_videos: str | None, target: str = "avvp_pl.data.thumos.load_thumos") -> Run:
        config = run.config.copy()
        config.data.source = {"_target_": target}
        per_event = {"map": {"0.5": dict.fromkeys(THUMOS14_EVENTS, 1.0)}}
        return replace(run, per_event=per_event, test_videos=test_videos, config=config)

    for known in THUMOS14_TEST_VIDEOS:
        assert list(of_data(published, [renamed(known)])) == ["table5"]
    assert of_data(published, [renamed("0f")]) == of_data(published, [renamed(None)]) == {}
    # a twin of THUMOS14 may have its annotation, but its features are generated
    assert of_data(published, [renamed(THUMOS14_TEST_VIDEOS[2], "avvp_pl.data.thumos_synthetic.generate")]) == {}


def test_the_checksums_are_those_of_the_names(shared: Path) -> None:
    with (shared / "thumos14" / "videos.csv").open(newline="") as file:
        names = {row["video"] for row in csv.DictReader(file) if "_test_" in row["video"]}
    wrong = {f"video_test_000{number}" for number in ("0270", "1292", "1496")}
    without: tuple[set[str], ...] = (set(), {"video_test_0001292"}, wrong)
    assert tuple(digest_of(names - left_out) for left_out in without) == THUMOS14_TEST_VIDEOS


# Outcomes


def outcomes(videos: LocalizedVideos, found: Detections, **protocol: Any) -> dict[tuple[int, int], tuple[Outcome, ...]]:
    intervals = tuple(intervals_of(found, videos.names, videos.events))
    intervals = tuple(one for one in intervals if one.event != "Throw")
    results = Results(videos.names, intervals)
    counted = scoring(**protocol).count(videos.annotation, results, Path("x"))
    return outcomes_of(counted, results, videos)


def test_outcomes_by_hand(videos: LocalizedVideos) -> None:
    """Diving has three instances, so the three best detections count; Jump has two."""
    found = detections(
        [
            (0, 0, 1.0, 3.2, 0.9),  # tIoU 2 / 2.2: exact
            (2, 0, 5.0, 6.0, 0.8),  # in a video without the event: false
            (0, 0, 1.0, 3.0, 0.7),  # its instance is taken: a wrong extent
            (0, 0, 4.0, 8.0, 0.1),  # perfect, but the fourth
            (3, 1, 100.0, 220.0, 0.5),  # 120 of 200: inexact
            (1, 1, 25.0, 45.0, 0.4),  # 5 of 35: a wrong extent
        ]
    )
    assert outcomes(videos, found) == {
        (0, 0): (
            Outcome("extent", 1.0, 3.0, 0.7),
            Outcome("exact", 1.0, 3.2, 0.9),
            Outcome("missed", 4.0, 8.0, None),
        ),
        (2, 0): (Outcome("false", 5.0, 6.0, 0.8),),
        (1, 0): (Outcome("missed", 50.0, 60.0, None),),
        (3, 1): (Outcome("inexact", 100.0, 220.0, 0.5),),
        (1, 1): (Outcome("missed", 10.0, 30.0, None), Outcome("extent", 25.0, 45.0, 0.4)),
    }


def test_videos_that_do_not_count_have_no_outcomes(videos: LocalizedVideos) -> None:
    found = outcomes(videos, detections([(0, 0, 1.0, 3.0, 0.9)]), excluded=["video 13"])
    assert found == {
        (1, 0): (Outcome("missed", 50.0, 60.0, None),),
        (1, 1): (Outcome("missed", 10.0, 30.0, None),),
        (3, 1): (Outcome("missed", 100.0, 300.0, None),),
    }


def test_hits_among_the_outcomes_are_those_of_a_loop(videos: LocalizedVideos) -> None:
    found = random_detections(3)
    by_event: dict[int, int] = {}
    for (_, event), of in outcomes(videos, found).items():
        by_event[event] = by_event.get(event, 0) + sum(one.kind in ("exact", "inexact") for one in of)
    for event in (0, 1):
        number = sum(one[1] == event for one in TRUTH)
        own = (found.events == event).nonzero()[:, 0]
        best = own[found.scores[own].argsort(descending=True)][:number]
        cut = Detections(*(column[best] for column in found))
        assert by_event.get(event, 0) == _hits(cut)


def _hits(found: Detections) -> int:
    """Count the hits at a tIoU of 0.5 in a loop; detections come by falling score."""
    test = read().test
    assert test is not None
    truth = test.instances
    assert truth is not None
    taken: set[int] = set()
    for video, event, (start, end) in zip(*(column.tolist() for column in found[:3]), strict=True):
        best: list[tuple[float, int]] = []
        for number, (v, e, (s, t)) in enumerate(zip(*(column.tolist() for column in truth), strict=True)):
            both = max(0.0, min(end, t) - max(start, s))
            share = both / ((end - start) + (t - s) - both)
            if (v, e) == (video, event) and share >= 0.5 and number not in taken:
                best.append((-share, number))
        if best:
            taken.add(min(best)[1])
    return len(taken)


# Intervals of differences


def test_differences_are_those_of_literal_resamples(runs: Path, videos: LocalizedVideos) -> None:
    settings = by_setting(read_runs([runs]))
    reader = IntervalReader(videos)
    for setting in settings:
        reader.read(setting, kept=True)
    base, ppl = settings
    found = reader.differences(base.label)
    assert list(found) == [ppl.label]
    assert list(found[ppl.label]) == NAMES
    drawn = drawn_videos(len(LENGTHS))
    assert drawn.shape == (1000, 4)
    assert bool((drawn.sum(1) == 4).all())
    literal: dict[str, list[float]] = {name: [] for name in NAMES}
    for counts in drawn[:150].tolist():
        means = []
        for setting in settings:
            scores = [_copied(count(run, videos)[0], counts) for run in setting.runs]
            means.append({name: sum(of[name] for of in scores) / len(scores) for name in NAMES})
        for name in NAMES:
            literal[name].append(means[1][name] - means[0][name])
    for name, values in literal.items():
        difference = found[ppl.label][name]
        assert difference.mean == pytest.approx(ppl.mean[name] - base.mean[name], abs=1e-9)
        resampled = (reader.resampled[ppl.label][name] - reader.resampled[base.label][name])[:150]
        assert resampled.tolist() == pytest.approx(values, abs=1e-9)
        every = (reader.resampled[ppl.label][name] - reader.resampled[base.label][name]).numpy()
        assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])))


def _copied(counted: Any, counts: list[int]) -> dict[str, float]:
    """Score as many copies of each video."""
    starts = np.concatenate([[0], np.cumsum(counts)])

    def rows(of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [(n, starts[v] + copy) for n, v in enumerate(of.tolist()) for copy in range(counts[v])]
        table = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    taken, videos = rows(counted.detections.videos)
    found = Detections(videos, *(column[taken] for column in counted.detections[1:]))
    taken, videos = rows(counted.truth.videos)
    truth = Instances(videos, *(column[taken] for column in counted.truth[1:]))
    return score_detections(found, truth, len(counted.events), sum(counts)).flat()


def test_detections_that_have_changed_since_are_refused(runs: Path, videos: LocalizedVideos) -> None:
    path = runs / "ppl" / "predictions" / "detections.json"
    shutil.copy(runs / "mil0" / "predictions" / "detections.json", path)
    reader = IntervalReader(videos)
    with pytest.raises(InputError, match=r"ppl: map/0.1 of the predictions is .* in scores.json, so one of them has"):
        reader.read(by_setting([read_run(runs / "ppl")])[0], kept=True)
    content = json.loads(path.read_text())
    content["results"]["stranger"] = content["results"].pop("video 13")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"stranger|video 13"):
        reader.read(by_setting([read_run(runs / "ppl")])[0], kept=True)


def test_a_protocol_of_somebody_else_is_not_built(tmp_path: Path, videos: LocalizedVideos) -> None:
    run = read_run(run_folder(tmp_path / "a", protocol__task__scoring___target_="os.system"))
    with pytest.raises(InputError, match=r"is no protocol of this package: os\.system"):
        count(run, videos)


# Figures and the page


@pytest.mark.usefixtures("_outside")
def test_a_whole_report(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs], trust=TRUST)
    assert evidence.notes == ()
    assert evidence.baseline is not None
    assert evidence.baseline.label == "tal_mil"  # of the task
    page = write_report(tmp_path / "report", evidence, figure3=["video 300"])
    with (tmp_path / "report" / "tables" / "table5.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["row"] for line in lines} == {"Base", "PPL"}
    assert {line["score"] for line in lines} == set(NAMES)
    assert not any(line["printed"] for line in lines)
    assert all(line["low"] and line["baseline"] == "Base" for line in lines if line["row"] == "PPL")
    text = (tmp_path / "report" / "tables" / "tables.md").read_text("utf-8")
    assert "| seeds | mAP 0.1 | mAP 0.2 |" in text
    assert "| mAP 0.1:0.7 |" in text
    assert "F1" not in text
    tex = (tmp_path / "report" / "tables" / "table5.tex").read_text("utf-8")
    assert "mAP at tIoU" in tex
    assert "0.1:0.7" in tex
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert {"by_tiou.svg", "per_event.svg", "losses.svg", "fig3_1.svg"} <= figures
    assert not {"learning.svg", "balance.svg", "fig3_2.svg"} & figures
    content = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text("utf-8"))
    assert content is not None
    browser = json.loads(content[1])["browser"]
    assert browser["timed"]
    assert [name for name, *_ in browser["videos"]] == [f"video {length}" for length in LENGTHS]
    (first, (track,)), *_ = browser["videos"][0][4]
    assert browser["events"][first] == "Diving"
    truth, groups, percents, likely = track
    assert truth == [[1.0, 3.0], [4.0, 8.0]]
    assert len(groups) == len(percents) == 2
    assert [len(points) for points in percents] == [2 * LENGTHS[0]] * 2
    assert len(likely) == 4
    last = browser["videos"][3][4][0][1][0]
    assert [len(points) for points in last[2]] == [2 * MOST_POINTS] * 2


def test_without_the_videos_there_are_tables_and_a_note(runs: Path, tmp_path: Path) -> None:
    evidence = gather([runs])
    assert evidence.videos is None
    write_report(tmp_path / "report", evidence)
    assert "without intervals" in (tmp_path / "report" / "tables" / "tables.md").read_text("utf-8")


@pytest.mark.usefixtures("_outside")
def test_a_video_that_does_not_exist_is_named(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'video 301' is not a video of the test split"):
        write_report(tmp_path / "report", gather([runs], trust=TRUST), figure3=["video 301"])


def found_of(rows: dict[tuple[int, int], tuple[Outcome, ...]], curves: torch.Tensor | None = None) -> FoundIntervals:
    likely = None if curves is None else torch.full((len(LENGTHS), len(EVENTS)), 0.5)
    return FoundIntervals(rows, curves, likely, frozenset(range(len(LENGTHS))), 0)


def test_videos_are_chosen_by_disagreement(videos: LocalizedVideos) -> None:
    hit, miss = Outcome("exact", 1.0, 3.0, 0.9), Outcome("missed", 1.0, 3.0, None)
    one = found_of({(0, 0): (hit,), (1, 1): (hit,), (3, 1): (miss,)})
    other = found_of({(0, 0): (miss,), (1, 1): (hit, miss, miss), (3, 1): (hit,)})
    assert [one.f1(0), other.f1(1), one.f1(2)] == [100.0, 50.0, 100.0]
    # videos 0 and 3 differ by 100 and have different events; video 1 has events of both
    assert choose(videos, {"a": one, "b": other}) == ["video 13", "video 700", "video 300"]
    assert choose(videos, {"a": one}) == ["video 700"]


def test_a_long_curve_keeps_its_maxima(videos: LocalizedVideos) -> None:
    curves = torch.zeros(sum(LENGTHS), len(EVENTS))
    curves[-1, 1] = 0.9
    curves[sum(LENGTHS[:3]) + 350, 1] = 0.7
    hit = Outcome("exact", 100.0, 300.00001, 0.98765)
    shown = browse_intervals(videos, {"a": found_of({(3, 1): (hit,)}, curves)}, {}, Path())
    (event,) = shown.videos[3].shown
    (track,) = event.tracks
    assert isinstance(track, Intervals)
    points = re.findall("..", track.percents[0])
    assert len(points) == MOST_POINTS
    assert sorted(points)[-3:] == ["00", "70", "90"]
    assert track.found == ((("C", 100.0, 300.0, 0.988),),)


def test_the_page_of_a_data_set_like_thumos_is_small() -> None:
    """200 videos of 400 segments on average, 20 events, six methods with 3,300 detections each."""
    rng = np.random.default_rng(0)
    lengths = tuple(rng.integers(13, 788, 200).tolist())
    names, events = tuple(f"v{n}" for n in range(200)), tuple(f"e{n}" for n in range(20))
    data = LocalizedVideos(names, events, ("fused",), lengths, SECONDS, made_annotation(names, events, rng))
    found = {}
    for k in range(6):
        places: dict[tuple[int, int], list[Outcome]] = {}
        for _ in range(3300):
            video = int(rng.integers(200))
            event = (video if rng.random() < 0.8 else int(rng.integers(20))) % 20
            places.setdefault((video, event), []).append(Outcome("false", 1.25, 100.55, 0.123))
        curves = torch.from_numpy(rng.random((sum(lengths), 20), dtype=np.float32))
        outcomes = {place: tuple(of) for place, of in places.items()}
        found[f"m{k}"] = FoundIntervals(outcomes, curves, torch.zeros(200, 20), frozenset(range(200)), 0)
    size = len(json.dumps(_browser(browse_intervals(data, found, {}, Path())), separators=(",", ":")))
    assert size < 25_000_000


def made_annotation(names: tuple[str, ...], events: tuple[str, ...], rng: np.random.Generator) -> Annotation:
    instances = tuple(
        Interval(names[v], events[v % 20], float(s), float(s) + 3.0, 1.0, "")
        for v, s in zip(rng.integers(200, size=3300).tolist(), rng.uniform(0, 100, 3300).tolist(), strict=True)
    )
    return Annotation(names, instances)


def test_numbers_of_figures_are_those_of_the_runs(runs: Path, videos: LocalizedVideos) -> None:
    settings = by_setting(read_runs([runs]))
    drawing = by_tiou(settings)
    assert drawing is not None
    rows = {(row["setting"], row["tiou"]): row["mean"] for row in drawing.numbers}
    assert len(rows) == 14
    assert rows["tal_mil", 0.5] == pytest.approx(sum(run.scores["map/0.5"] for run in settings[0].runs) / 2)
    assert frequencies(videos) == {"Diving": 2, "Jump": 2, "Throw": 0}
    drawing = per_event(settings, videos)
    assert drawing is not None
    assert {row["track"] for row in drawing.numbers} == {"0.3", "0.5", "0.7"}
    of = {(row["setting"], row["track"], row["event"]): row["mean"] for row in drawing.numbers}
    assert of["tal_ppl_soft", "0.5", "Diving"] == settings[1].runs[0].per_event["map"]["0.5"]["Diving"]
    assert of["tal_ppl_soft", "0.5", "Throw"] is None


def test_a_workspace_shows_what_is_logged(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    for path in write_workspace(tmp_path, "me/avvp_pl", runs=read_runs([runs])):
        text = path.read_text()
        assert "test/map/0.5" in text.replace("\\/", "/")
        assert "test/per_event_ap" in text
        for other in ("test/average", "segment/type_av", "per_event_f1", "F1 in percent", "timelines/1"):
            assert other not in text, other


@pytest.mark.usefixtures("_outside")
def test_report_command(command: Command, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.run_folder(runs / "parsing", data="small")
    chosen = [f"runs={runs}", "trust=[tests]", f"output={tmp_path / 'out'}"]
    assert command("report", *chosen) == 2
    assert "the runs are of two tasks" in capsys.readouterr().err
    assert command("report", *chosen, "protocol=localization") == 0
    assert "Table 5" in capsys.readouterr().out
    assert command("report", *chosen, "protocol=localization", "scoring@protocol.task.scoring=segments_212") == 2
    assert "protocol=localization, segments_212: no run was scored under this" in capsys.readouterr().err
