"""Parsing videos, from features to timelines: ours in memory and in large batches, plain by files and one by one."""

from __future__ import annotations

from collections.abc import Iterator

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from benchmarks.measure import THREADS, Row, Scale, alternate, threads
from benchmarks.plain import PlainHAN, evaluate, write_npy
from benchmarks.workload import configured, folder, plain_loader


def measure(scale: Scale) -> Iterator[Row]:
    """The time of a video."""
    with folder() as files, threads(THREADS):
        cfg = configured("han", files / "run", scale.parsed_videos)
        prepare_process(cfg)
        videos = build_videos(cfg)
        assert videos.train is not None
        model, train = build_model(cfg, videos), videos.train
        network, loader = PlainHAN(), plain_loader(write_npy(train, files / "feats"), batch_size=1)
        pair = alternate(lambda: model.parse_all(train), lambda: evaluate(network, loader), scale.repeats)
        yield pair.row(f"inference, a video of {len(train)}", per=len(train))
