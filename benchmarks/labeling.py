"""Labeling all training videos, as before every epoch of ``ppl_soft``: ours, and as plain code would do it.

Its share of an epoch is measured at the size of LLP, in ``paper_size``.
"""

from __future__ import annotations

from collections.abc import Iterator

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from avvp_pl.parts import Team
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
        labeling, train = build_model(cfg, videos).labeling, videos.train
        labeling.start(train)
        network, loader = PlainHAN(), plain_loader(write_npy(train, files / "feats"))
        keys = ("gamma", "beta", "k", "tau")
        settings = {key: cfg.labeling[key] for key in keys} | {"max_segments": cfg.labeling.max_segments_per_event}
        ours, plain = (lambda: labeling.build(train, Team())), (lambda: label(network, loader, **settings))
        pair = alternate(ours, plain, scale.repeats)
        yield pair.row(f"labeling {len(train)} videos", unit="s")
