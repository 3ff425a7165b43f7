from __future__ import annotations

import json
from pathlib import Path

from avvp_pl.sweeps import markdown_table, read_runs


def job(folder: Path, number: int, overrides: list[str], score: float | None) -> None:
    path = folder / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "overrides.yaml").write_text("".join(f"- {override}\n" for override in overrides))
    seed = next(override.removeprefix("seed=") for override in overrides if override.startswith("seed="))
    (path / "config.yaml").write_text(f"seed: {seed}\n")
    if score is not None:
        names = ("audio", "visual", "audio_visual", "type_av", "event_av")
        levels = {level: dict.fromkeys(names, score) for level in ("segment", "event")}
        (path / "scores.json").write_text(json.dumps(levels))


def test_settings_that_differ_are_rows_and_seeds_are_averaged(tmp_path: Path) -> None:
    jobs = [("0.2", 0, 10.0), ("0.2", 1, 20.0), ("0.8", 0, 3.0), ("0.8", 1, 3.0)]
    for number, (noise, seed, score) in enumerate(jobs):
        job(tmp_path, number, ["+experiment=mil", f"data.noise={noise}", "threads=1", f"seed={seed}"], score)
    runs, unfinished = read_runs(tmp_path)
    assert unfinished == []
    lines = markdown_table(runs).splitlines()
    assert lines[2].startswith("| data.noise=0.2 | 2 | 15.0 ± 7.1 |")
    assert lines[3].startswith("| data.noise=0.8 | 2 | 3.0 ± 0.0 |")
    assert len(lines) == 4


def test_jobs_stand_in_their_order_and_failed_ones_are_named(tmp_path: Path) -> None:
    for number in range(11):
        job(tmp_path, number, [f"+experiment=e{number}", "seed=0"], None if number == 4 else float(number))
    runs, unfinished = read_runs(tmp_path)
    assert [run.setting for run in runs] == [f"e{number}" for number in range(11) if number != 4]
    assert unfinished == ["4 (e4)"]
