"""JoMoLD: rates and removed labels against loops over events and videos, and batches by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from avvp_pl.data.products import Product, write_product
from avvp_pl.errors import InputError
from avvp_pl.methods.jomold import Denoised, NoiseRates, noisy
from avvp_pl.parts import Step, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput
from tests.stand_ins import some_videos, step_of, together

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "saw")
SMOOTHING = {"visual": 0.9}


class OfModalities(ParsingNetwork):
    """Returns given probabilities of modalities, [N, M, C], and notes how it was run."""

    feature_dim = 1

    def __init__(self, modality_probs: Tensor) -> None:
        super().__init__()
        self.probs, self.weight = modality_probs, nn.Parameter(torch.zeros(()))
        self.runs: list[tuple[bool, tuple[str, ...] | None, bool]] = []

    def forward(self, batch: Batch) -> ParsingOutput:
        self.runs.append((self.training, self.attending, torch.is_grad_enabled()))
        probs = self.probs[batch.index] + 0 * self.weight
        segments = probs[:, None].expand(-1, batch.mask.shape[1], -1, -1)
        return ParsingOutput(segments[..., :1], segments, probs.mean(1), probs)


def slow_noise(losses: Any, has_event: Any, rates: Any) -> list[list[list[bool]]]:
    """As the paper tells it: sort the losses of each modality, and compare the sets of videos at both ends."""
    videos, modalities, events = np.shape(losses)
    removed = np.zeros((videos, modalities, events), dtype=bool)
    for c in range(events):
        having = [b for b in range(videos) if has_event[b][c]]
        for m in range(modalities):
            k = math.floor(rates[m][c] * len(having))
            order = {o: sorted(having, key=lambda b, o=o: losses[b][o][c]) for o in range(modalities)}  # type: ignore[misc]
            worst = order[m][len(having) - k :]
            best = {b for o in range(modalities) if o != m for b in order[o][:k]}
            for b in worst:
                removed[b, m, c] = b in best
    return removed.tolist()  # type: ignore[no-any-return]


def test_a_batch_of_four_by_hand() -> None:
    """All have the event. Half of the visual labels may be noise, none of the audio labels.

    Visual losses are largest in videos 1 and 3, audio losses are smallest in videos 0 and 1: only 1 is in both.
    """
    losses = torch.tensor([[[0.1], [0.5]], [[0.2], [3.0]], [[0.9], [0.1]], [[0.8], [2.0]]])
    found = noisy(losses, torch.ones(4, 1, dtype=torch.bool), torch.tensor([[0.0], [0.5]]))
    assert found.squeeze(-1).tolist() == [[False, False], [False, True], [False, False], [False, False]]
    # with a rate of 0.75 three of each: {0, 1, 3} and {0, 1, 3}
    found = noisy(losses, torch.ones(4, 1, dtype=torch.bool), torch.tensor([[0.0], [0.75]]))
    assert found[:, 1, 0].tolist() == [True, True, False, True]


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 3))
def test_noise_by_sorting_one_event_at_a_time(seed: int, videos: int, modalities: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(videos, modalities, 3, generator=generator)
    has_event = torch.rand(videos, 3, generator=generator) < 0.6
    rates = torch.rand(modalities, 3, generator=generator, dtype=torch.float64)
    found = noisy(losses, has_event, rates)
    assert found.tolist() == slow_noise(losses.tolist(), has_event.tolist(), rates.tolist())
    assert not noisy(losses, has_event, 0 * rates).any()
    assert torch.equal(noisy(losses, has_event, rates * 0 + 1), has_event[:, None].expand_as(losses))


def test_a_rate_is_counted_as_it_is_written() -> None:
    """0.7 of 10 videos are 7, but 0.7 in single precision is less."""
    losses = torch.stack([torch.arange(10.0), -torch.arange(10.0)], 1)[..., None]
    everywhere = torch.ones(10, 1, dtype=torch.bool)
    assert noisy(losses, everywhere, torch.tensor([[0.7], [0.0]], dtype=torch.float64)).sum() == 7


def rates_file(path: Path, rates: Any, **others: Any) -> Path:
    made: dict[str, Any] = {"names": ("a",), "lengths": np.array([1]), "modalities": MODALITIES, "events": EVENTS}
    write_product(path, Product("rates", values=np.asarray(rates), **{**made, **others}))
    return path


def targets(
    path: Path, ramp: Literal["code", "linear"] = "code", epochs: float = 0.9, dropout: bool = False
) -> Denoised:
    made = Denoised(MODALITIES, EVENTS, SMOOTHING, str(path), ramp, epochs, dropout)
    made.start(some_videos([1], [[1.0, 0.0, 0.0]]))
    return made


WEAK = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]


def a_step(epoch: int = 1, done: float = 0.0, seed: int = 0) -> tuple[Step, OfModalities]:
    videos = some_videos([2, 1, 2, 2], WEAK)
    network = OfModalities(torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(seed)))
    network.train()
    network.attending = ("audio",)
    step = step_of(network, videos[torch.arange(4)], epoch, done)
    network.runs.clear()
    return step, network


def losses_of(network: OfModalities) -> Tensor:
    weak = torch.tensor(WEAK)
    smoothed = torch.stack([weak, 0.9 * weak + 0.05], 1)
    return -(smoothed * network.probs.log() + (1 - smoothed) * (1 - network.probs).log())


def has_event(step: Step) -> Tensor:
    return step.batch.weak_labels > 0


def test_removed_labels_are_0_and_the_others_smoothed(tmp_path: Path) -> None:
    rates = [[0.5, 0.67, 1.0], [0.67, 0.34, 0.5]]
    step, network = a_step()
    found = targets(rates_file(tmp_path / "rates.npz", rates))(step)
    weak = torch.tensor(WEAK)
    smoothed = torch.stack([weak, 0.9 * weak + 0.05], 1)
    removed = torch.tensor(slow_noise(losses_of(network).tolist(), has_event(step).tolist(), rates))
    assert 0 < removed.sum() < weak.sum() * 2
    torch.testing.assert_close(found, smoothed.masked_fill(removed, 0))
    assert step.batch.weak_labels.tolist() == WEAK  # those of the video stay


def test_labels_are_compared_without_cross_attention_dropout_and_gradient(tmp_path: Path) -> None:
    path = rates_file(tmp_path / "rates.npz", np.full((2, 3), 0.5))
    step, network = a_step()
    targets(path)(step)
    targets(path, dropout=True)(step)
    assert network.runs == [(False, (), False), (True, (), False)]
    assert network.training
    assert network.attending == ("audio",)


@pytest.mark.parametrize(
    ("ramp", "epochs", "epoch", "done", "share"),
    [
        ("code", 0.9, 0, 0.0, 0.0),
        ("code", 0.9, 0, 0.99, 0.0),
        ("code", 0.9, 1, 0.0, 1.0),
        ("code", 0.0, 0, 0.0, 1.0),
        ("linear", 0.9, 0, 0.0, 0.0),
        ("linear", 0.9, 0, 0.45, 0.5),
        ("linear", 2.0, 1, 0.5, 0.75),
        ("linear", 0.9, 3, 0.0, 1.0),
        ("linear", 0.0, 0, 0.0, 1.0),
    ],
)
def test_ramps(
    tmp_path: Path, ramp: Literal["code", "linear"], epochs: float, epoch: int, done: float, share: float
) -> None:
    step, network = a_step(epoch, done)
    found = targets(rates_file(tmp_path / "rates.npz", np.ones((2, 3))), ramp, epochs)(step)
    removed = slow_noise(losses_of(network).tolist(), has_event(step).tolist(), np.full((2, 3), share))
    assert ((found == 0) & has_event(step)[:, None]).tolist() == removed
    assert bool(network.runs) == (share > 0)  # nothing is compared in vain


def test_two_processes_compare_the_labels_of_the_whole_batch(tmp_path: Path) -> None:
    path = rates_file(tmp_path / "rates.npz", [[0.5, 0.67, 1.0], [0.67, 0.34, 0.5]])
    whole = targets(path)(a_step()[0])

    def in_process(team: Team) -> Tensor:
        step, _ = a_step()
        videos = some_videos([2, 1, 2, 2], WEAK)
        half = videos[torch.arange(2 * team.rank, 2 * team.rank + 2)]
        return targets(path)(step._replace(batch=half, team=team))

    halves = together(2, in_process)
    torch.testing.assert_close(torch.cat(halves), whole)


def test_rates_by_loops() -> None:
    """The share of the videos with an event whose smoothed probability is below the scaled mean."""
    videos = some_videos([1] * 4, WEAK)
    network = OfModalities(torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(3)))
    thresholds = {"audio": 0.6, "visual": 1.8}
    found = NoiseRates(MODALITIES, thresholds, SMOOTHING)(network.eval(), videos, 3)
    probs = network.probs.tolist()
    for m, (name, label) in enumerate([("audio", 1.0), ("visual", 0.95)]):
        for c in range(3):
            mean = sum(probs[n][m][c] for n in range(4)) / 4
            having = [n for n in range(4) if WEAK[n][c]]
            below = [n for n in having if probs[n][m][c] * label < thresholds[name] * mean]
            assert found[m, c].item() == pytest.approx(len(below) / len(having))
    assert {run[1] for run in network.runs} == {()}
    assert network.attending is None


def test_an_event_that_no_video_has_has_no_noise() -> None:
    videos = some_videos([1, 1], [[1.0, 0.0], [1.0, 0.0]])
    network = OfModalities(torch.full((2, 2, 2), 0.3))
    found = NoiseRates(MODALITIES, {"audio": 2.0, "visual": 0.5}, {})(network, videos, 2)
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def change(name: str, value: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with np.load(path) as content:
            np.savez(path, **{**content, name: value})

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            change("events", np.array(["bell", "dog", "Saw"])),
            "has no rates of the event 'saw'; the training data has it",
        ),
        (change("modalities", np.array(["audio", "video"])), "has no rates of the modality 'visual'"),
        (change("rates", np.full((2, 3), np.nan)), "rates has nan for bell (audio)"),
        (change("rates", np.zeros((3, 2))), "rates has shape [3, 2]"),
        (change("kind", np.array("labels")), "has no array 'labels'"),
        (lambda path: path.write_bytes(b"x"), "not a whole .npz file"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_wrong_files(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = rates_file(tmp_path / "rates.npz", np.zeros((2, 3)))
    damage(path)
    with pytest.raises(InputError) as error:
        targets(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_events_and_modalities_are_matched_by_name_and_the_digest_tells_other_rates(tmp_path: Path) -> None:
    rates = np.arange(6.0).reshape(2, 3) / 10
    plain = targets(rates_file(tmp_path / "a.npz", rates))
    turned = targets(
        rates_file(tmp_path / "b.npz", rates[::-1, ::-1], modalities=MODALITIES[::-1], events=EVENTS[::-1])
    )
    assert plain.rates.tolist() == turned.rates.tolist() == rates.tolist()
    assert plain.digest() == turned.digest()
    assert targets(rates_file(tmp_path / "c.npz", rates / 2)).digest() != plain.digest()
    assert plain.state_dict() == {}
