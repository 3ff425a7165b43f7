"""Labeling all training videos anew, as before every epoch of ``ppl_soft``: ours, and as plain code would do it.

Its share of an epoch is measured at the size of LLP, in ``paper_size``.
"""

from __future__ import annotations

from collections.abc import Iterator

from avvp_pl.commands.build import build_method, build_videos, prepare_process
from avvp_pl.methods.ppl import PPL
from benchmarks.measure import THREADS, Row, Scale, alternate, threads
from benchmarks.plain import PlainHAN, label, write_npy
from benchmarks.workload import configured, folder, plain_loader


def measure(scale: Scale) -> Iterator[Row]:
    """Encode, select, cluster and label, from two networks that have learned nothing."""
    with folder() as files, threads(THREADS):
        cfg = configured("ppl_soft", files / "run", scale.labeled_videos)
        prepare_process(cfg)
        videos = build_videos(cfg)
        assert videos.train is not None
        method, train = build_method(cfg, videos), videos.train
        assert isinstance(method, PPL)
        method.meet(train)
        network, loader = PlainHAN(), plain_loader(write_npy(train, files / "feats"))
        keys = ("gamma", "beta", "k", "tau")
        settings = {key: cfg.method[key] for key in keys} | {"max_segments": cfg.method.max_segments_per_event}
        pair = alternate(lambda: method.refresh(train), lambda: label(network, loader, **settings), scale.repeats)
        yield pair.row(f"labeling {len(train)} videos", unit="s")
