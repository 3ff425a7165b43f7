"""What all methods share: evaluation, since a fair comparison requires it, and the optimizer. No training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.metrics import AVVPMetric, ParsingScores
from avvp_pl.processes.collectives import gather_objects, rank, world_size
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

THRESHOLD = 0.5  # of videos and of segments, in every published method and so here


class Parsed(NamedTuple):
    """A parsed batch: which events occur in which segments, and how likely that is.

    ``probs`` are those of the segments by themselves, also for an event that by ``video_probs`` the video does not
    have, so that they tell why it was missed; 0 where there is no segment.
    """

    timelines: Bool[Tensor, "B T M C"]
    probs: Float[Tensor, "B T M C"]
    video_probs: Float[Tensor, "B C"]


class ParsingModule(pl.LightningModule):
    """A network, how it parses and is scored, how its losses are logged, and its optimizer (Adam).

    Subclasses implement ``training_step``. ``val/segment/type_av`` selects the model.
    """

    inference: str = "classifier"  # what ``parse`` decides by; methods with prototypes have more

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        learning_rate: float,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.modalities, self.events = tuple(modalities), tuple(events)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.val_metric = AVVPMetric(self.modalities, len(self.events))
        self.test_metric = AVVPMetric(self.modalities, len(self.events))
        self.test_scores: ParsingScores | None = None
        self.losses: dict[str, tuple[Tensor, int]] = {}  # sum over the videos of this epoch so far, and their number
        self.logged: set[str] = set()  # names, of this epoch
        self.row_is_taken = False

    def forward(self, batch: Batch) -> ParsingOutput:
        """Run the network."""
        output: ParsingOutput = self.network(batch)
        return output

    def parse(self, batch: Batch) -> Parsed:
        """[segment_probs >= 0.5] * [video_probs >= 0.5]: the inference that all methods of the field use."""
        output = self(batch)
        return gate(output.segment_probs >= THRESHOLD, output.segment_probs, output.video_probs, batch.mask)

    @torch.inference_mode()
    def parse_all(self, videos: VideoSet, batch_size: int = 128) -> Parsed:
        """Parse all videos, on this module's device, into timelines in main memory."""
        self.eval()
        parsed = [self.parse(batch.to(self.device)) for batch in videos.batches(batch_size)]
        return Parsed(*(torch.cat(column).cpu() for column in zip(*parsed, strict=True)))

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, *more: Any, **options: Any
    ) -> None:
        """Log a value of this epoch, in training or validation: it will be in the epoch's row.

        ``logger`` counts for nothing: EpochLog hands the row to the loggers, but for test scores.
        """
        testing = self._trainer is not None and self.trainer.testing
        if self.row_is_taken and not testing:
            raise RuntimeError(f"{name} is logged after the epoch's row was taken; log it before on_train_epoch_end")
        self.logged.add(name)
        to_loggers = testing and bool(self.trainer.loggers)
        super().log(name, value, prog_bar, to_loggers, *more, **options)

    def log_losses(self, batch: Batch, **losses: Tensor) -> None:
        """Log means over the videos of the epoch as ``train/NAME``; nothing waits for a value before its end.

        Lightning's own ``log`` does the same at half a millisecond a value and step.
        """
        videos = len(batch.index)
        for name, loss in losses.items():
            total, seen = self.losses.get(name, (torch.zeros_like(loss), 0))
            self.losses[name] = torch.add(total, loss.detach(), alpha=videos), seen + videos

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Behind the last batch of an epoch, log its losses."""
        if self.trainer.is_last_batch:
            means = {f"train/{name}": total / videos for name, (total, videos) in self.losses.items()}
            self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True)
            self.losses = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run that goes on in the middle of an epoch needs the losses of its first part, each process its own."""
        sums = [torch.tensor([float(total), n], dtype=torch.float64) for total, n in self.losses.values()]
        mine = torch.stack(sums) if sums else torch.zeros(0, 2, dtype=torch.float64)
        checkpoint["losses"] = {"names": list(self.losses), "sums": torch.stack(gather_objects(mine))}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with them; where there are other processes now, the first one takes all."""
        names, sums = checkpoint["losses"]["names"], checkpoint["losses"]["sums"]  # [processes, losses, 2]
        same = len(sums) == world_size()
        mine = sums[rank()] if same else sums.sum(0) * (rank() == 0)
        self.losses = {name: (total.float(), int(n)) for name, (total, n) in zip(names, mine, strict=True)}

    def on_fit_start(self) -> None:
        """The losses of a checkpoint were loaded before there was a device."""
        self.losses = {name: (total.to(self.device), videos) for name, (total, videos) in self.losses.items()}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of validation videos."""
        assert batch.truth is not None
        self.val_metric.update(self.parse(batch).timelines, batch.truth, batch.mask)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation videos."""
        self._log_scores("val", self.val_metric)

    def test_step(self, batch: Batch, batch_idx: int) -> Parsed:  # type: ignore[override]
        """Score a batch of test videos, and return what was found in it."""
        assert batch.truth is not None
        parsed = self.parse(batch)
        self.test_metric.update(parsed.timelines, batch.truth, batch.mask)
        return parsed

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test videos and keep them as ``test_scores``."""
        self.test_scores = self._log_scores("test", self.test_metric)

    def _log_scores(self, split: str, metric: AVVPMetric) -> ParsingScores:
        scores: ParsingScores = metric.compute()
        metric.reset()
        # the metric has summed over processes already, so each of them logs the same numbers
        self.log_dict({f"{split}/{name}": score for name, score in scores.flat().items()})
        return scores

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over what is trained (the momentum network is not)."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, self.learning_rate, weight_decay=self.weight_decay, fused=True)


def gate(
    found: Bool[Tensor, "B T M C"],
    probs: Float[Tensor, "B T M C"],
    video_probs: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
) -> Parsed:
    """Keep what was ``found`` of events that occur in the video (video_probs >= 0.5), of real segments."""
    real = mask[:, :, None, None]
    occurs = (video_probs >= THRESHOLD)[:, None, None, :]
    return Parsed(found & occurs & real, probs.masked_fill(~real, 0), video_probs)
