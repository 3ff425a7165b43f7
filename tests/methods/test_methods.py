from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from avvp_pl.commands.build import build_data, build_method
from avvp_pl.data.videos import ParsingSet, VideoBatches
from avvp_pl.methods import npl
from avvp_pl.methods.mil import MIL
from avvp_pl.methods.npl import NPL
from avvp_pl.methods.ppl import PPL
from avvp_pl.models import momentum_update
from avvp_pl.pseudo_labels import hard_labels, select_segments, soft_labels
from avvp_pl.pseudo_labels.em import bound
from avvp_pl.settings.conf import config_dir
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.training.callbacks.safe_stop import SafeStop
from avvp_pl.training.callbacks.seed_steps import SeedSteps
from avvp_pl.training.module import ParsingModule, gate
from avvp_pl.types import Prototypes

Build = Callable[..., Any]


@pytest.fixture
def build(tiny: ParsingSet, tmp_path: Path) -> Build:
    """A method of an experiment, with a small network, and its data."""

    def make(experiment: str, *overrides: str) -> Any:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            cfg = compose(
                "train",
                [f"+experiment={experiment}", "network.dim=16", "network.feedforward_dim=16", *overrides],
            )
        OmegaConf.set_struct(cfg, False)
        return build_method(cfg, tiny), build_data(cfg, tiny)

    return make


def fit(method: ParsingModule, data: pl.LightningDataModule, epochs: int = 1, **more: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, enable_progress_bar=False, use_distributed_sampler=False, **quiet, **more
    )
    trainer.fit(method, data)
    return trainer


class HostSyncs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects operations whose result, or the shape of it, a GPU's host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[-1].split(".")[0]
        by_mask = name.startswith(("index", "_index")) and any(
            index is not None and index.dtype == torch.bool for index in (args[1] if isinstance(args[1], list) else [])
        )
        if by_mask or name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "_unique2"}:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*in eval mode")
