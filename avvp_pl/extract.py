"""``python -m avvp_pl.extract``: turn video files into streams of features."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def extract(cfg: DictConfig) -> None:
    """Write the features of all videos into ``cfg.output``, in LLP layout, with a manifest."""
    from avvp_pl.commands.extracting import extract_videos

    extract_videos(cfg)


main = command("extract", extract)

if __name__ == "__main__":
    main()
