"""``evaluate`` as a user runs it: a checkpoint by itself, and its network with prototypes of the training data."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
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
from avvp_pl.methods.ppl import PPL
from avvp_pl.pseudo_labels import KeySegments, build_prototypes, select_segments
from avvp_pl.runs.reading import by_setting, read_run, read_runs
from avvp_pl.types import ParsingOutput
from tests.conftest import Command
from tests.test_commands import TINY, train

BOTH = ("prototype", "prototype_hard")
FILES = ("scores.json", *(f"predictions/{name}" for name in ("audio.csv", "visual.csv", "probabilities.npz")))
# a network that finds some events and not all, and key segments of both signs
LEARNING = ("data.sizes.train=96", "trainer.max_epochs=12", "method.learning_rate=0.003", "seed=3")


NETWORK = "dim=32 feedforward_dim=32"  # of TINY, in a label


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run of these settings, which is run where it is first needed."""
    runs: dict[tuple[str, ...], Path] = {}

    def run(*settings: str) -> Path:
        if settings not in runs:
            folder = tmp_path_factory.mktemp("run")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["train", *TINY, "logger=csv", *settings, f"hydra.run.dir={folder}"])
                importlib.import_module("avvp_pl.train").main()
            runs[settings] = folder
        return runs[settings]

    return run


@pytest.fixture
def han(trained: Callable[..., Path]) -> Path:
    return trained("+experiment=han", *LEARNING)


@pytest.fixture
def ppl(trained: Callable[..., Path]) -> Path:
    return trained("+experiment=ppl_soft", *LEARNING)


def checkpoint(run: Path, name: str = "best") -> Path:
    return run / "checkpoints" / f"{name}.ckpt"


def evaluate(command: Command, run: Path, folder: Path, *arguments: str) -> Path:
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={folder}", *arguments) == 0
    return folder


def ppl_test(command: Command, run: Path, folder: Path, *arguments: str) -> Path:
    return evaluate(command, run, folder, "+experiment=han_ppl_test", *arguments)


def scores(run: Path) -> Any:
    return json.loads((run / "scores.json").read_text())


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
def by_hand(run: Path, gamma: float = 0.5, beta: float = 0.2, k: int = 10, seed: int = 3) -> ByHand:
    content = torch.load(checkpoint(run), weights_only=True)
    cfg = OmegaConf.create(content["config"])
    videos = build_videos(cfg)
    assert videos.train is not None
    assert videos.test is not None
    network = build_network(cfg, videos)
    weights = {name: weight for name, weight in content["state_dict"].items() if name.startswith("network.")}
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


def saved(folder: Path, hand: ByHand) -> tuple[np.ndarray[Any, Any], Mapping[str, np.ndarray[Any, Any]]]:
    """The timelines and probabilities of a folder."""
    predictions = folder / "predictions"
    tables = {m: read_timelines(predictions / f"{m}.csv", hand.events, 10, Oddities()) for m in ("audio", "visual")}
    with np.load(predictions / "probabilities.npz") as content:
        probs = {name: content[name] for name in content.files}
    return stack_timelines(hand.test.names, tables, 10, len(hand.events)), probs


