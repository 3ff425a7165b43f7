"""One training step of a method, outside the trainer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from avvp_pl.data.products import Kind, Product, write_product
from avvp_pl.data.videos import ParsingSet
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Team
from benchmarks.workload import BATCH_SIZE, configured, folder

FLOAT = 4  # bytes
ADAM_PASSES, MOMENTUM_PASSES = 7, 3  # parameters, gradients and both moments read, all but gradients written; 2 and 1
REPEATS = 20
EPOCH = 20  # the first epochs of many methods have fewer losses


def of_lstm(x: Sequence[int], to_gates: Sequence[int], of_state: Sequence[int], *_: Any, out_shape: Any) -> int:
    """The operations of a forward pass of torch's LSTM on a CPU: of its input [T, B, I] and of its states."""
    return 2 * x[0] * x[1] * (prod(to_gates) + prod(of_state))


def of_lstm_backward(*shapes: Any, out_shape: Any) -> int:
    """Those of its backward pass: two products, for the gradients of weights and inputs, in the place of each."""
    return 2 * of_lstm(*shapes, out_shape=out_shape)


# torch's counter knows the products of attention and of Linear, but not these
OF_LSTMS = {
    torch.ops.aten.mkldnn_rnn_layer: of_lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: of_lstm_backward,
}


class TrainingStep:
    """One step of a method outside the trainer: gather, forward, backward, Adam and, where it has one, the average."""

    def __init__(self, experiment: str, videos: int = 4 * BATCH_SIZE) -> None:
        with folder() as run:
            cfg = configured(experiment, run, videos)
            files = files_of(cfg)
            for key in files:
                OmegaConf.update(cfg, key, str(run / f"{key}.npz"))
            prepare_process(cfg)
            made = build_videos(cfg)
            assert made.train is not None
            for key, kind in files.items():
                write_product(run / f"{key}.npz", product(kind, made))
            model = build_model(cfg, made)
            model.start(made.train)
        self.videos, self.model = made.train, model.train()
        self.rows = torch.arange(BATCH_SIZE)
        self.optimizer = model.configure_optimizers()
        self.has_average = any(isinstance(module, Teacher) for module in model.modules())
        for part in model.parts.values():
            part.refresh(self.videos, EPOCH, Team())
        model.trainer = SimpleNamespace(current_epoch=EPOCH, num_training_batches=1, max_epochs=2 * EPOCH)  # type: ignore[assignment]

    def learn(self) -> None:
        """Forward and backward."""
        self.optimizer.zero_grad()
        torch.autograd.backward(self.model.training_step(self.videos[self.rows], 0))

    def flops(self) -> int:
        """The operations of all products of forward and backward."""
        with FlopCounterMode(display=False, custom_mapping=OF_LSTMS) as counter:
            self.learn()
        return int(counter.get_total_flops())

    @property
    def weights(self) -> int:
        """The number of weights that are trained."""
        return self.model.num_trained

    def run(self) -> None:
        """All of a step."""
        self.learn()
        self.optimizer.step()
        for part in self.model.parts.values():
            part.after_step(self.model.network, step=0)

    @torch.inference_mode()
    def parse(self) -> None:
        """Infer the timelines of the batch."""
        self.model.eval()
        self.model.parse(self.videos[self.rows])
        self.model.train()

    def bytes(self) -> int:
        """What must be read and written: features gathered, gradients written, optimizer, average."""
        parameters = sum(parameter.numel() for parameter in self.model.network.parameters())
        gathered = 2 * sum(stream.numel() for stream in self.videos[self.rows].features_in.values())
        passes = 1 + ADAM_PASSES + (MOMENTUM_PASSES if self.has_average else 0)
        return FLOAT * (gathered + passes * parameters)


def files_of(cfg: DictConfig) -> dict[str, Kind]:
    """The settings of files from which a method learns, with what is in them."""
    kinds: dict[str, Kind] = {
        "method.targets.file": "rates" if OmegaConf.select(cfg, "method.targets.ramp") else "modality_labels",
        "method.segments.file": "labels",
        "labeling.file": "labels",
    }
    missing = OmegaConf.missing_keys(cfg)
    return {key: kind for key, kind in kinds.items() if key in missing}


def product(kind: Kind, videos: ParsingSet) -> Product:
    """A file of that kind: some of the weak labels, or rates."""
    train = videos.train
    assert train is not None
    axes = len(videos.modalities), len(videos.events)
    if kind == "rates":
        values = 0.2 * torch.rand(axes)
    elif kind == "labels":
        values = (torch.rand(train.num_segments, *axes) < 0.4) * train.segment_weak_labels[:, None]
    else:
        values = (torch.rand(len(train), *axes) < 0.8) * train.weak_labels[:, None]
    names = tuple(videos.modalities), tuple(videos.events)
    return Product(kind, train.names, train.lengths.numpy(), *names, values.numpy())


if __name__ == "__main__":  # for the peak memory of a process that does nothing else
    one = TrainingStep(sys.argv[1])
    for _ in range(5):
        one.run()
    one.parse()
