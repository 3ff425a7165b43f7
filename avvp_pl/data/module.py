"""A data set as Lightning expects it: loaders of whole batches, from the GPU's memory or from the host's."""

from __future__ import annotations

import logging
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from avvp_pl.data.order import BatchOrder
from avvp_pl.data.sampling import SegmentSampling
from avvp_pl.data.videos import ParsingSet, VideoBatches, VideoSet
from avvp_pl.data.windows import WHOLE, Cutting, WindowBatches
from avvp_pl.errors import InputError
from avvp_pl.types import Batch

log = logging.getLogger(__name__)


class ParsingData(pl.LightningDataModule):
    """Batches of a :class:`ParsingSet`; ``seed`` and the epoch determine the order of training.

    ``resident`` decides where the features are while a run lasts. ``device`` moves them to the training device once.
    ``host`` leaves them where they were loaded (possibly mapped from a file); every batch is gathered there and then
    sent. ``auto`` is ``device`` if they take at most half of the device's free memory, else ``host``.
    ``predicted`` is the split that ``predict`` parses. With ``sampling``, a training batch has only some segments of
    each video. With ``order``, it has the videos that this order chooses, in the place of all in a random order. The
    videos to predict that are longer than a window of ``cutting`` are seen through windows.
    """

    def __init__(
        self,
        videos: ParsingSet,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        resident: Literal["auto", "device", "host"] = "auto",
        predicted: str = "test",
        sampling: SegmentSampling | None = None,
        order: BatchOrder | None = None,
        cutting: Cutting = WHOLE,
    ) -> None:
        super().__init__()
        if order is not None and videos.train is not None:
            order.check(videos.train.weak_labels, batch_size)
        self.predicted, self.sampling, self.order, self.cutting = predicted, sampling, order, cutting
        self.videos, self.resident = videos, resident
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.splits: dict[str, VideoSet] = dict(videos.splits)
        self.moves_features: bool | None = None  # decided in the first setup
        self.done = {"epoch": -1, "batches": 0}

    def setup(self, stage: str) -> None:
        """Move the labels, and the features where they should be resident, to the training device once.

        Raises :class:`InputError` if a process would have no video to score, which Lightning does not allow.
        """
        if self.trainer is not None:
            self._check_shares(self.trainer.world_size)
            device = self.trainer.strategy.root_device
            if self.moves_features is None:
                self.moves_features = self._should_move(device)
            self.splits = {name: split.to(device, self.moves_features) for name, split in self.splits.items()}

    def _should_move(self, device: torch.device) -> bool:
        """Return whether the features are moved to ``device``."""
        if self.resident != "auto":
            return self.resident == "device"
        free = free_memory(device)
        if free is None:
            return True
        streams = [stream for split in self.splits.values() for stream in split.streams.values()]
        needed = sum(stream.nbytes for stream in streams if stream.device != device)
        fits = needed <= free / 2
        log.info(
            "data.resident=auto: the features (%.2f GB) %s half of the free memory of %s (%.2f GB), so they %s",
            needed / 1e9,
            "take at most" if fits else "take more than",
            device,
            free / 1e9,
            "are moved there" if fits else "stay in the host's memory and every batch is sent",
        )
        return fits

    def _check_shares(self, processes: int) -> None:
        for name, videos in self.splits.items():
            if name != "train" and len(videos) < processes:  # training visits some videos twice
                raise InputError(
                    f"{processes} processes are too many for {len(videos)} {name} videos: each process must have one "
                    "to score; reduce trainer.devices or trainer.num_nodes"
                )

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches have been learned from; 0 between two epochs."""
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        # the count of a finished epoch is not reset until the next epoch begins
        inside = progress.processed < self.trainer.num_training_batches
        return {"epoch": self.trainer.current_epoch, "batches": progress.processed if inside else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the last batch that was learned from."""
        self.done = state_dict

    @property
    def train(self) -> VideoSet:
        """The training videos."""
        return self.splits["train"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of training videos."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation videos in order; nothing where the data has none."""
        return self._loader("val", self.eval_batch_size, shuffle=False) if "val" in self.splits else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test videos in order."""
        return self._loader("test", self.eval_batch_size, shuffle=False)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Videos of the predicted split in order, or their windows where some are longer than one."""
        videos = self.splits[self.predicted]
        if self.cutting.cuts(videos.lengths):
            windows: Any = WindowBatches(videos.lengths, self.cutting.windows(videos.lengths), self.eval_batch_size)
            return DataLoader(videos, sampler=windows, batch_size=None)
        return self._loader(self.predicted, self.eval_batch_size, shuffle=False)

    def _loader(self, split: str, batch_size: int, shuffle: bool) -> DataLoader[Batch]:
        videos = self.splits[split]
        ranks: dict[str, int] = {}
        if self.trainer is not None:
            ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        # row numbers are needed on the CPU where lengths are looked up or features are gathered there
        sampling = self.sampling if shuffle else None
        rectangular = videos.equal_length is not None and sampling is None
        order: Any = VideoBatches(
            len(videos),
            batch_size,
            self.seed,
            shuffle,
            **ranks,
            device=videos.device if videos.resident and rectangular else "cpu",
            lengths=None if rectangular else videos.lengths,
            sampling=sampling,
            order=self.order if shuffle else None,
            weak_labels=videos.weak_labels.cpu() if shuffle and self.order is not None else None,
        )
        if shuffle:
            order.skip(**self.done)
        # batch_size=None: the sampler passes whole batches of row numbers to VideoSet.__getitem__
        return DataLoader(videos, sampler=order, batch_size=None)


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of a GPU in bytes; None for any other device, which shares the host's memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
