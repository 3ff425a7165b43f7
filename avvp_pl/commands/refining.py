"""A stage before a training: from a checkpoint, or from files of other programs, to what the training learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from avvp_pl.commands.build import build_trainer, build_videos, prepare_process
from avvp_pl.commands.objects import build
from avvp_pl.commands.restore import restore
from avvp_pl.data.products import Kind, Product, one_note, write_product
from avvp_pl.data.proposals import write_proposals
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.parts import Conversion, FromNetwork, Refinement, Search
from avvp_pl.runs.checkpoints import is_complete
from avvp_pl.types import Detections


def refined(cfg: DictConfig) -> str:
    """Write what ``cfg.refinement`` computes with the network of ``cfg.checkpoint`` to ``cfg.output``, and sum it up.

    Without a checkpoint, it is what a :class:`~avvp_pl.parts.Conversion` makes for the training videos of ``cfg.data``.
    """
    if not cfg.refinement:
        raise InputError("refinement: there is nothing to compute; give what to compute, such as +refine=ma")
    prepare_process(cfg)
    output = Path(cfg.output)
    if cfg.checkpoint is None:
        return _written(output, *converted(cfg))
    config, videos, model, _ = restore(cfg, splits=("train",), truth_required=False)
    given = _given(videos)
    refinement = build("refinement", cfg.refinement, FromNetwork, given, given)
    trainer = build_trainer(cfg)
    if trainer.world_size > 1:
        raise InputError("refine runs in one process; give trainer.devices=1")
    device, batch_size = trainer.strategy.root_device, config.data.eval_batch_size
    network = model.network.to(device).eval()
    checkpoint = hashlib.sha256(Path(cfg.checkpoint).read_bytes()).hexdigest()
    if isinstance(refinement, Search):
        others = build_videos(config, ("val", "test"), truth_required=False)
        videos = replace(videos, val=others.val, test=others.test)
        with torch.inference_mode():
            found = {
                name: refinement(network, split.to(device), batch_size, name == "train")
                for name, split in videos.splits.items()
            }
        write_proposals(output, videos, found, checkpoint)
        return found_summary(videos, found)
    train = videos.train
    assert train is not None
    assert isinstance(refinement, Refinement)
    with torch.inference_mode():
        values = refinement(network, train.to(device), batch_size)
    note = None if model.tested is None else one_note(model.tested.notes)
    return _written(output, _product(refinement.kind, videos, values, checkpoint=checkpoint, note=note), train)


def _written(output: Path, product: Product, videos: VideoSet) -> str:
    write_product(output, product)
    return summary(product, videos)


def converted(cfg: DictConfig) -> tuple[Product, VideoSet]:
    """Compute the product of ``cfg.refinement`` for the training videos of ``cfg.data``, and return these, too."""
    if not is_complete(cfg.get("data")):
        raise InputError(
            "data: without a checkpoint there is no training whose data could be taken; give the data, such as "
            "data=llp data.root=DIR (or checkpoint=FILE, where the refinement needs a network)"
        )
    videos = build_videos(cfg, ("train",), truth_required=False)
    train = videos.train
    assert train is not None
    conversion = build("refinement", cfg.refinement, Conversion, _given(videos))
    more = build_videos(cfg, conversion.needs()).splits if conversion.needs() else {}
    made = conversion({"train": train, **more})
    thresholds = None if made.thresholds is None else made.thresholds.numpy()
    return _product(conversion.kind, videos, made.values, note=made.note, thresholds=thresholds), train


def _product(kind: Kind, videos: ParsingSet, values: Tensor, **more: Any) -> Product:
    """Return a product of the training videos."""
    train = videos.train
    assert train is not None
    modalities, events = tuple(videos.modalities), tuple(videos.events)
    return Product(kind, train.names, train.lengths.numpy(), modalities, events, values.cpu().numpy(), **more)


def _given(videos: ParsingSet) -> dict[str, Any]:
    """Return what a refinement or conversion may name as arguments."""
    streams = {name: list(names) for name, names in videos.modalities.items()}
    words = {"modalities": list(streams), "events": list(videos.events), "streams": streams}
    return {**words, "segment_seconds": videos.segment_seconds}


def found_summary(videos: ParsingSet, found: Mapping[str, Detections]) -> str:
    """Say on one line what a search has found."""
    counts = (
        f"{len(of_split.videos)} in {len(set(of_split.videos.tolist()))} of {len(videos.splits[name])} {name} videos"
        for name, of_split in found.items()
    )
    return f"intervals of {len(videos.events)} events: {', '.join(counts)}"


def summary(product: Product, videos: VideoSet) -> str:
    """Say on one line what a product tells about its videos."""
    if product.kind == "modality_labels":
        weak_labels = videos.weak_labels.cpu().numpy()
        removed = (product.values < weak_labels[:, None]).sum((0, 2))
        counts = ", ".join(f"{count} {name}" for name, count in zip(product.modalities, removed, strict=True))
        return f"{len(videos)} videos with {int(weak_labels.sum())} labels, of which were removed: {counts}"
    if product.kind == "rates":
        means = ", ".join(
            f"{rates.mean():.3f} {name} (highest {rates.max():.3f}, {product.events[int(np.argmax(rates))]})"
            for name, rates in zip(product.modalities, product.values, strict=True)
        )
        return f"{len(videos)} videos, mean rates: {means}"
    counts = ", ".join(
        f"{count} {name}" for count, name in zip((product.values > 0).sum((0, 2)), product.modalities, strict=True)
    )
    return f"{len(videos)} videos with {len(product.values)} segments, {product.kind} above 0: {counts}"
