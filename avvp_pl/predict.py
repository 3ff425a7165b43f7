"""``python -m avvp_pl.predict``: parse videos with a checkpoint and write the timelines."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def predict(cfg: DictConfig) -> None:
    """Write one LLP-format table a modality, ``timelines.json`` and some pictures into ``cfg.output``."""
    from pathlib import Path

    from avvp_pl.commands.build import prepare_process, restore
    from avvp_pl.tasks.timelines import write_parsed, write_pictures

    prepare_process(cfg)
    _, videos, method, _ = restore(cfg, splits=(cfg.split,), truth_required=False)
    split = videos.splits[cfg.split]
    parsed = method.parse_all(split)
    write_parsed(Path(cfg.output), split.names, parsed, videos)
    write_pictures(Path(cfg.output), split, parsed, videos, cfg.pictures)
    found = int(parsed.timelines.flatten(1).any(1).sum())
    print(f"{len(split)} videos parsed, events found in {found} of them: {cfg.output}")


main = command("predict", predict)

if __name__ == "__main__":
    main()
