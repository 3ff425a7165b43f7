"""``python -m avvp_pl.clips``: write small made-up clips with their annotation."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def clips(cfg: DictConfig) -> None:
    """Write the clips of all splits into ``cfg.output``, and then their tables."""
    import os
    from pathlib import Path

    from rich.progress import track

    from avvp_pl.video.demo.folder import VIDEOS, write_clips

    folder, workers = Path(cfg.output), cfg.workers or len(os.sched_getaffinity(0))
    written = write_clips(folder, cfg.sizes, cfg.seconds, cfg.side, cfg.seed, workers)
    count = sum(1 for _ in track(written, "writing", sum(cfg.sizes.values())))
    print(f"{count} clips: {folder / VIDEOS}, and their annotation: {folder / 'data'}")


main = command("clips", clips)

if __name__ == "__main__":
    main()
