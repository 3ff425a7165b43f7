from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.runs.sweeps import (
    Failure,
    SweepSummary,
    check_job,
    conclude,
    markdown_table,
    read_runs,
    record_failure,
    write_summary,
)
from tests.reporting.made import write_scores


def job(folder: Path, number: int, overrides: list[str], score: float | None) -> None:
    path = folder / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "overrides.yaml").write_text("".join(f"- {override}\n" for override in overrides))
    seed = next(override.removeprefix("seed=") for override in overrides if override.startswith("seed="))
    (path / "config.yaml").write_text(f"name: mil\nseed: {seed}\ndata: {{name: synthetic}}\n")
    if score is not None:
        write_scores(path, score)


def fail(folder: Path, message: str) -> None:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        record_failure(folder, f"RuntimeError: {message}", error)


def test_settings_that_differ_are_rows_and_seeds_are_averaged(tmp_path: Path) -> None:
    jobs = [("0.2", 0, 10.0), ("0.2", 1, 20.0), ("0.8", 0, 3.0), ("0.8", 1, 3.0)]
    for number, (noise, seed, score) in enumerate(jobs):
        job(tmp_path, number, ["+experiment=mil", f"data.noise={noise}", "threads=1", f"seed={seed}"], score)
    runs, failures = read_runs(tmp_path)
    assert failures == []
    lines = markdown_table(runs).splitlines()
    assert lines[2].startswith("| data.noise=0.2 | 2 | 15.0 ± 7.1 |")
    assert lines[3].startswith("| data.noise=0.8 | 2 | 3.0 ± 0.0 |")
    assert len(lines) == 4


def test_a_seed_counts_once(tmp_path: Path) -> None:
    """A run that was made twice would make a mean more certain than it is; a report uses one of the two as well."""
    for number, (seed, score) in enumerate([(1, 10.0), (1, 10.0), (2, 20.0), (2, 30.0)]):
        job(tmp_path, number, ["+experiment=mil", f"seed={seed}"], score)
        os.utime(tmp_path / str(number) / "scores.json", (0, 100 + number))
    assert write_summary(tmp_path) == []
    said = (tmp_path / "summary.md").read_text()
    (row,) = [line for line in said.splitlines() if line.startswith("| all ")]
    assert row.startswith("| all | 2 | 20.0 ± 14.1 |")
    assert row.endswith("| 1, 3 |")
    repeated = said.partition("Repeated:\n")[2].splitlines()
    assert [("are the same run" in line, "differ in their scores" in line) for line in repeated] == [
        (True, False),
        (False, True),
    ]
    assert all("the training is used, or else the newer one" in line for line in repeated)


def test_a_row_says_that_its_runs_never_learned_from_pseudo_labels(tmp_path: Path) -> None:
    for number, taught in enumerate((False, True, None)):
        job(tmp_path, number, ["+experiment=mil", f"data.noise={number}", "seed=0"], None)
        tested = {"epoch": 0, "monitor": None, "score": None, "pseudo_labels": taught}
        write_scores(tmp_path / str(number), 50.0, tested=tested)
    assert write_summary(tmp_path) == []
    rows = (tmp_path / "summary.md").read_text().splitlines()[2:]
    said = [row.split("|")[1].strip() for row in rows]
    assert said == ["data.noise=0 (tested before any pseudo labels)", "data.noise=1", "data.noise=2"]


def written_by(path: Path, scores: dict[str, float]) -> None:
    """Let a job have these inferences, each with a score: the files of the first are in its own folder."""
    inferences = ", ".join(f"{name}: {{_target_: x}}" for name in scores)
    with (path / "config.yaml").open("a") as file:
        file.write(f"inference: {{{inferences}}}\n")
    for number, (name, score) in enumerate(scores.items()):
        (path / name).mkdir(exist_ok=True)
        write_scores(path if number == 0 else path / name, score)


def selected(job: Path, value: float, mode: str = "max") -> None:
    """Let the tested epoch of a job have been selected by this validation score."""
    with (job / "config.yaml").open("a") as file:
        file.write(f"protocol: {{selection: {{monitor: val/segment/type_av, mode: {mode}}}}}\n")
    tested = {"epoch": 0, "monitor": "val/segment/type_av", "score": value, "pseudo_labels": None}
    write_scores(job, 10.0, tested=tested)


