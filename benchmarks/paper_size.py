"""A run of ``ppl_soft`` at the size of LLP, in a process of its own: time, share of labeling, memory."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import paper
from benchmarks.measure import Row, Scale
from benchmarks.workload import folder, refreshed


def measure(scale: Scale) -> Iterator[Row]:
    """Train."""
    with folder() as run:
        size = [f"data.sizes.train={scale.llp_videos}", f"trainer.max_epochs={scale.llp_epochs}"]
        found = refreshed(run, "+experiment=ppl_soft", "data=synthetic_llp_size", *size)
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
