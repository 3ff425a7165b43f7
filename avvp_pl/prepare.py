"""``python -m avvp_pl.prepare``: check a folder of features and pack it, before training on it."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command
from avvp_pl.errors import InputError


def prepare(cfg: DictConfig) -> None:
    """Check the tables and every feature file, and pack the features. Raises one error with all problems."""
    from pathlib import Path

    from avvp_pl.data.features import spelled
    from avvp_pl.data.llp import LLPFolder
    from avvp_pl.data.thumos import ThumosFolder, load_thumos

    data = cfg.data
    if "root" not in data:
        raise InputError(
            f"data={data.name} has no folder to check; give data=llp, data=folder, data=realmix or data=thumos14"
        )
    if data.packed is None:
        raise InputError("data.packed=null: give a folder to pack into")
    root, packed = Path(data.root), Path(data.packed)
    folder: LLPFolder | ThumosFolder
    if data.source["_target_"] == f"{load_thumos.__module__}.{load_thumos.__name__}":
        folder = ThumosFolder(root, data.modalities, packed, data.dtype, data.annotation)
    else:
        rows = data.get("rows_per_segment")
        folder = LLPFolder(root, data.modalities, data.segments, data.segment_seconds, packed, data.dtype, rows)
    index = folder.pack()
    dims = {stream: index.streams[stream].dim for stream in folder.streams}
    megabytes = sum(map(index.num_bytes, folder.streams)) / 1e6
    print(f"everything is in order: {len(index.names)} videos of {spelled(index.lengths)} segments, dimensions {dims}")
    size = f"{megabytes:,.1f} MB of {index.dtype}"
    print(f"packed: {packed.absolute()}, {size}; trainings on this folder use it from now on")


main = command("prepare", prepare)

if __name__ == "__main__":
    main()
