"""``python -m avvp_pl.refine``: compute what a training learns from, with a trained network or from other files."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def refine(cfg: DictConfig) -> None:
    """Write the product ``cfg.output`` (:mod:`avvp_pl.data.products`) of the training videos."""
    from pathlib import Path

    from avvp_pl.commands.refining import refined, summary
    from avvp_pl.data.products import write_product

    product, videos = refined(cfg)
    write_product(Path(cfg.output), product)
    print(f"{summary(product, videos)}: {cfg.output}")


main = command("refine", refine)

if __name__ == "__main__":
    main()
