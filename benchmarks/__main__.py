"""``python -m benchmarks``: measure everything, and rewrite the table in benchmarks/README.md.

``python -m benchmarks NAME ...`` measures some and only prints; ``--quick`` measures at a size that shows no more
than that everything runs, and only prints, too.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from avvp_pl.files import atomic_write
from benchmarks.measure import QUICK, Row, Scale, machine, table

BENCHMARKS = (
    "training",
    "methods",
    "labeling",
    "inference",
    "scoring",
    "localization",
    "extraction",
    "video",
    "startup",
    "small_run",
    "paper_size",
    "thumos_size",
    "growth",
    "floor",
    "soak",
)
BY_NAME = ("million",)  # too long to be measured every time
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory.")
    known = ", ".join((*BENCHMARKS, *BY_NAME))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known}; none: all but {', '.join(BY_NAME)}")
    parser.add_argument("--quick", action="store_true", help="small, to see that everything runs")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*BENCHMARKS, *BY_NAME}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        for row in import_module(f"benchmarks.{name}").measure(QUICK if arguments.quick else Scale()):
            print(" | ".join(filter(None, row)), flush=True)
            rows.append(row)
    text = f"{machine()}.\n\n{table(rows)}"
    print(f"\n{text}")
    if not arguments.names and not arguments.quick:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        with atomic_write(README) as file:
            file.write(f"{before}{BEGIN}\n{text}{END}{after}")


if __name__ == "__main__":
    main()
