"""``python -m avvp_pl.refine``: compute what a training learns from, with a trained network or from other files."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def refine(cfg: DictConfig) -> None:
    """Write ``cfg.output``: a product (:mod:`avvp_pl.data.products`), or proposals (:mod:`avvp_pl.data.proposals`)."""
    from avvp_pl.commands.refining import refined

    print(f"{refined(cfg)}: {cfg.output}")


main = command("refine", refine)

if __name__ == "__main__":
    main()