@pytest.mark.parametrize("setting", [{}, {"gamma": 0.9, "beta": 0.4, "k": 3}], ids=str)
def test_table_3_is_as_by_hand(command: Command, han: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    run = ppl_test(command, han, tmp_path / "run", *(f"method.{key}={value}" for key, value in setting.items()))
    hand = by_hand(han, **setting)
    decided = {}
    for inference, tau, hard in (("prototype", 0.1, False), ("prototype_hard", 1.0, True)):
        expected, share = hand.decide(tau, hard)
        decided[inference], probs = saved(run / inference, hand)
        assert np.array_equal(decided[inference], expected)
        assert 0 < expected.sum() < (share >= 0.5).sum()  # of some videos only
        np.testing.assert_allclose(probs["segment"], share, atol=1e-3)
        np.testing.assert_allclose(probs["video"], hand.of_test.video_probs, atol=1e-3)
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
    said = "WARNING without negative prototypes, so found in all of a video that has them"
    assert f"{said}: {', '.join(always)}\n" in log
    assert not capfd.readouterr().err


def test_both_inferences_are_two_single_ones(
    command: Command, han: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshes: list[int] = []
    refresh = PPL.refresh

    def counted(method: PPL, videos: VideoSet) -> Any:
        refreshes.append(len(videos))
        return refresh(method, videos)

    monkeypatch.setattr(PPL, "refresh", counted)
    both = ppl_test(command, han, tmp_path / "both")
    assert refreshes == [96]
    assert not (both / "config.yaml").exists()
    for inference in BOTH:
        one = ppl_test(command, han, tmp_path / inference, f"inference={inference}")
        for name in ("config.yaml", *FILES):
            assert (one / name).read_bytes() == (both / inference / name).read_bytes(), name
    assert scores(both / "prototype") != scores(both / "prototype_hard")


def test_the_classifier_of_the_same_network_is_that_of_its_run(command: Command, han: Path, tmp_path: Path) -> None:
    """And no prototypes are made for it."""
    one = ppl_test(command, han, tmp_path / "run", "inference=classifier")
    for name in FILES:
        assert (one / name).read_bytes() == (han / name).read_bytes(), name
    by_method = evaluate(command, han, tmp_path / "method", "method=ppl")  # whose inference this is
    assert scores(by_method) == scores(han)


def test_an_evaluation_leaves_nothing_of_the_one_before(command: Command, ppl: Path, tmp_path: Path) -> None:
    one = evaluate(command, ppl, tmp_path / "run", "inference=prototype")
    evaluate(command, ppl, one, "inference=[prototype,prototype_hard]")
    assert {path.parent.name for path in one.rglob("scores.json")} == {"prototype", "prototype_hard"}
    evaluate(command, ppl, one, "inference=classifier")
    assert [path.parent for path in one.rglob("scores.json")] == [one]
    assert [path.parent for path in one.rglob("config.yaml") if ".hydra" not in path.parts] == [one]


def test_evaluations_are_runs_of_a_report(command: Command, trained: Callable[..., Path], tmp_path: Path) -> None:
    """Each with the seed of its training, so that those of several seeds are one setting."""
    short = ("data.sizes.train=96", "trainer.max_epochs=2", "method.learning_rate=0.003")
    for seed in (1, 2):
        run = trained("+experiment=han", *short, f"seed={seed}")
        ppl_test(command, run, tmp_path / "table3" / str(seed), "method.tau=0.05")
    settings = by_setting(read_runs([tmp_path / "table3"]))
    assert [setting.label for setting in settings] == [
        f"han_ppl_test tau=0.05 inference={inference} {NETWORK} trained_method.learning_rate=0.003"
        for inference in BOTH
    ]
    for setting, inference in zip(settings, BOTH, strict=True):
        assert [run.seed for run in setting.runs] == [1, 2]
        assert [run.config.method.seed for run in setting.runs] == [1, 2]
        assert setting.settings["method.inference"] == inference
        assert setting.settings["method.tau"] == 0.05
        assert setting.settings["trainer.max_epochs"] == 2  # of the training
        assert setting.settings["trained_method.class_weighting"] == "none"
        assert setting.runs[0].data == "synthetic"
        assert setting.runs[0].listed == 16
        assert setting.runs[0].config.checkpoint.endswith("best.ckpt")


def test_networks_of_other_trainings_are_other_settings(
    command: Command, trained: Callable[..., Path], tmp_path: Path
) -> None:
    short = ("data.sizes.train=96", "trainer.max_epochs=2", "method.learning_rate=0.003", "seed=1")
    for number, weight in enumerate(("1.0", "0.0")):
        run = trained("+experiment=han", *short, *(["method.guided_weights.visual=0.0"] * (weight == "0.0")))
        ppl_test(command, run, tmp_path / str(number), "inference=prototype")
    labels = [setting.label for setting in by_setting(read_runs([tmp_path]))]
    of_both = f"han_ppl_test inference=prototype {NETWORK} trained_method.learning_rate=0.003"
    assert labels == [of_both, f"{of_both} trained_method.guided_weights.visual=0"]


def test_a_run_counts_before_an_evaluation_of_it(command: Command, ppl: Path, tmp_path: Path) -> None:
    """Which is newer; one of another epoch, or by another inference, is another setting."""
    label = f"ppl_soft learning_rate=0.003 {NETWORK}"
    evaluate(command, ppl, tmp_path / "again")
    (setting,) = by_setting(read_runs([ppl, tmp_path / "again"]))
    assert setting.label == label
    assert [run.folder for run in setting.runs] == [ppl]
    last = tmp_path / "last"
    assert command("evaluate", f"checkpoint={checkpoint(ppl, 'last')}", f"hydra.run.dir={last}") == 0
    one, other = by_setting(read_runs([ppl, last]))
    assert (one.label, other.label) == (f"{label} checkpoint=best", f"{label} checkpoint=last")
    evaluate(command, ppl, tmp_path / "by", "inference=prototype")
    one, other = by_setting(read_runs([ppl, tmp_path / "by"]))
    assert (one.label, other.label) == (label, f"ppl_soft learning_rate=0.003 inference=prototype {NETWORK}")


@pytest.mark.parametrize("inference", BOTH)
def test_prototypes_that_travel_in_a_checkpoint_are_used(
    command: Command, ppl: Path, tmp_path: Path, inference: str
) -> None:
    run = evaluate(command, ppl, tmp_path / "run", f"inference={inference}")
    hand = by_hand(ppl)
    state = torch.load(checkpoint(ppl), weights_only=True)["state_dict"]
    own = {
        sign: [centers[mask] for centers, mask in zip(state[sign][0], state[f"{sign}_mask"][0], strict=True)]
        for sign in ("positive", "negative")
    }
    assert any(
        len(centers) != len(other) or not torch.equal(centers, other)
        for centers, other in zip(own["positive"], hand.prototypes["positive"], strict=True)
    )
    hand.prototypes = own
    hard = inference == "prototype_hard"
    found, _ = saved(run, hand)
    assert np.array_equal(found, hand.decide(1.0 if hard else 0.1, hard)[0])
    assert read_run(run).name == "ppl_soft"
    assert read_run(run).settings["method.inference"] == inference


def test_a_network_trained_by_prototypes_may_get_new_ones(command: Command, ppl: Path, tmp_path: Path) -> None:
    """The rest of the checkpoint, such as its momentum network and its own prototypes, is not looked at."""
    run = ppl_test(command, ppl, tmp_path / "run", "inference=prototype")
    found, _ = saved(run, hand := by_hand(ppl))
    assert np.array_equal(found, hand.decide(0.1, hard=False)[0])
    content = torch.load(checkpoint(ppl), weights_only=True)
    for name in list(content["state_dict"]):
        if not name.startswith("network."):
            del content["state_dict"][name]
    torch.save(content, tmp_path / "bare.ckpt")
    arguments = (f"checkpoint={tmp_path / 'bare.ckpt'}", "+experiment=han_ppl_test", "inference=prototype")
    assert command("evaluate", *arguments, f"hydra.run.dir={tmp_path / 'bare'}") == 0
    for name in FILES:
        assert (tmp_path / "bare" / name).read_bytes() == (run / name).read_bytes(), name


def test_modalities_may_have_prototypes_of_their_own(command: Command, han: Path, tmp_path: Path) -> None:
    shared = ppl_test(command, han, tmp_path / "shared", "inference=prototype")
    own = ppl_test(command, han, tmp_path / "own", "inference=prototype", "method.prototypes=per_modality")
    assert scores(own) != scores(shared)
    assert OmegaConf.load(own / "config.yaml").method.prototypes == "per_modality"


def test_two_processes_build_and_test_as_one(command: Command, han: Path, tmp_path: Path) -> None:
    one = ppl_test(command, han, tmp_path / "one")
    arguments = ["+experiment=han_ppl_test", f"checkpoint={checkpoint(han)}", f"hydra.run.dir={tmp_path / 'two'}"]
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "+trainer.strategy=ddp_fork"]
    subprocess.run([sys.executable, "-m", "avvp_pl.evaluate", *arguments, *two], cwd=tmp_path, check=True)
    for inference in BOTH:
        for table in ("audio.csv", "visual.csv"):
            tables = [(run / inference / "predictions" / table).read_text() for run in (one, tmp_path / "two")]
            assert tables[0] == tables[1]
        assert scores(tmp_path / "two" / inference)["segment"] == pytest.approx(scores(one / inference)["segment"])


def test_several_checkpoints_in_one_command(
    command: Command, trained: Callable[..., Path], han: Path, tmp_path: Path
) -> None:
    other = trained("+experiment=han", "trainer.max_epochs=1", "data.sizes.train=96")
    sweep = f"checkpoint={checkpoint(han)},{checkpoint(other)}"
    assert command("evaluate", "-m", sweep, "+experiment=han_ppl_test", f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    assert [run.seed for run in read_runs([tmp_path / "sweep"])] == [3, 3, 0, 0]


def test_evaluate_repeats_the_scores_and_score_those_of_the_predictions(
    command: Command, ppl: Path, tmp_path: Path
) -> None:
    assert scores(ppl)["videos"]["listed"] == 16
    again = evaluate(command, ppl, tmp_path / "again")
    for name in FILES:
        assert (again / name).read_bytes() == (ppl / name).read_bytes(), name
    assert read_run(again).settings == {
        key: value for key, value in read_run(ppl).settings.items() if not key.startswith("callbacks.best.")
    }

    assert command("predict", f"checkpoint={checkpoint(ppl)}", f"output={tmp_path / 'parsed'}") == 0
    for name in ("audio.csv", "visual.csv", "probabilities.npz"):
        assert (tmp_path / "parsed" / name).read_bytes() == (ppl / "predictions" / name).read_bytes()
    timelines = json.loads((tmp_path / "parsed" / "timelines.json").read_text())
    assert len(timelines["videos"]) == 16
    videos = tmp_path / "videos.csv"
    videos.write_text("filename\n" + "\n".join(timelines["videos"]) + "\n")
    predicted = [f"predicted_{m}={ppl / 'predictions' / f'{m}.csv'}" for m in ("audio", "visual")]
    truth = [f"{m}={ppl / 'predictions' / f'{m}.csv'}" for m in ("audio", "visual")]
    assert command("score", f"videos={videos}", *truth, *predicted, f"output={tmp_path / 'self.json'}") == 0
    perfect = json.loads((tmp_path / "self.json").read_text())
    assert set(perfect["segment"].values()) | set(perfect["event"].values()) == {100.0}
    assert perfect["videos"] == scores(ppl)["videos"]


def test_the_probability_of_what_is_found_is_the_mean_over_its_seconds(
    command: Command, ppl: Path, tmp_path: Path
) -> None:
    """By the classifier, on the saved probabilities, which are of three digits."""
    assert command("predict", f"checkpoint={checkpoint(ppl)}", f"output={tmp_path}", "pictures=0") == 0
    with np.load(tmp_path / "probabilities.npz") as content:
        names, events, probs = content["names"].tolist(), content["events"].tolist(), content["segment"]
    entries = 0
    for name, found in json.loads((tmp_path / "timelines.json").read_text())["videos"].items():
        for m, modality in enumerate(("audio", "visual")):
            for entry in found[modality]:
                seconds = slice(int(entry["onset"]), int(entry["offset"]))
                own = probs[names.index(name), seconds, m, events.index(entry["event"])].astype(float)
                assert entry["probability"] == pytest.approx(own.mean(), abs=1e-3)
                entries += 1
    assert entries > 10


def test_an_evaluation_may_be_done_again_where_it_was(command: Command, ppl: Path, tmp_path: Path) -> None:
    folder = evaluate(command, ppl, tmp_path / "run", "inference=prototype")
    first = scores(folder)
    evaluate(command, ppl, folder)
    assert scores(folder) == scores(ppl) != first
    assert read_run(folder).settings["method.inference"] == "classifier"


def test_no_training_run_is_overwritten(
    command: Command, trained: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = trained("+experiment=mil", "trainer.max_epochs=1")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".hydra" not in path.parts}
    for arguments in ([], ["+experiment=han_ppl_test"]):
        assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={run}", *arguments) == 2
        assert f"{run} holds a training run" in capfd.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())


def test_prototypes_that_are_not_there_are_not_used(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=1")
    for inference in BOTH:
        assert command("evaluate", f"checkpoint={checkpoint(run)}", f"inference={inference}") == 2
        assert "has no prototypes" in capfd.readouterr().err


def test_an_inference_of_a_strangers_is_refused(
    command: Command, ppl: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint(ppl), weights_only=True)
    content["config"]["method"]["inference"] = "\x1b[31m../../x"
    torch.save(content, tmp_path / "wrong.ckpt")
    assert command("evaluate", f"checkpoint={tmp_path / 'wrong.ckpt'}") == 2
    said = (
        r"method.inference='\x1b[31m../../x' in the checkpoint: it must be one of classifier, prototype, prototype_hard"
    )
    assert said in capfd.readouterr().err


def test_a_bad_checkpoint_is_refused(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"nothing of the kind")
    assert command("evaluate", f"checkpoint={tmp_path / 'bad.ckpt'}") == 2
    assert "bad.ckpt: not a checkpoint" in capfd.readouterr().err


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a method of a stranger's": (
        lambda content: content["config"]["method"].update(_target_="os.system"),
        "its configuration would build os.system as method._target_",
    ),
    "a network of a stranger's": (
        lambda content: content["config"]["network"].update(_target_="os.system"),
        "its configuration would build os.system as network._target_",
    ),
    "the environment in its method": (
        lambda content: content["config"]["method"].update(labels="${oc.env:HOME}"),
        "its configuration refers to something outside it",
    ),
    "no network": (
        lambda content: [content["state_dict"].pop(name) for name in list(content["state_dict"]) if "network" in name],
        "its weights are of another network",
    ),
    "a weight too many": (
        lambda content: content["state_dict"].update({"network.more": torch.ones(1)}),
        "its weights are of another network: more has the shape [1], the settings need nothing",
    ),
    "a weight of another shape": (
        lambda content: content["state_dict"].update({"network.event_head.bias": torch.ones(3)}),
        "its weights are of another network: event_head.bias has the shape [3], the settings need the shape [25]",
    ),
    "other events": (lambda content: content["events"].reverse(), "was trained on 25 events that are not those"),
    "other streams": (lambda content: content["streams"].pop(), "was trained on the streams"),
    "weights that are no numbers": (
        lambda content: content["state_dict"]["network.event_head.bias"].fill_(math.nan),
        "the network has diverged; give another checkpoint",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_checkpoint_is_one_line(
    command: Command, han: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    change, said = WRONG[wrong]
    content = torch.load(checkpoint(han), weights_only=True)
    change(content)
    torch.save(content, tmp_path / "wrong.ckpt")
    assert command("evaluate", f"checkpoint={tmp_path / 'wrong.ckpt'}", "+experiment=han_ppl_test") == 2
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("avvp_pl.evaluate: ")]
    assert said in line
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("train", ["+experiment=han_ppl_test"], "'inference' in avvp_pl.train; it is for python -m avvp_pl.evaluate\n"),
        ("train", ["inference=prototype"], "it is for python -m avvp_pl.evaluate or avvp_pl.predict\n"),
        ("evaluate", ["resume=auto"], "'resume' in avvp_pl.evaluate; it is for python -m avvp_pl.train"),
        ("evaluate", ["inference=prototype"], "PPL has, and evaluate with method=ppl makes them"),
        ("evaluate", ["inference=prototype", "method=mil"], "MIL has no prototypes; PPL has"),
        ("evaluate", ["inference=[prototype,both]"], "one of classifier, prototype, prototype_hard, or a list of"),
        ("evaluate", ["+experiment=han_ppl_test", "method.gamma=2"], "method.gamma=2: it must be a number in (0, 1]"),
        ("evaluate", ["+experiment=han_ppl_test", "method.gama=1"], "Did you mean 'method.gamma'?"),
        ("predict", ["inference=[classifier,prototype]", "output=out"], "one of these; evaluate takes several"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(
    command: Command, han: Path, capfd: pytest.CaptureFixture[str], name: str, arguments: list[str], said: str
) -> None:
    given = [] if name == "train" else [f"checkpoint={checkpoint(han)}"]
    assert command(name, *given, *arguments) == 2
    error = capfd.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
