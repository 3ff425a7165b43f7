"""PPL_Test: the network of a checkpoint with prototypes of the training data, compared with a slow reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_network, build_videos
from avvp_pl.data.annotations import Oddities, read_timelines, stack_timelines
from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.parts import Report, Team
from avvp_pl.pseudo_labels import KeySegments, build_prototypes, select_segments
from avvp_pl.types import ParsingOutput
from tests.commands.evaluating import BOTH, FILES, evaluate, ppl_test
from tests.conftest import Command
from tests.forks import Zygote
from tests.small import checkpoint, content, scores

# The slow reference: Table 3 by hand. Prototypes of one event and sign at a time, and one segment after the other.


@dataclass
class ByHand:
    """A network's output for the training and the test videos, and the prototypes [K, D] of each sign and event."""

    train: VideoSet
    test: VideoSet
    events: tuple[str, ...]
    of_train: ParsingOutput
    of_test: ParsingOutput
    counts: Mapping[str, int]
    prototypes: Mapping[str, list[Tensor]]

    def decide(self, tau: float, hard: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Eq. (9) or (10) for every video, segment, modality and event: what is found, and S_P / (S_P + S_N)."""
        features = torch.nn.functional.normalize(self.of_test.features, dim=-1).double()
        found = np.zeros(self.of_test.segment_probs.shape, dtype=bool)
        share = np.zeros(found.shape)
        for b, t, m, c in np.ndindex(found.shape):
            similarity = {}
            for sign, prototypes in self.prototypes.items():
                products = (prototypes[c].double() @ features[b, t, m]).tolist()
                similarity[sign] = sum(math.exp(x / tau) for x in products) / len(products) if products else None
            positive, negative = similarity["positive"], similarity["negative"]
            if positive is None:
                share[b, t, m, c] = 0
            elif negative is None:
                share[b, t, m, c] = 1
            else:
                share[b, t, m, c] = positive / (positive + negative)
            decided = share[b, t, m, c] > 0.5 if hard else share[b, t, m, c] >= 0.5
            found[b, t, m, c] = decided and self.of_test.video_probs[b, c] >= 0.5
        return found, share


@torch.no_grad()
def by_hand(run: Path, gamma: float = 1.0, beta: float = 0.2, k: int = 10, seed: int = 3) -> ByHand:
    saved = content(run, "best")
    cfg = OmegaConf.create(saved["config"])
    videos = build_videos(cfg)
    assert videos.train is not None
    assert videos.test is not None
    network = build_network(cfg, videos)
    weights = {name: weight for name, weight in saved["state_dict"].items() if name.startswith("network.")}
    network.load_state_dict({name.removeprefix("network."): weight for name, weight in weights.items()})
    network.eval()
    of_train, of_test = (network(split[torch.arange(len(split))]) for split in (videos.train, videos.test))
    found = select_segments(of_train.segment_probs, videos.train.weak_labels, videos.train.mask, gamma, beta)
    features = torch.nn.functional.normalize(of_train.features, dim=-1).flatten(0, 2)
    events = len(videos.events)
    chosen = [sign[..., c].flatten() for sign in (found.positive, found.negative) for c in range(events)]
    segments = KeySegments(
        problem=torch.cat([torch.full((int(own.sum()),), number) for number, own in enumerate(chosen)]),
        segment=torch.cat([own.nonzero()[:, 0] for own in chosen]),
        features=torch.cat([features[own] for own in chosen]),
    )
    centers, mask = build_prototypes(segments, 2 * events, k, (seed, 0))
    used = [centers[number][mask[number]] for number in range(2 * events)]
    return ByHand(
        videos.train,
        videos.test,
        videos.events,
        of_train,
        of_test,
        {sign: int(masks.sum()) for sign, masks in (("positive", found.positive), ("negative", found.negative))},
        {"positive": used[:events], "negative": used[events:]},
    )


def written(folder: Path, hand: ByHand) -> tuple[np.ndarray[Any, Any], Mapping[str, np.ndarray[Any, Any]]]:
    """The timelines [N, T, M, C] and the probabilities in a folder; those of segments as [N, T, M, C]."""
    predictions = folder / "predictions"
    tables = {m: read_timelines(predictions / f"{m}.csv", hand.events, 10, Oddities()) for m in ("audio", "visual")}
    with np.load(predictions / "probabilities.npz") as archive:
        probs = {name: archive[name] for name in archive.files}
    assert probs["lengths"].tolist() == [10] * len(hand.test)
    probs["segment"] = probs["segment"].reshape(len(hand.test), 10, *probs["segment"].shape[1:])
    return stack_timelines(hand.test.names, tables, 10, len(hand.events)), probs


@pytest.mark.parametrize("setting", [{}, {"gamma": 0.9, "beta": 0.4, "k": 3}], ids=str)
def test_table_3_is_as_by_hand(command: Command, han: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    run = ppl_test(command, han, tmp_path / "run", *(f"labeling.{key}={value}" for key, value in setting.items()))
    hand = by_hand(han, **setting)
    decided = {}
    for inference, tau, hard in (("prototype", 0.1, False), ("prototype_hard", 1.0, True)):
        expected, share = hand.decide(tau, hard)
        decided[inference], probs = written(run / inference, hand)
        assert np.array_equal(decided[inference], expected)
        assert 0 < expected.sum() < (share >= 0.5).sum()  # the events are found in some videos only
        np.testing.assert_allclose(probs["segment"], share, atol=1e-3)
        for m in range(2):  # the classifier's for every modality
            np.testing.assert_allclose(probs["video"][:, m], hand.of_test.video_probs, atol=1e-3)
    assert not np.array_equal(decided["prototype"], decided["prototype_hard"])


def test_the_log_counts_key_segments_and_prototypes_and_names_what_lacks_them(
    command: Command, han: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hand = by_hand(han)
    log = (ppl_test(command, han, tmp_path / "run") / "evaluate.log").read_text()
    counts = {sign: sum(map(len, prototypes)) for sign, prototypes in hand.prototypes.items()}
    told = (
        f" INFO 96 training videos: {hand.counts['positive']} positive and {hand.counts['negative']} negative "
        "key segments, "
        f"{counts['positive']} and {counts['negative']} prototypes (k-means on the "
    )
    assert log.count(told) == 1
    never = [event for event, own in zip(hand.events, hand.prototypes["positive"], strict=True) if not len(own)]
    always = [
        event
        for c, event in enumerate(hand.events)
        if len(hand.prototypes["positive"][c]) and not len(hand.prototypes["negative"][c])
    ]
    assert never
    assert always
    assert f"WARNING without positive prototypes, so never found: {', '.join(never)}\n" in log
    said = "WARNING without negative prototypes, so found in all segments of a video that has the event"
    assert f"{said}: {', '.join(always)}\n" in log
    assert not capfd.readouterr().err


def test_both_inferences_are_two_single_ones(
    command: Command, han: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[int] = []
    build = Prototype.build

    def counted(labeling: Prototype, videos: VideoSet, team: Team) -> Report | None:
        builds.append(len(videos))
        return build(labeling, videos, team)

    monkeypatch.setattr(Prototype, "build", counted)
    both = ppl_test(command, han, tmp_path / "both")
    assert builds == [96]
    assert not (both / "config.yaml").exists()
    for inference in BOTH:
        one = ppl_test(command, han, tmp_path / inference, f"inference={inference}")
        for name in ("config.yaml", *FILES):
            assert (one / name).read_bytes() == (both / inference / name).read_bytes(), name
    assert scores(both / "prototype") != scores(both / "prototype_hard")


def test_the_classifier_of_the_same_network_is_that_of_its_run(
    command: Command, han: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no prototypes are built for it."""
    monkeypatch.delattr(Prototype, "_build_and_label")
    one = ppl_test(command, han, tmp_path / "run", "inference=classifier")
    for name in FILES:
        assert (one / name).read_bytes() == (han / name).read_bytes(), name


def test_with_a_labeling_that_has_prototypes_a_network_is_tested_by_them_and_by_its_classifier(
    command: Command, han: Path, tmp_path: Path
) -> None:
    run = evaluate(command, han, tmp_path / "run", "labeling=prototype")
    assert {path.parent.name for path in run.rglob("scores.json")} == {"prototype", "classifier"}
    by_prototypes = ppl_test(command, han, tmp_path / "prototype", "inference=prototype")
    for inference, folder in (("prototype", by_prototypes), ("classifier", han)):
        for name in FILES:
            assert (run / inference / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("inference", BOTH)
def test_prototypes_in_a_checkpoint_are_used(command: Command, ppl: Path, tmp_path: Path, inference: str) -> None:
    run = evaluate(command, ppl, tmp_path / "run", f"inference={inference}")
    hand = by_hand(ppl)
    state = content(ppl, "best")["state_dict"]
    bank = {
        part: state[f"labeling.bank.{part}"][0] for sign in ("positive", "negative") for part in (sign, f"{sign}_mask")
    }
    own = {
        sign: [centers[mask] for centers, mask in zip(bank[sign], bank[f"{sign}_mask"], strict=True)]
        for sign in ("positive", "negative")
    }
    assert any(
        len(centers) != len(other) or not torch.equal(centers, other)
        for centers, other in zip(own["positive"], hand.prototypes["positive"], strict=True)
    )
    hand.prototypes = own
    hard = inference == "prototype_hard"
    found, _ = written(run, hand)
    assert np.array_equal(found, hand.decide(1.0 if hard else 0.1, hard)[0])
    assert list(OmegaConf.load(run / "config.yaml").inference) == [inference]
    assert OmegaConf.load(run / "config.yaml").name == "ppl_soft"


def test_a_network_trained_by_prototypes_may_get_new_ones(command: Command, ppl: Path, tmp_path: Path) -> None:
    """Of the checkpoint only the network is used, and not for example its momentum network or its own prototypes."""
    run = ppl_test(command, ppl, tmp_path / "run", "inference=prototype")
    found, _ = written(run, hand := by_hand(ppl))
    assert np.array_equal(found, hand.decide(0.1, hard=False)[0])
    saved = content(ppl, "best")
    for name in list(saved["state_dict"]):
        if not name.startswith(("network.", "method.")):
            del saved["state_dict"][name]
    torch.save(saved, tmp_path / "bare.ckpt")
    arguments = (f"checkpoint={tmp_path / 'bare.ckpt'}", "+experiment=han_ppl_test", "inference=prototype")
    assert command("evaluate", *arguments, f"hydra.run.dir={tmp_path / 'bare'}") == 0
    for name in FILES:
        assert (tmp_path / "bare" / name).read_bytes() == (run / name).read_bytes(), name


def test_modalities_may_have_prototypes_of_their_own(command: Command, han: Path, tmp_path: Path) -> None:
    shared = ppl_test(command, han, tmp_path / "shared", "inference=prototype")
    own = ppl_test(command, han, tmp_path / "own", "inference=prototype", "labeling.prototypes=per_modality")
    assert scores(own) != scores(shared)
    assert OmegaConf.load(own / "config.yaml").labeling.prototypes == "per_modality"


def test_two_processes_build_and_test_as_one(command: Command, zygote: Zygote, han: Path, tmp_path: Path) -> None:
    one = ppl_test(command, han, tmp_path / "one")
    arguments = ["+experiment=han_ppl_test", f"checkpoint={checkpoint(han)}", f"hydra.run.dir={tmp_path / 'two'}"]
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "+trainer.strategy=ddp_fork"]
    zygote.shell("evaluate", *arguments, *two, folder=tmp_path, check=True)
    for inference in BOTH:
        for table in ("audio.csv", "visual.csv"):
            tables = [(run / inference / "predictions" / table).read_text() for run in (one, tmp_path / "two")]
            assert tables[0] == tables[1]
        assert scores(tmp_path / "two" / inference)["segment"] == pytest.approx(scores(one / inference)["segment"])
