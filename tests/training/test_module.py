"""The one module: what it learns and logs, when its parts follow, what it parses and tests."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.data import warning_cache
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from avvp_pl.data.videos import ParsingSet, VideoBatches
from avvp_pl.errors import InputError
from avvp_pl.inference.gates import Gates
from avvp_pl.labeling.naive import Naive
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.metrics import score_timelines
from avvp_pl.parts import Part, Step, Targets, Team, Term
from avvp_pl.settings.conf import config_dir
from avvp_pl.training.module import ParsingModule, digest
from avvp_pl.types import Batch, ParsingOutput
from tests.commands.experiments import files_for
from tests.conftest import Build
from tests.stand_ins import find_more, some_videos
from tests.training.trainers import fit, trainer_of

EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
LABELINGS = ["mil", "npl_soft", "npl_hard", "ppl_soft", "ppl_hard", "ppl_per_modality"]
RECURRENT = ["ave", "avsdn"]  # whose networks read videos of several lengths without asking for the lengths
LABELED = 1  # the first epoch with pseudo labels
NO_WEIGHTS = ["method.weights.video=0", "method.weights.audio=0", "method.weights.visual=0"]


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


def ready(module: ParsingModule, data: Any) -> ParsingModule:
    """Let the parts prepare for the training videos, and label them where the labeling does."""
    module.start(data.splits["train"])
    module.labeling.refresh(data.splits["train"], LABELED, Team())
    return module.train()


class TestSteps:
    @pytest.mark.parametrize("experiment", [*LABELINGS, *RECURRENT])
    def test_no_step_waits_for_a_value(self, build: Build, experiment: str) -> None:
        module, data = build(experiment)
        ready(module, data)
        optimizer = module.configure_optimizers()
        assert data.splits["train"].equal_length == 10  # computed once
        with HostSyncs() as syncs:
            for rows in VideoBatches(40, 16, seed=0, shuffle=True):
                torch.autograd.backward(module.training_step(data.splits["train"][rows], 0))
                for part in module.parts.values():
                    part.after_step(module.network, 0)
        assert not syncs.found
        optimizer.step()
        with HostSyncs() as syncs:  # the test bites
            float(module.losses["loss"][0])
            torch.ones(3)[torch.ones(3) > 0]
        assert syncs.found == ["_local_scalar_dense", "index"]

    @pytest.mark.parametrize("experiment", [*LABELINGS, *RECURRENT])
    def test_no_step_on_videos_of_several_lengths_waits_either(
        self, build: Build, ragged: ParsingSet, experiment: str
    ) -> None:
        """Once there is a batch: it is put together on the CPU, where the lengths are."""
        module, data = build(experiment, videos=ragged)
        ready(module, data)
        batch = data.splits["train"][torch.arange(16)]
        with HostSyncs() as syncs:
            torch.autograd.backward(module.training_step(batch, 0))
        assert not syncs.found

    @pytest.mark.parametrize("experiment", LABELINGS)
    def test_the_loss_falls(self, build: Build, experiment: str) -> None:
        module, data = build(experiment, "network.dropout=0.0", "optimizer.learning_rate=0.003")
        ready(module, data)
        batch = data.splits["train"][torch.arange(16)]
        optimizer = module.configure_optimizers()
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = module.training_step(batch, 0)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]

    @pytest.mark.parametrize("labeled", [False, True])
    @pytest.mark.parametrize(
        "case",
        [*([name] for name in EXPERIMENTS), *([name, *NO_WEIGHTS] for name in ("mil", *RECURRENT))],
        ids=" ".join,
    )
    def test_every_trained_weight_has_a_gradient(
        self, build: Build, tiny: ParsingSet, tmp_path: Path, case: list[str], labeled: bool
    ) -> None:
        """If only of zeros: several processes wait for all of them in every step."""
        experiment, *settings = case
        module, data = build(experiment, *files_for(experiment, tmp_path, lambda: tiny), *settings)
        module.start(data.splits["train"])
        if labeled:
            ready(module, data)
        torch.autograd.backward(module.training_step(data.splits["train"][torch.arange(8)], 0))
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        assert trained.keys() == {name for name, _ in module.named_parameters() if ".teacher." not in name}
        assert [name for name, weight in trained.items() if weight.grad is None] == []
        assert (settings != []) == all(not weight.grad.any() for weight in trained.values() if weight.grad is not None)

    def test_the_loss_is_the_sum_of_the_weighted_terms_and_they_are_logged_without_weights(self, build: Build) -> None:
        module, data = build(
            "ppl_soft", "network.dropout=0", "method.weights.video=0.5", "labeling.weight_contrastive=2"
        )
        ready(module, data)
        loss = module.training_step(data.splits["train"][torch.arange(8)], 0)
        of = {name: float(total) / videos for name, (total, videos) in module.losses.items()}
        assert list(of) == ["mil", "guided", "pseudo_label", "contrastive", "loss"]
        weighted = 0.5 * of["mil"] + of["guided"] + 0.1 * of["pseudo_label"] + 2 * of["contrastive"]
        assert loss.item() == pytest.approx(weighted, rel=1e-5)
        assert of["loss"] == pytest.approx(loss.item(), rel=1e-6)

    def test_pseudo_labels_teach_nothing_before_there_are_any(self, build: Build) -> None:
        module, data = build("ppl_soft")
        module.start(data.splits["train"])
        module.training_step(data.splits["train"][torch.arange(8)], 0)
        assert list(module.losses) == ["mil", "guided", "loss"]

    def test_parts_know_how_far_the_training_is(self, build: Build) -> None:
        """Three steps an epoch."""
        seen: list[tuple[int, float, int]] = []
        module, data = build("mil")
        forward = module.method.forward

        def watch(step: Step) -> dict[str, Term]:
            seen.append((step.epoch, step.done, step.number))
            return forward(step)

        module.method.forward = watch  # type: ignore[method-assign]
        fit(module, data, epochs=2)
        assert seen == [(epoch, batch / 3, batch) for epoch in range(2) for batch in range(3)]


class TestParts:
    def test_parts_inside_parts_are_parts_of_the_module(self, build: Build) -> None:
        module, _ = build("ppl_soft", "inference=[classifier,prototype]")
        assert list(module.parts) == [
            "method",
            "method.targets",
            "method.contrast",
            "labeling",
            "inferences.classifier",
            "inferences.prototype",
            "inferences.prototype.without",
            "decision",
        ]

    def test_every_part_looks_at_the_training_videos_before_training(self, build: Build) -> None:
        class Watching(Targets):
            def start(self, videos: Any) -> None:
                started.append(videos.names)

            def forward(self, step: Step) -> Tensor:
                return step.batch.weak_labels[:, None].expand(-1, 2, -1)

        started: list[tuple[str, ...]] = []
        module, data = build("mil")
        module.method.targets = Watching()
        module = ParsingModule(
            module.network,
            module.method,
            module.labeling,
            dict(module.inferences),
            module.decision,
            module.optimization,
            module.task,
            module.modalities,
            module.events,
        )
        fit(module, data)
        assert started == [data.splits["train"].names]

    @pytest.mark.parametrize("experiment", ["npl_soft", "ppl_soft"])
    @pytest.mark.parametrize("source", ["momentum", "best"])
    def test_networks_that_label_have_no_dropout_while_training(
        self, build: Build, experiment: str, source: str
    ) -> None:
        module, _ = build(experiment, f"labeling.source={source}")
        module.train()
        assert module.network.training
        assert isinstance(module.labeling, Naive | Prototype)
        assert not any(inner.training for inner in module.labeling.teacher.modules())

    @pytest.mark.parametrize("experiment", ["npl_soft", "ppl_soft"])
    @pytest.mark.parametrize(("batches", "warmup"), [(1, False), (2, False), (3, False), (2, True)])
    def test_the_momentum_network_moves_once_after_every_step_of_the_optimizer(
        self, build: Build, experiment: str, batches: int, warmup: bool
    ) -> None:
        """Of ``batches`` batches, or fewer at the end of an epoch of three; by the formula and the step's number."""
        settings = (f"labeling.momentum_warmup={warmup}", "labeling.momentum=0.75", "optimizer.learning_rate=0.1")
        module, data = build(experiment, *settings)
        assert isinstance(module.labeling, Naive | Prototype)
        expected = [weight.clone() for weight in module.labeling.teacher.average.parameters()]
        momenta = []

        class Follow(pl.Callback):
            steps = 0

            def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
                if trainer.global_step > self.steps:
                    momenta.append(min(0.75, (1 + self.steps) / (10 + self.steps)) if warmup else 0.75)
                    for average, current in zip(expected, module.network.parameters(), strict=True):
                        average.mul_(momenta[-1]).add_((1 - momenta[-1]) * current.detach())
                    self.steps = trainer.global_step

        fit(module, data, epochs=2, callbacks=[Follow()], accumulate_grad_batches=batches)
        assert len(momenta) == 2 * -(-3 // batches)
        for average, reference in zip(module.labeling.teacher.average.parameters(), expected, strict=True):
            torch.testing.assert_close(average, reference)
            assert not average.requires_grad

    @pytest.mark.parametrize("batches", [1, 2])
    def test_parts_are_told_the_number_of_each_step_of_the_optimizer(self, build: Build, batches: int) -> None:
        module, data = build("mil")
        told: list[int] = []
        module.method.after_step = lambda network, step: told.append(step)  # type: ignore[method-assign]
        trainer = fit(module, data, epochs=2, accumulate_grad_batches=batches)
        assert told == list(range(trainer.global_step))

    def test_a_part_may_let_weights_rest_before_each_step(self, build: Build) -> None:
        """They get a gradient, but neither a change nor a state of the optimizer, and are told the epoch."""
        module, data = build("mil")
        resting = dict(module.network.named_parameters())["event_head.weight"]
        before = resting.detach().clone()
        told: list[int] = []

        def rest(network: Any, epoch: int) -> None:
            assert resting.grad is not None
            resting.grad = None
            told.append(epoch)

        module.method.before_step = rest  # type: ignore[method-assign]
        trainer = fit(module, data, epochs=2)
        assert told == [0] * 3 + [1] * 3
        assert torch.equal(resting, before)
        assert resting not in trainer.optimizers[0].state


class TestLogging:
    @pytest.mark.parametrize("batches", [1, 2])
    def test_losses_are_means_over_the_videos(self, build: Build, batches: int) -> None:
        """40 videos in batches of 16, 16 and 8, which count for half."""
        module, data = build("mil", "network.dropout=0")
        losses: list[tuple[float, int]] = []

        class Watch(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
                losses.append((batches * float(outputs["loss"]), len(batch.index)))

        trainer = fit(module, data, epochs=2, callbacks=[Watch()], accumulate_grad_batches=batches)
        assert [videos for _, videos in losses] == 2 * [16, 16, 8]
        expected = sum(loss * videos for loss, videos in losses[3:]) / 40
        assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(expected)
        parts = [float(trainer.callback_metrics[f"train/{name}"]) for name in ("mil", "guided")]
        assert sum(parts) == pytest.approx(expected)

    def test_a_value_that_comes_after_the_row_is_an_error(self, build: Build) -> None:
        module, _ = build("mil")
        module.row_is_taken = True
        with pytest.raises(RuntimeError, match="late is logged after the epoch's row was written"):
            module.log("late", 1.0)


class TestParsing:
    @pytest.mark.parametrize("videos", ["tiny", "ragged"])
    def test_parse_all_is_parse_in_order(self, build: Build, request: pytest.FixtureRequest, videos: str) -> None:
        made: ParsingSet = request.getfixturevalue(videos)
        module, data = build("mil", videos=made)
        test = data.splits["test"]
        everything = module.parse_all(test, batch_size=5)
        with torch.no_grad():
            together = module.parse(test[torch.arange(len(test))])["classifier"]
        assert torch.equal(everything.lengths, test.lengths)
        assert torch.equal(everything.timelines, together.timelines[test.mask])
        torch.testing.assert_close(everything.probs, together.probs[test.mask])
        torch.testing.assert_close(everything.video_probs, together.video_probs)

    @pytest.fixture
    def answered(self, build: Build) -> tuple[ParsingModule, Batch]:
        """Three segments, the second of which is padding with anything in it; the video has the first of two events."""
        module, _ = build("mil")
        probs = torch.tensor([0.9, torch.nan, 0.4]).reshape(1, 3, 1, 1).repeat(1, 1, 2, 2)
        video_probs = torch.tensor([[0.5, 0.49]])
        output = ParsingOutput(torch.zeros(1, 3, 2, 4), probs, video_probs, torch.zeros(1, 2, 2))
        module.forward = lambda batch: output  # type: ignore[method-assign]
        batch = some_videos([3], [[1.0, 0.0]])[torch.tensor([0])]
        return module, replace(batch, mask=torch.tensor([[True, False, True]]))

    def test_only_events_of_the_video_are_found_and_never_at_padding(
        self, answered: tuple[ParsingModule, Batch]
    ) -> None:
        module, batch = answered
        parsed = module.parse(batch)["classifier"]
        assert parsed.timelines[0, :, 0].tolist() == [[True, False], [False, False], [False, False]]
        assert parsed.lengths.tolist() == [2]

    def test_probabilities_tell_also_of_events_that_the_video_is_said_not_to_have(
        self, answered: tuple[ParsingModule, Batch]
    ) -> None:
        module, batch = answered
        parsed = module.parse(batch)["classifier"]
        torch.testing.assert_close(parsed.probs[0, :, 0], torch.tensor([[0.9, 0.9], [0.0, 0.0], [0.4, 0.4]]))
        torch.testing.assert_close(parsed.video_probs, torch.tensor([[[0.5, 0.49], [0.5, 0.49]]]))

    def test_another_decision_finds_other_events(self, build: Build, tiny: ParsingSet) -> None:
        low, _ = build("mil", "protocol.decision.segment_threshold=0", "protocol.decision.video_threshold=0")
        high, _ = build("mil", "protocol.decision.segment_threshold=1", "protocol.decision.video_threshold=1")
        assert tiny.test is not None
        assert isinstance(low.decision, Gates)
        assert low.parse_all(tiny.test).timelines.all()
        assert not high.parse_all(tiny.test).timelines.any()


class TestScores:
    @pytest.mark.parametrize("videos", ["tiny", "ragged"])
    def test_every_inference_has_scores_of_its_own(
        self, build: Build, request: pytest.FixtureRequest, videos: str
    ) -> None:
        """The first one is ``test``, others have their name in it."""
        made: ParsingSet = request.getfixturevalue(videos)
        module, data = build("ppl_soft", "inference=[classifier,prototype]", videos=made)
        train, test = data.splits["train"], data.splits["test"]
        find_more(module, by=1)
        module.labeling.refresh(train, LABELED, Team())
        trainer = trainer_of()
        trainer.test(module, data, verbose=False)
        assert list(module.test_scores) == ["classifier", "prototype"]
        assert test.truth is not None
        module.eval()
        with torch.no_grad():
            parsed = module.parse(test[torch.arange(len(test))], list(module.inferences))
        for name, prefix in (("classifier", "test"), ("prototype", "test/prototype")):
            expected = score_timelines(parsed[name].timelines, test.padded(test.truth), test.mask)
            assert module.test_scores[name].flat() == pytest.approx(expected.flat())
            for score, value in expected.flat().items():
                assert float(trainer.callback_metrics[f"{prefix}/{score}"]) == pytest.approx(value, rel=1e-6)
        assert module.test_scores["classifier"].flat() != module.test_scores["prototype"].flat()

    def test_an_inference_that_the_labeling_cannot_serve_is_refused(self, build: Build) -> None:
        with pytest.raises(InputError, match="prototypes"):
            build("mil", "inference=prototype")

    def test_a_module_without_an_optimization_can_only_be_tested(self, build: Build) -> None:
        module, data = build("mil")
        module.optimization = None
        trainer_of().test(module, data, verbose=False)
        with pytest.raises(AssertionError, match="can be tested only"):
            fit(module, data)


class TestCheckpoints:
    @staticmethod
    def saved(build: Build, *settings: str, batches: int = 2) -> tuple[ParsingModule, dict[str, Any]]:
        """A module in the middle of its second epoch, and what it would save."""
        module, data = build("npl_soft", *settings)
        content: dict[str, Any] = {}

        class Save(pl.Callback):
            def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
                if trainer.current_epoch == 1 and batch_idx == batches and not content:
                    module.on_save_checkpoint(content)

            def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
                module.labeling.refresh(trainer.datamodule.train, trainer.current_epoch, Team())

        fit(module, data, epochs=2, callbacks=[Save()])
        return module, content

    def test_a_checkpoint_has_the_losses_so_far_and_the_labels(self, build: Build) -> None:
        module, content = self.saved(build)
        labels = module.labeling.pseudo_labels
        assert labels is not None
        assert content["losses"]["names"] == ["mil", "guided", "pseudo_label", "loss"]
        assert content["losses"]["sums"].shape == (1, 4, 2)
        assert content["losses"]["sums"][0, :, 1].tolist() == [32] * 4  # videos
        assert content["progress"].keys() == {"labeling"}
        assert torch.equal(content["progress"]["labeling"]["pseudo_labels"], labels)

    def test_a_module_continues_with_them(self, build: Build) -> None:
        _, content = self.saved(build)
        module, _ = build("npl_soft")
        module.on_load_checkpoint(content)
        assert module.labeling.ready
        assert {name: videos for name, (_, videos) in module.losses.items()} == dict.fromkeys(
            content["losses"]["names"], 32
        )
        for number, (total, _) in enumerate(module.losses.values()):
            assert total.item() == pytest.approx(content["losses"]["sums"][0, number, 0].item())

    def test_one_process_takes_the_losses_of_all_where_there_were_more(self, build: Build) -> None:
        """Sums of two processes, [2, losses, 2]."""
        sums = torch.tensor([[[1.0, 16.0], [3.0, 16.0]], [[2.0, 8.0], [5.0, 8.0]]], dtype=torch.float64)
        module, _ = build("mil")
        module.on_load_checkpoint({"losses": {"names": ["mil", "loss"], "sums": sums}, "progress": {}})
        assert {name: (total.item(), videos) for name, (total, videos) in module.losses.items()} == {
            "mil": (3.0, 24),
            "loss": (8.0, 24),
        }

    def test_losses_that_were_collected_at_another_moment_are_not_saved(self, build: Build) -> None:
        """Those of two processes after 16 videos: a save then has both, and one after 32 videos has only its own."""
        module, data = build("mil")
        module.trainer = trainer_of()
        module.trainer.datamodule = data  # type: ignore[attr-defined]
        collected, content = torch.ones(2, 1, 2, dtype=torch.float64), dict[str, Any]()
        for videos in (16, 32):
            module.losses = {"loss": (torch.tensor(3.0), videos)}
            if videos == 16:
                module.gather_losses()
                assert module.all_losses is not None
                module.all_losses = (module.all_losses[0], collected)
            module.on_save_checkpoint(content)
            assert content["losses"]["sums"].tolist() == (collected.tolist() if videos == 16 else [[[3.0, 32.0]]])

    def test_the_best_epoch_is_told_to_every_part(self, build: Build) -> None:
        module, _ = build("ppl_soft", "inference=[classifier,prototype]")
        told = []
        for name, part in module.parts.items():
            part.keep_best = lambda name=name: told.append(name)  # type: ignore[method-assign, misc]
        module.keep_best()
        assert told == list(module.parts)

    def test_videos_are_told_apart_by_names_order_and_lengths(self) -> None:
        videos = some_videos([2, 1], [[1.0], [0.0]])
        assert digest(videos) == digest(some_videos([2, 1], [[0.0], [1.0]]))
        others = [
            some_videos([1, 2], [[1.0], [0.0]]),
            replace(videos, names=("video1", "video0")),
            replace(videos, names=("video0", "video2")),
            some_videos([2], [[1.0]]),
            some_videos([2, 1, 1], [[1.0], [0.0], [0.0]]),
        ]
        assert len({digest(videos), *map(digest, others)}) == 1 + len(others)

    def test_no_part_loses_its_progress_where_it_moves_to_the_device(self, build: Build) -> None:
        module, _ = self.saved(build)
        labels = module.labeling.pseudo_labels
        assert labels is not None
        module.on_fit_start()
        assert module.labeling.pseudo_labels is not None
        assert torch.equal(module.labeling.pseudo_labels, labels)
        assert all(isinstance(part, Part) for part in module.parts.values())


def test_nobody_guesses_the_size_of_a_batch(build: Build, tiny: ParsingSet) -> None:
    """Without truth of the training videos, as of one's own data, Lightning finds a batch ambiguous and says so."""
    assert tiny.train is not None
    module, data = build("ppl_soft", videos=replace(tiny, train=replace(tiny.train, truth=None)))
    warning_cache.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*infer the `batch_size`")
        fit(module, data, epochs=2, callbacks=[])
