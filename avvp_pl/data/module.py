"""A data set as Lightning wants it: loaders of whole batches, resident on the GPU where there is one."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader

from avvp_pl.data.videos import ParsingSet, VideoBatches, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.types import Batch


class ParsingData(pl.LightningDataModule):
    """Batches of a :class:`ParsingSet`; ``seed`` and the epoch decide the order of training."""

    def __init__(self, videos: ParsingSet, batch_size: int, eval_batch_size: int, seed: int) -> None:
        super().__init__()
        self.videos = videos
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.splits: dict[str, VideoSet] = dict(videos.splits)
        self.done = {"epoch": -1, "batches": 0}

    def setup(self, stage: str) -> None:
        """Move the videos to the training device once, so that no batch is ever copied to it.

        Raises :class:`InputError` where a process would have no video to score, which Lightning does not allow.
        """
        if self.trainer is not None:
            self._check_shares(self.trainer.world_size)
            device = self.trainer.strategy.root_device
            self.splits = {name: split.to(device) for name, split in self.splits.items()}

    def _check_shares(self, processes: int) -> None:
        for name, videos in self.splits.items():
            if name != "train" and len(videos) < processes:  # training visits some twice
                raise InputError(
                    f"{processes} processes are too many for {len(videos)} {name} videos: each must have one to score; "
                    "give trainer.devices and trainer.num_nodes that make fewer"
                )

    def state_dict(self) -> dict[str, int]:
        """How far the current epoch has come, in batches that were learned from; 0 between two epochs."""
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        # the count of a finished epoch stands until the next one begins
        inside = progress.processed < self.trainer.num_training_batches
        return {"epoch": self.trainer.current_epoch, "batches": progress.processed if inside else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on behind the last batch that was learned from."""
        self.done = state_dict

    @property
    def train(self) -> VideoSet:
        """The training videos."""
        return self.splits["train"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of training videos."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation videos in order."""
        return self._loader("val", self.eval_batch_size, shuffle=False)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test videos in order."""
        return self._loader("test", self.eval_batch_size, shuffle=False)

    def _loader(self, split: str, batch_size: int, shuffle: bool) -> DataLoader[Batch]:
        videos = self.splits[split]
        ranks: dict[str, int] = {}
        if self.trainer is not None:
            ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        order: Any = VideoBatches(len(videos), batch_size, self.seed, shuffle, **ranks, device=videos.mask.device)
        if shuffle:
            order.skip(**self.done)
        # batch_size=None: the sampler hands whole batches of row numbers to VideoSet.__getitem__
        return DataLoader(videos, sampler=order, batch_size=None)
