"""``python -m avvp_pl.clips``: write small made-up clips with their annotation."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def clips(cfg: DictConfig) -> None:
    """Write the clips of all splits into ``cfg.output``, and then their tables."""
    from pathlib import Path

    from rich.console import Console
    from rich.progress import track

    from avvp_pl.processes.workers import number_of_workers
    from avvp_pl.video.demo.folder import VIDEOS, Kind, write_clips

    folder, console = Path(cfg.output), Console(stderr=True)
    written = write_clips(folder, cfg.sizes, Kind(cfg.seconds, cfg.side, cfg.seed), number_of_workers(cfg.workers))
    total = sum(cfg.sizes.values())
    shown = track(written, "clips", total, console=console, transient=True, disable=not console.is_terminal)
    print(f"{sum(1 for _ in shown)} clips: {folder / VIDEOS}; their annotation: {folder / 'data'}")


main = command("clips", clips)

if __name__ == "__main__":
    main()
