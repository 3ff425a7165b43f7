"""Labeling of up to a million videos: neither time nor memory may grow faster than the labels themselves.

A small network labels 1,000 stored videos that are repeated, so that time and memory are those of the labeling and not
those of the data. Each number of videos is a process of its own: ``python -m benchmarks.million VIDEOS`` prints its
seconds and the bytes of its labels. ``python -m benchmarks`` runs it only by its name: it takes two minutes on two idle
cores, but many more on busy ones, and 3 GB of memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import torch

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from avvp_pl.parts import Team
from benchmarks.measure import THREADS, Row, Scale, run_module, threads
from benchmarks.workload import RepeatedVideos, configured, folder

STORED = 1_000
SMALL = (
    "network.dim=64",
    "network.feedforward_dim=64",
    "data.streams={vggish: 32, res152: 32, r2plus1d_18: 32}",
    "labeling.feature_memory_gb=0.05",  # so that features of most videos are computed twice, at every size
    "labeling.max_segments_per_event=2560",
)


def measure(scale: Scale) -> Iterator[Row]:
    """Label three numbers of videos, each ten times the one before."""
    before = None
    for videos in (scale.million // 100, scale.million // 10, scale.million):
        ended = run_module("benchmarks.million", str(videos))
        seconds, labels = json.loads(ended.printed.splitlines()[-1])
        beyond = ended.peak - labels
        ratio = ""
        if before is not None:
            ratio = (
                f"{seconds / (10 * before[0]):.2f} of linear, memory beyond the labels {beyond / before[1]:.2f} times"
            )
        what = f"labeling {videos:,} videos once: time; labels; peak memory"
        yield Row(what, f"{seconds:.4g} s; {labels / 1e9:.3g} GB; {ended.peak / 1e9:.3g} GB", "", ratio, "linear")
        before = seconds, beyond


def main(videos: int) -> None:
    """Label so many videos and print the seconds and the bytes of the labels."""
    stored = min(STORED, videos)
    with folder() as run, threads(THREADS):
        cfg = configured("ppl_soft", run, stored, *SMALL)
        prepare_process(cfg)
        made = build_videos(cfg)
        assert made.train is not None
        repeated = RepeatedVideos.of(made.train, videos // stored)
        model = build_model(cfg, made)
        start = time.perf_counter()
        with torch.inference_mode():
            model.labeling.build(repeated, Team())
        seconds = time.perf_counter() - start
    labels = model.labeling.pseudo_labels
    assert labels is not None
    print(json.dumps([seconds, labels.nbytes]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
