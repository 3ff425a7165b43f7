"""``python -m avvp_pl.prepare``: check a features folder before training on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

from avvp_pl.cli import command
from avvp_pl.errors import InputError

log = logging.getLogger(__name__)

T = TypeVar("T")
SHOWN = 10  # problems; a missing stream alone would print thousands


def prepare(cfg: DictConfig) -> None:
    """Check the tables and every feature file; print what is there, or fail with all that is wrong."""
    from rich.progress import Console, track

    from avvp_pl.data.annotations import Oddities
    from avvp_pl.data.llp import TABLES, LLPFolder

    if "root" not in cfg.data:
        raise InputError(f"data={cfg.data.name} has no folder to check; give data=llp or data=realmix")
    folder = LLPFolder(Path(cfg.data.root), cfg.data.modalities, cfg.data.segments, cfg.data.segment_seconds)
    problems: list[str] = []
    oddities = Oddities()

    def attempt(work: Callable[[], T], default: T) -> T:
        try:
            return work()
        except InputError as error:
            problems.append(str(error))
            return default

    listed = {split: attempt(lambda s=split: folder.weak_labels(s, oddities), {}) for split in TABLES}
    attempt(lambda: folder.check_keys(listed), None)
    attempt(lambda: folder.evaluation_truth(listed, True, oddities), None)
    attempt(lambda: folder.hidden_truth(oddities), None)
    oddities.report(log)
    names = [name for labels in listed.values() for name in labels]
    dims: dict[str, int] = {}
    console = Console()
    for stream in folder.streams:
        for name in track(names, stream, console=console, disable=not console.is_terminal):
            attempt(lambda s=stream, n=name: dims.setdefault(s, folder.read_feature(s, n, dims.get(s)).shape[1]), 0)
    sizes = ", ".join(f"{len(labels)} {split}" for split, labels in listed.items())
    print(f"{folder.root.absolute()}: {sizes} videos, {len(folder.events)} events, dimensions {dims}")
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(f"{len(problems)} problems:\n" + "\n".join(problems[:SHOWN]) + more)
    print("everything is in order")


main = command("prepare", prepare)

if __name__ == "__main__":
    main()
