"""``python -m avvp_pl.prepare``: check a features folder before training on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from avvp_pl.cli import command
from avvp_pl.errors import InputError

log = logging.getLogger(__name__)

SHOWN = 10  # problems; a missing stream alone would print thousands


def prepare(cfg: DictConfig) -> None:
    """Check the tables and every feature file; print what is there, or fail with all that is wrong."""
    from rich.console import Console
    from rich.progress import track

    from avvp_pl.data.annotations import Oddities
    from avvp_pl.data.llp import TABLES, LLPFolder

    if "root" not in cfg.data:
        raise InputError(f"data={cfg.data.name} has no folder to check; give data=llp or data=realmix")
    folder = LLPFolder(Path(cfg.data.root), cfg.data.modalities, cfg.data.segments, cfg.data.segment_seconds)
    problems: list[str] = []
    oddities = Oddities()

    @contextmanager
    def noting_problems() -> Iterator[None]:
        try:
            yield
        except InputError as error:
            problems.append(str(error))

    listed: dict[str, dict[str, list[int]]] = {}
    for split in TABLES:
        with noting_problems():
            listed[split] = folder.weak_labels(split, oddities)
    with noting_problems():
        folder.check_keys(listed)
    with noting_problems():
        folder.evaluation_truth(listed, True, oddities)
    with noting_problems():
        folder.hidden_truth(oddities)
    oddities.report(log)
    names = [name for labels in listed.values() for name in labels]
    dims: dict[str, int] = {}
    console = Console()
    for stream in folder.streams:
        for name in track(names, stream, console=console, disable=not console.is_terminal):
            with noting_problems():
                dims[stream] = folder.read_feature(stream, name, dims.get(stream)).shape[1]
    sizes = ", ".join(f"{len(labels)} {split}" for split, labels in listed.items())
    print(f"{folder.root.absolute()}: {sizes} videos, {len(folder.events)} events, dimensions {dims}")
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(f"{len(problems)} problems:\n" + "\n".join(problems[:SHOWN]) + more)
    print("everything is in order")


main = command("prepare", prepare)

if __name__ == "__main__":
    main()
