"""How many mutants of the functional core the tests kill, and which survive: the end of ``make mutants``.

Also the pytest plugin of its runs: hypothesis takes the same examples every time and does not shrink those that fail.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import Phase, settings

settings.register_profile("mutants", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])

LEAST = 0.9  # share of the mutants that the tests must kill
KILLED = {"killed", "timeout", "segfault"}  # the last two are tests that do not come to their end


def mutmut(*arguments: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def main() -> int:
    """Print the counts of each package and every survivor; 1 if too few mutants were killed."""
    outcomes = dict(line.strip().split(": ") for line in mutmut("results", "--all", "true") if ": " in line)
    for name, outcome in outcomes.items():
        if outcome not in KILLED:
            changed = [line for line in mutmut("show", name) if line.startswith(("- ", "+ "))]
            print(f"{outcome}: {name}", *changed, sep="\n    ")
    every = Counter(name.split(".")[1] for name in outcomes)
    killed = Counter(name.split(".")[1] for name, outcome in outcomes.items() if outcome in KILLED)
    print(f"\n{'package':<16}{'mutants':>8}{'killed':>8}")
    for package, count in sorted(every.items()):
        print(f"{package:<16}{count:>8}{killed[package]:>8}{killed[package] / count:>8.1%}")
    share = killed.total() / max(1, every.total())
    print(f"{'all':<16}{every.total():>8}{killed.total():>8}{share:>8.1%}, of which at least {LEAST:.0%} is asked")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
