"""Parsing videos, from features to timelines.

Ours in memory and in large batches, plain by files and one by one; and ours by prototypes, which is the inference of
the paper, beside ours by the classifier: one network, the same batches, the same gates.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from avvp_pl.data.videos import VideoSet
from avvp_pl.parts import Team
from avvp_pl.training.module import ParsingModule
from benchmarks import paper
from benchmarks.measure import THREADS, Pair, Row, Scale, alternate, threads
from benchmarks.plain import PlainHAN, evaluate, write_npy
from benchmarks.workload import configured, folder, plain_loader

BATCH_SIZE = 128
TURNS = 4  # times as many as of other measurements: the two inferences differ by little


def measure(scale: Scale) -> Iterator[Row]:
    """The time of a video, and by how much prototypes change it."""
    with folder() as files, threads(THREADS):
        cfg = configured("han", files / "run", scale.parsed_videos)
        prepare_process(cfg)
        videos = build_videos(cfg)
        assert videos.train is not None
        model, train = build_model(cfg, videos), videos.train
        network, loader = PlainHAN(), plain_loader(write_npy(train, files / "feats"), batch_size=1)
        pair = alternate(lambda: model.parse_all(train), lambda: evaluate(network, loader), scale.repeats)
        yield pair.row(f"inference, a video of {len(train)}", per=len(train))
    with folder() as files, threads(THREADS):
        cfg = configured("ppl_soft", files / "run", scale.parsed_videos, "inference=[prototype,classifier]")
        prepare_process(cfg)
        videos = build_videos(cfg)
        assert videos.train is not None
        model, train = build_model(cfg, videos), videos.train
        yield by_prototypes(time_both(model, train, TURNS * scale.repeats), len(train))


def time_both(model: ParsingModule, videos: VideoSet, repeats: int) -> Pair:
    """Build prototypes of the videos, and parse these by prototypes (``ours``) and by the classifier (``plain``)."""
    model.start(videos)
    model.labeling.build(videos, Team())
    assert model.labeling.bank is not None
    assert model.labeling.bank.is_built, "without prototypes, the classifier would be timed twice"
    return alternate(lambda: parse(model, videos, "prototype"), lambda: parse(model, videos, "classifier"), repeats)


@torch.inference_mode()
def parse(model: ParsingModule, videos: VideoSet, inference: str) -> None:
    """Parse all videos by the inference of this name, and drop what is found."""
    model.eval()
    for batch in videos.batches(BATCH_SIZE):
        model.parse(batch, [inference])


def by_prototypes(pair: Pair, videos: int) -> Row:
    """The ratio of both inferences, beside that of the paper."""
    prototypes, classifier = (1e3 * seconds / videos for seconds in pair.medians())
    return Row(
        f"inference by prototypes to inference by the classifier, a video of {videos}",
        f"{prototypes:.3g} ms to {classifier:.3g} ms",
        ratio=paper.ratios(prototypes / classifier, paper.BY_PROTOTYPES, paper.BY_CLASSIFIER, "ms"),
    )