def test_the_score_that_selects_and_the_folders_stand_beside_the_test(tmp_path: Path) -> None:
    for number, (noise, seed, value) in enumerate((("0.2", 0, 3.0), ("0.2", 1, 5.0), ("0.8", 0, 2.0))):
        job(tmp_path, number, [f"data.noise={noise}", f"seed={seed}"], None)
        selected(tmp_path / str(number), value)
    write_summary(tmp_path)
    heading, _, *rows = (tmp_path / "summary.md").read_text().splitlines()
    assert heading.startswith("| | seeds | val seg Type | ")
    assert heading.endswith(" | folder |")
    assert rows[0].startswith("| data.noise=0.2 | 2 | 4.0 ± 1.4 | 10.0 ")
    assert rows[0].endswith(" | 0, 1 |")
    assert rows[1].startswith("| data.noise=0.8 | 1 | 2.0 | ")


@pytest.mark.parametrize(("mode", "order"), [("max", [2, 0, 1]), ("min", [1, 0, 2])])
def test_a_search_is_sorted_by_the_score_that_selects(tmp_path: Path, mode: str, order: list[int]) -> None:
    for number, (gamma, value) in enumerate((("0.71234567", 2.0), ("0.7123", 1.0), ("0.3", 3.0), ("0.4", None))):
        job(tmp_path, number, [f"labeling.gamma={gamma}", "labeling.k=12345678", "seed=0"], 10.0)
        if value is not None:
            selected(tmp_path / str(number), value, mode)
    write_summary(tmp_path)
    folders = [row.split("|")[-2].strip() for row in (tmp_path / "summary.md").read_text().splitlines()[2:]]
    assert folders == ["0", "1", "2", "3"]  # the order of the jobs, until the search has ended
    (tmp_path / "optimization_results.yaml").touch()
    write_summary(tmp_path)
    rows = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert [row.split("|")[-2].strip() for row in rows] == [*map(str, order), "3"]  # which nothing has selected
    assert {row.split("|")[1].strip() for row in rows} == {
        "labeling.gamma=0.7123", "labeling.gamma=0.3", "labeling.gamma=0.4",
    }  # fmt: skip


def test_jobs_are_found_at_any_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / "mil" / "lr=0.1"
    for number in (2, 10):
        job(deep, number, ["+experiment=mil", "seed=0"], 1.0)
    job(tmp_path, 3, ["+experiment=han", "seed=0"], None)
    fail(tmp_path / "a" / "b", "it could not even begin")
    job(deep / "2" / "evaluations", 0, ["seed=0"], None)  # a run inside a job
    job(tmp_path / "other", 0, ["seed=0"], None)  # and another sweep, which has its own summary
    write_summary(tmp_path / "other")
    runs, failures = read_runs(tmp_path)
    assert [run.job for run in runs] == ["mil/lr=0.1/2", "mil/lr=0.1/10"]
    assert {failure.job for failure in failures} == {"3", "a/b"}
    SweepSummary.folder = tmp_path
    assert not conclude()
    assert "- a/b (all): RuntimeError: it could not even begin" in capsys.readouterr().out
    SweepSummary().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert not (tmp_path / "a" / "b" / "error.txt").exists()
    SweepSummary.folder = None


@pytest.mark.parametrize(
    ("sweep", "folder", "subdir", "wrong"),
    [
        ("s", "s/0", ".hydra", None),
        ("s", "s/a/b", ".hydra", None),
        ("s", "t/0", ".hydra", "hydra.sweep.subdir=x: it must be a folder inside hydra.sweep.dir"),
        ("s", "s", ".hydra", "hydra.sweep.subdir=x: it must be"),
        ("s", "s/0", None, "hydra.output_subdir must be .hydra in a sweep"),
    ],
)
def test_a_job_is_where_the_summary_finds_it(
    tmp_path: Path, sweep: str, folder: str, subdir: str | None, wrong: str | None
) -> None:
    cfg = OmegaConf.create(
        {
            "sweep": {"dir": str(tmp_path / sweep), "subdir": "x"},
            "runtime": {"output_dir": str(tmp_path / folder)},
            "output_subdir": subdir,
        }
    )
    expected: AbstractContextManager[Any] = nullcontext() if wrong is None else pytest.raises(InputError, match=wrong)
    with expected:
        check_job(cfg)


