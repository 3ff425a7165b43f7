"""A run of ``ppl_soft`` at the size of LLP, in a process of its own: time, share of labeling, memory.

It runs twice on the same videos: as they are made, in memory, and from a folder of feature files in LLP's layout that
:mod:`avvp_pl.prepare` has packed, so that they are mapped from a file. Both must predict the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avvp_pl.commands.build import build_videos
from benchmarks import paper
from benchmarks.measure import Row, Scale, run_module
from benchmarks.workload import configured, folder, refreshed, write_llp_layout

PREDICTIONS = ("predictions/audio.csv", "predictions/visual.csv", "predictions/probabilities.npz")


def measure(scale: Scale) -> Iterator[Row]:
    """Train."""
    with folder() as made:
        epochs = ["+experiment=ppl_soft", f"trainer.max_epochs={scale.llp_epochs}"]
        size = [*epochs, "data=synthetic_llp_size", f"data.sizes.train={scale.llp_videos}"]
        found = refreshed(made / "memory", *size)
        videos = f"{scale.llp_videos} videos"
        yield Row(f"labeling, {videos}, `ppl_soft`", f"{found.labeling:.1f} s")
        yield Row(f"training epoch, {videos}, `ppl_soft`", f"{found.training:.1f} s")
        yield Row(
            "labeling to training of an epoch",
            f"{found.labeling:.1f} s to {found.training:.1f} s",
            ratio=paper.ratios(found.share, paper.LABELING, paper.TRAINING, "s"),
            required="at most 0.35",
        )
        run_of = f"{scale.llp_epochs} epochs and the test"
        yield Row(f"peak memory of {run_of}", f"{found.peak / 1e9:.2f} GB", required="under 3 GB")
        streams = "data.modalities={audio: [vggish], visual: [res152, r2plus1d_18]}"
        data = [f"data.root={write_layout(made / 'data', scale)}", streams]
        run_module("avvp_pl.prepare", *data)
        mapped = refreshed(made / "mapped", *epochs, "data=folder", *data)
        for name in PREDICTIONS:
            if (made / "memory" / name).read_bytes() != (made / "mapped" / name).read_bytes():
                raise RuntimeError(f"with mapped features, {name} differs")
        yield Row(
            f"peak memory of {run_of}, with memory-mapped features, which the system can drop",
            f"{mapped.own / 1e9:.2f} GB of its own",
            required="under 2 GB",
        )


def write_layout(root: Path, scale: Scale) -> Path:
    """Write the same videos as files."""
    sizes = f"data.sizes={{train: {scale.llp_videos}, val: 649, test: 1200}}"
    return write_llp_layout(build_videos(configured("ppl_soft", root, scale.llp_videos, sizes)), root)
