"""``python -m avvp_pl.report``: finished runs as tables, figures and a page, and their panels at W&B."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command
from avvp_pl.errors import InputError


def report(cfg: DictConfig) -> None:
    """Write the report of ``cfg.runs`` into ``cfg.output``, and the definition of the panels of ``cfg.wandb``."""
    from pathlib import Path

    if cfg.runs is None and cfg.wandb is None:
        raise InputError("give runs=DIR, a folder of run folders, or wandb=ENTITY/PROJECT")
    if cfg.media_copy and cfg.media is None:
        raise InputError("media_copy=true copies the videos' files of media=FOLDER, which must be given as well")
    output, runs = Path(cfg.output), []
    if cfg.runs is not None:
        from avvp_pl.reporting.evidence import gather, write_report
        from avvp_pl.runs.reading import protocol_of

        folders = [Path(folder) for folder in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)]
        evidence = gather(folders, cfg.data, cfg.baseline, cfg.shown, protocol_of(cfg.protocol), cfg.trust)
        runs = [run for setting in evidence.settings for run in setting.runs]
        media = None if cfg.media is None else Path(cfg.media)
        page = write_report(output, evidence, cfg.title, cfg.figure3, media, cfg.published, cfg.media_copy)
        print((output / "tables" / "tables.md").read_text(encoding="utf-8"))
        print(f"{page} (tables/ and figures/ are beside it)")
    if cfg.wandb is not None:
        from avvp_pl.reporting.workspace import write_workspace

        for path in write_workspace(output, cfg.wandb, cfg.online, runs):
            print(path)
        print("saved at W&B" if cfg.online else "nothing was sent; online=true saves both at W&B")


main = command("report", report)

if __name__ == "__main__":
    main()