def test_every_inference_has_its_row(tmp_path: Path) -> None:
    for number, noise in enumerate(("0.2", "0.2", "0.8")):
        job(tmp_path, number, ["+experiment=mil", f"data.noise={noise}", f"seed={number}"], None)
    written_by(tmp_path / "0", {"classifier": 10.0, "prototype": 30.0})
    written_by(tmp_path / "1", {"classifier": 20.0, "prototype": 40.0})
    written_by(tmp_path / "2", {"classifier": 5.0})
    assert write_summary(tmp_path) == []
    rows = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert [row.split("|")[1:4] for row in rows] == [
        [" data.noise=0.2, by classifier ", " 2 ", " 15.0 ± 7.1 "],
        [" data.noise=0.2, by prototype ", " 2 ", " 35.0 ± 7.1 "],
        [" data.noise=0.8 ", " 1 ", " 5.0 "],
    ]


def test_a_job_that_lacks_the_scores_of_an_inference_has_failed(tmp_path: Path) -> None:
    job(tmp_path, 0, ["+experiment=mil", "seed=0"], None)
    written_by(tmp_path / "0", {"classifier": 10.0, "prototype": 30.0})
    (tmp_path / "0" / "prototype" / "scores.json").unlink()
    (failure,) = write_summary(tmp_path)
    assert failure.error is not None
    assert f"{tmp_path / '0' / 'prototype'}: no scores.json" in failure.error


def test_jobs_stand_in_their_order_and_failed_ones_are_named(tmp_path: Path) -> None:
    for number in range(11):
        job(tmp_path, number, [f"+experiment=e{number}", "seed=0"], None if number == 4 else float(number))
    runs, failures = read_runs(tmp_path)
    assert [run.setting for run in runs] == [f"e{number}" for number in range(11) if number != 4]
    assert failures == [Failure("4", "e4", None)]


def test_a_failure_is_one_line_and_the_traceback(tmp_path: Path) -> None:
    fail(tmp_path, "no room\n  for 2 GB")
    lines = (tmp_path / "error.txt").read_text().splitlines()
    assert lines[:3] == ["RuntimeError: no room for 2 GB", "", "Traceback (most recent call last):"]
    assert "raise RuntimeError(message)" in "\n".join(lines)


def test_the_summary_has_the_table_and_what_failed_and_why(tmp_path: Path) -> None:
    for number, score in enumerate((1.0, 2.0, None, None)):
        job(tmp_path, number, ["+experiment=mil", f"data.noise={number}", "seed=0"], score)
    fail(tmp_path / "1", "a later attempt failed")  # so its scores are of an earlier one
    fail(tmp_path / "2", "no room")
    failures = write_summary(tmp_path)
    assert [failure.job for failure in failures] == ["1", "2", "3"]
    table, _, failed = (tmp_path / "summary.md").read_text().partition("\n\n")
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["data.noise=0"]
    assert failed.splitlines() == [
        "Failed:",
        "- 1 (data.noise=1): RuntimeError: a later attempt failed",
        "- 2 (data.noise=2): RuntimeError: no room",
        "- 3 (data.noise=3): no scores and no error: killed, or still running",
    ]


@pytest.mark.parametrize("written", [None, ""])
def test_a_job_that_is_just_starting_costs_the_others_nothing(tmp_path: Path, written: str | None) -> None:
    job(tmp_path, 0, ["+experiment=mil", "seed=0"], 1.0)
    (tmp_path / "1" / ".hydra").mkdir(parents=True)
    if written is not None:
        (tmp_path / "1" / ".hydra" / "overrides.yaml").write_text(written)
    assert [failure.job for failure in write_summary(tmp_path)] == ["1"]
    assert "| mil | 1 |" in (tmp_path / "summary.md").read_text()


def test_a_sweep_passes_if_all_its_jobs_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude()  # no sweep at all
    job(tmp_path, 0, ["+experiment=mil", "seed=0"], 1.0)
    job(tmp_path, 1, ["+experiment=han", "seed=0"], 2.0)
    fail(tmp_path / "1", "an earlier attempt")
    launch = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    SweepSummary().on_multirun_start(launch)
    assert conclude()
    assert "| han | 1 |" in capsys.readouterr().out
    SweepSummary().on_multirun_start(launch)
    fail(tmp_path / "0", "no room")
    assert not conclude()
    assert "- 0 (mil): RuntimeError: no room" in capsys.readouterr().out
    assert conclude()  # it is over


def test_a_sweep_without_jobs_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SweepSummary().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "none")}}}))
    assert conclude()
    assert capsys.readouterr().out == ""