class TestTraining:
    @pytest.mark.parametrize("experiment", ["mil", "npl_soft", "ppl_soft", "ppl_per_modality"])
    def test_no_step_waits_for_a_value(self, build: Build, experiment: str) -> None:
        method, data = build(experiment)
        if isinstance(method, NPL):
            method.refresh(data.splits["train"])
        optimizer = method.configure_optimizers()
        with HostSyncs() as syncs:
            for rows in VideoBatches(40, 16, seed=0, shuffle=True):
                method.training_step(data.splits["train"][rows], 0).backward()
                if isinstance(method, NPL):
                    momentum_update(method.momentum_net, method.network, 0.9)
        assert not syncs.found
        optimizer.step()
        with HostSyncs() as syncs:  # the test bites
            float(method.losses["loss"][0])
            torch.ones(3)[torch.ones(3) > 0]
        assert syncs.found == ["_local_scalar_dense", "index"]

    @pytest.mark.parametrize("experiment", ["mil", "npl_soft", "npl_hard", "ppl_soft", "ppl_hard", "ppl_per_modality"])
    def test_loss_falls(self, build: Build, experiment: str) -> None:
        method, data = build(experiment, "network.dropout=0.0", "method.learning_rate=0.003")
        if isinstance(method, NPL):
            method.refresh(data.splits["train"])
        batch = data.splits["train"][torch.arange(16)]
        optimizer = method.configure_optimizers()
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = method.training_step(batch, 0)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]

    def test_momentum_network_follows_by_the_formula(self, build: Build) -> None:
        method, data = build("npl_soft", "method.momentum_warmup=false", "method.momentum=0.75")
        expected = [p.clone() for p in method.momentum_net.parameters()]

        class Follow(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
                for average, current in zip(expected, module.network.parameters(), strict=True):
                    average.mul_(0.75).add_(0.25 * current.detach())

        fit(method, data, callbacks=[Follow()])
        for average, reference in zip(method.momentum_net.parameters(), expected, strict=True):
            torch.testing.assert_close(average, reference)
            assert not average.requires_grad

    def test_momentum_network_has_no_dropout_while_training(self, build: Build) -> None:
        method, _ = build("ppl_soft")
        method.train()
        assert method.network.training
        assert not any(module.training for module in method.momentum_net.modules())

    @pytest.mark.parametrize("steps", [0, 1, 5, 6, 7, 8, 11])
    def test_a_run_that_is_asked_to_stop_goes_on_with_the_next_step(
        self, build: Build, tmp_path: Path, steps: int
    ) -> None:
        """Six steps an epoch: also before the first of an epoch, and between two epochs."""
        seen: list[list[int]] = []

        class Ask(pl.Callback):
            def __init__(self, stop: SafeStop, after: int | None) -> None:
                self.stop, self.after = stop, after

            def on_train_epoch_start(self, *_: Any) -> None:  # while labeling
                self.ask()

            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
                seen.append(batch.index.tolist())
                self.ask()

            def ask(self) -> None:
                if len(seen) == self.after:
                    self.stop.request.note(signal.SIGTERM, None)

        def run(stop_after: int | None, resume: Path | None) -> Any:
            method, data = build("ppl_soft", "data.batch_size=7", "method.start_epoch=0")
            stop = SafeStop(str(tmp_path), max_loss=1e4)
            refresh = RefreshPseudoLabels(str(tmp_path))
            last = ModelCheckpoint(
                tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False, every_n_epochs=1
            )
            trainer = pl.Trainer(
                accelerator="cpu",
                max_epochs=2,
                logger=False,
                callbacks=[SeedSteps(3), stop, refresh, last, Ask(stop, stop_after)],
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            trainer.fit(method, data, ckpt_path=resume)
            return method.state_dict(), trainer.callback_metrics

        weights, metrics = run(None, None)
        undisturbed, seen[:] = list(seen), []
        with pytest.raises(SystemExit) as leave:
            run(steps, None)
        assert leave.value.code == 143
        assert len(seen) == steps
        again, metrics_again = run(None, tmp_path / "last.ckpt")
        assert seen == undisturbed
        assert all(torch.equal(weights[name], again[name]) for name in weights)
        for name in metrics:
            if not name.startswith("labeling/"):
                assert torch.equal(metrics[name], metrics_again[name]), name

    def test_logged_losses_are_means_over_the_videos(self, build: Build) -> None:
        """40 videos in batches of 16, 16 and 8, which count for half."""
        method, data = build("mil", "network.dropout=0")
        losses: list[tuple[float, int]] = []

        class Watch(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
                losses.append((float(outputs["loss"]), len(batch.index)))

        trainer = fit(method, data, epochs=2, callbacks=[Watch()])
        assert [videos for _, videos in losses] == 2 * [16, 16, 8]
        expected = sum(loss * videos for loss, videos in losses[3:]) / 40
        assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(expected)
        parts = [float(trainer.callback_metrics[f"train/{name}"]) for name in ("mil", "guided")]
        assert sum(parts) == pytest.approx(expected)

    def test_unguided_has_no_guided_loss(self, build: Build) -> None:
        method, data = build("mil_unguided")
        method.training_step(data.splits["train"][torch.arange(8)], 0)
        assert method.losses["guided"][0] == 0
        assert method.losses["loss"] == method.losses["mil"]

    def test_class_weights_come_from_the_training_videos(self, build: Build, tiny: ParsingSet) -> None:
        method, data = build("mil")
        plain, _ = build("han")
        method.meet(data.splits["train"])
        plain.meet(data.splits["train"])
        assert tiny.train is not None
        counts = tiny.train.weak_labels.sum(0).clamp(min=1)
        assert method.event_weights.mean().item() == pytest.approx(1)
        ratio = method.event_weights * counts
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        assert (plain.event_weights == 1).all()


class TestLabels:
    def test_naive_labels_are_the_momentum_networks_probabilities(self, build: Build) -> None:
        method, data = build("npl_soft")
        train = data.splits["train"]
        method.refresh(train)
        output = method.momentum_net(train[torch.arange(len(train))])
        expected = output.segment_probs * train.weak_labels[:, None, None]
        torch.testing.assert_close(method.pseudo_labels, expected)

    def test_a_modality_that_does_not_attend_while_labeling_labels_what_it_shows_itself(
        self, build: Build, tiny: ParsingSet
    ) -> None:
        method, _ = build("npl_soft", "method.label_attending=[audio]", "method.source=best")
        alone, _ = build("npl_soft", "network.cross_attention=false")
        for net in ("network", "momentum_net", "best_net"):
            assert method.get_submodule(net).attending == (None if net == "network" else ("audio",))
        alone.momentum_net.load_state_dict(method.momentum_net.state_dict(), strict=False)
        assert tiny.train is not None
        batch = tiny.train[torch.arange(8)]
        together, apart, labels = method.network.eval()(batch), alone.label(batch), method.label(batch)
        weak = batch.weak_labels[:, None, :]
        torch.testing.assert_close(labels[:, :, 0], weak * together.segment_probs[:, :, 0])
        torch.testing.assert_close(labels[:, :, 1], apart[:, :, 1])
        assert not torch.allclose(labels[:, :, 1], weak * together.segment_probs[:, :, 1], atol=1e-3)

    def test_labels_of_the_best_network(self, build: Build) -> None:
        method, _ = build("npl_soft", "method.source=best")
        with torch.no_grad():
            for parameter in method.momentum_net.parameters():
                parameter.add_(1)
        assert method.labeling_net is method.best_net
        method.keep_best()
        for best, now in zip(method.best_net.parameters(), method.momentum_net.parameters(), strict=True):
            torch.testing.assert_close(best, now)

    @pytest.mark.parametrize("experiment", ["ppl_soft", "ppl_per_modality"])
    def test_prototype_labels_equal_those_made_step_by_step(self, build: Build, experiment: str) -> None:
        method, data = build(experiment)
        train = data.splits["train"]
        report = method.refresh(train)
        output = method.momentum_net(train[torch.arange(len(train))])
        features = torch.nn.functional.normalize(output.features, dim=-1)
        for m in range(2):
            g = m if experiment == "ppl_per_modality" else 0
            own = Prototypes(method.positive[g], method.positive_mask[g], method.negative[g], method.negative_mask[g])
            expected = soft_labels(features[:, :, m : m + 1], own, train.weak_labels, method.tau)
            torch.testing.assert_close(method.pseudo_labels[:, :, m : m + 1], expected)
        assert report.prototypes["positive"].sum() == method.positive_mask.sum()
        assert (method.pseudo_labels[train.weak_labels[:, None, None].expand_as(method.pseudo_labels) == 0] == 0).all()

    def test_labels_of_a_batch_are_those_of_the_refresh(self, build: Build) -> None:
        method, data = build("ppl_hard")
        train = data.splits["train"]
        method.refresh(train)
        rows = torch.tensor([3, 30, 7])
        torch.testing.assert_close(method.label(train[rows]), method.pseudo_labels[rows])

    @pytest.mark.parametrize("experiment", ["ppl_soft", "ppl_per_modality"])
    def test_memory_for_features_changes_no_bit(
        self, build: Build, experiment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(npl, "LABELING_BATCH", 16)
        reports, methods = [], []
        for memory in (6, 0, 3e-5):  # gigabytes: all, none, and a block of three
            method, data = build(experiment, f"method.feature_memory_gb={memory}")
            reports.append(method.refresh(data.splits["train"]))
            methods.append(method)
        for method, report in zip(methods[1:], reports[1:], strict=True):
            assert torch.equal(method.pseudo_labels, methods[0].pseudo_labels)
            assert torch.equal(method.positive, methods[0].positive)
            assert torch.equal(report.bound, reports[0].bound)

    def test_the_bound_is_the_mean_over_videos_and_events(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(npl, "LABELING_BATCH", 16)
        method, data = build("ppl_soft")
        train = data.splits["train"]
        report = method.refresh(train)
        probs = method.momentum_net(train[torch.arange(40)]).segment_probs.flatten(1, 2)
        real = train.mask.repeat_interleave(2, dim=1)
        expected = bound(probs, method.pseudo_labels.flatten(1, 2), train.weak_labels, real).mean()
        torch.testing.assert_close(report.bound.float(), expected)

    def test_key_segments_are_counted_over_all_blocks(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(npl, "LABELING_BATCH", 16)
        method, data = build("ppl_per_modality")
        train = data.splits["train"]
        report = method.refresh(train)
        probs = method.momentum_net(train[torch.arange(40)]).segment_probs
        found = select_segments(
            probs, train.weak_labels, train.mask, method.gamma, method.beta, True, method.min_modality
        )
        assert torch.equal(report.segments["positive"], found.positive.sum((0, 1, 2)))
        assert torch.equal(report.segments["negative"], found.negative.sum((0, 1, 2)))
        features = torch.nn.functional.normalize(method.momentum_net(train[torch.arange(40)]).features, dim=-1)
        event = int(found.positive[:, :, 1].sum((0, 1)).argmin())  # few enough to be prototypes themselves
        own = features[:, :, 1][found.positive[:, :, 1, event]]
        used = method.positive[1, event][method.positive_mask[1, event]]
        assert len(used) == min(len(own), method.k)
        if len(own) <= method.k:
            torch.testing.assert_close(used, own)

    def test_torch_clusters_as_well(self, build: Build) -> None:
        method, data = build("ppl_soft", "method.kmeans=torch")
        report = method.refresh(data.splits["train"])
        assert (report.prototypes["positive"] == report.segments["positive"].clamp(max=method.k)).all()
        assert method.pseudo_labels.max() > 0.5

    def test_refresh_is_the_same_twice(self, build: Build) -> None:
        (one, data), (two, _) = build("ppl_soft"), build("ppl_soft")
        for method in (one, two):
            method.refresh(data.splits["train"])
        assert torch.equal(one.pseudo_labels, two.pseudo_labels)
        assert torch.equal(one.positive, two.positive)


class TestParsing:
    def test_gate_keeps_events_of_the_video_only(self) -> None:
        probs = torch.tensor([0.9, 0.5, 0.4]).reshape(1, 3, 1, 1).repeat(1, 1, 1, 2)
        video_probs = torch.tensor([[0.5, 0.49]])
        parsed = gate(probs >= 0.5, probs, video_probs, torch.tensor([[True, True, True]]))
        assert parsed.timelines[0, :, 0].tolist() == [[True, False], [True, False], [False, False]]
        masked = gate(probs >= 0.5, probs, video_probs, torch.tensor([[False, True, True]]))
        assert masked.timelines[0, :, 0, 0].tolist() == [False, True, False]

    def test_probabilities_tell_also_of_events_that_the_video_is_said_not_to_have(self) -> None:
        probs = torch.tensor([0.9, torch.nan, 0.4]).reshape(1, 3, 1, 1).repeat(1, 1, 1, 2)  # padding holds anything
        video_probs = torch.tensor([[0.5, 0.49]])
        parsed = gate(probs >= 0.5, probs, video_probs, torch.tensor([[True, False, True]]))
        torch.testing.assert_close(parsed.probs[0, :, 0], torch.tensor([[0.9, 0.9], [0.0, 0.0], [0.4, 0.4]]))
        assert torch.equal(parsed.video_probs, video_probs)

    def test_prototypes_meet_features_of_a_network_that_attends_as_theirs(self, build: Build) -> None:
        method, data = build("ppl_soft", "method.inference=prototype", "method.label_attending=[audio]")
        method.refresh(data.splits["train"])
        method.eval()
        batch = data.splits["test"][torch.arange(12)]
        with torch.no_grad():
            parsed, video_probs = method.parse(batch), method.network(batch).video_probs
            assert method.network.attending is None  # again
            assert torch.equal(parsed.video_probs, video_probs)
            own = Prototypes(method.positive[0], method.positive_mask[0], method.negative[0], method.negative_mask[0])
            method.network.attending = ("audio",)
            features = torch.nn.functional.normalize(method.network(batch).features, dim=-1)
            expected = soft_labels(features, own, torch.ones_like(video_probs), method.tau)
        torch.testing.assert_close(parsed.probs, expected)

    @pytest.mark.parametrize("inference", ["prototype", "prototype_hard"])
    def test_prototype_inference_is_labels_of_the_predicted_events(self, build: Build, inference: str) -> None:
        method, data = build("ppl_soft", f"method.inference={inference}")
        method.refresh(data.splits["train"])
        method.eval()
        batch = data.splits["test"][torch.arange(12)]
        with torch.no_grad():
            method.network.event_head.bias[::2] += 3  # so that half of the events are predicted
            method.network.event_head.bias[1::2] -= 3
            output = method.network(batch)
            predicted = (output.video_probs >= 0.5).float()
            assert 0 < predicted.mean() < 1
            features = torch.nn.functional.normalize(output.features, dim=-1)
            own = Prototypes(method.positive[0], method.positive_mask[0], method.negative[0], method.negative_mask[0])
            soft = soft_labels(features, own, predicted, method.tau)
            hard = hard_labels(features, own, predicted)
            assert ((soft >= 0.5) != (hard > 0)).any()  # tau decides some
            parsed = method.parse(batch)
            assert torch.equal(parsed.timelines, soft >= 0.5 if inference == "prototype" else hard > 0)
            tau = method.tau if inference == "prototype" else 1.0
            everywhere = soft_labels(features, own, torch.ones_like(predicted), tau)
            torch.testing.assert_close(parsed.probs, everywhere)
            torch.testing.assert_close(parsed.video_probs, output.video_probs)

    def test_parse_all_is_parse_in_order(self, build: Build) -> None:
        method, data = build("mil")
        test = data.splits["test"]
        everything = method.parse_all(test, batch_size=5)
        with torch.no_grad():
            together = method.parse(test[torch.arange(len(test))])
        assert torch.equal(everything.timelines, together.timelines)
        torch.testing.assert_close(everything.probs, together.probs)
        torch.testing.assert_close(everything.video_probs, together.video_probs)


def test_inheritance_follows_the_paper() -> None:
    assert issubclass(PPL, NPL)
    assert issubclass(NPL, MIL)
