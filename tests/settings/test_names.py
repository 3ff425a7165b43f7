"""Command lines of a command that does nothing: which are accepted, and what is said of the others."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.command import command
from avvp_pl.settings.conf import config_dir
from avvp_pl.settings.limits import LIMITS, Each, OrNull
from avvp_pl.settings.names import Names

OWN = {
    "labeling/mine.yaml": "defaults: [prototype, _self_]\n_target_: mine.Labeling\nsharpness: 2\n",
    "method/mine.yaml": "_target_: mine.Method\nstrength: 2.0\ncontrast: {_target_: mine.Contrast, tau: 0.1}\n",
    "network/tiny.yaml": "_target_: mine.Network\ndim: 8\nnum_heads: 2\n",
    "inference/mixed.yaml": "# @package inference.mixed\n_target_: mine.Mixed\nshare: 0.7\n",
    "optimizer/mine.yaml": "defaults: [adam, _self_]\nmomentum: 0.9\n",
    "optimizer/schedule/wave.yaml": "_target_: mine.Wave\nperiod: 3\n",
    "protocol/mine.yaml": "defaults: [common, _self_]\nname: mine\ndecision: {_target_: mine.Gates, theta: 0.3}\n",
    "data/mine.yaml": "defaults: [synthetic, _self_]\nname: mine\nblur: 3\n",
    "augment/mixup.yaml": "alpha: 0.2\n",
    "labeling/far.yaml": "defaults: [/labeling/prototype@_here_, _self_]\n_target_: mine.Labeling\n",
    "experiment/mine.yaml": (
        "# @package _global_\ndefaults:\n  - override /method: mine\n  - override /labeling: mine\n"
        "  - override /inference: [mixed, classifier]\n  - override /optimizer/schedule: wave\n"
        "name: mine\nlabeling: {sharpness: 3}\n"
    ),
}


class Say:
    """Runs a command that does nothing; the error that it prints, or None where all checks pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd
        self.configurations: list[Any] = []

    def __call__(self, name: str, *arguments: str) -> str | None:
        self.configurations.clear()
        arguments = tuple(
            sorted(arguments, key=lambda argument: argument != "-m")
        )  # Hydra wants all overrides together
        self.monkeypatch.setattr(sys, "argv", [f"avvp_pl.{name}", *arguments])
        code = 0
        try:
            command(name, self._task)()
        except SystemExit as leave:
            code = int(leave.code or 0)
        if self.configurations and code == int("-m" in arguments):  # jobs that do nothing have no scores, and so fail
            return None
        printed = self.capfd.readouterr().err
        assert code == 2
        assert "Traceback" not in printed
        assert len(printed.splitlines()) == 1
        assert printed.startswith(f"avvp_pl.{name}: ")
        return printed.removeprefix(f"avvp_pl.{name}: ").rstrip("\n")

    def _task(self, cfg: DictConfig) -> None:
        self.configurations.append(OmegaConf.to_container(cfg, resolve=True))


def holds(printed: str | None, said: str) -> bool:
    """Whether a message starts with ``said``, in which `` ... `` stands for anything."""
    return bool(re.match(".*".join(map(re.escape, said.split(" ... "))), printed or ""))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Say(monkeypatch, capfd)


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments that give a folder with the files above and ``more``."""

    def arguments(more: dict[str, str] | None = None, way: str = "--config-dir") -> list[str]:
        for name, content in {**OWN, **(more or {})}.items():
            (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / name).write_text(content, encoding="utf-8")
        if way == "--config-dir":
            return ["--config-dir", str(tmp_path / "own")]
        return [f"hydra.searchpath=[file://{tmp_path / 'own'}]"]

    return arguments


@pytest.mark.parametrize(
    "arguments",
    [
        "train",
        "train +experiment=ppl_soft labeling.gamma=0.7 optimizer/schedule=step optimizer.schedule.every=3",
        "train inference=[prototype,classifier] labeling=prototype inference.prototype.labels=hard",
        "train labeling=prototype inference.prototype.labels=hard",
        "train -m +experiment=ppl_soft,npl_soft seed=0,1",
        "train -m inference=classifier,[classifier,prototype] labeling=prototype",
        "train -m +experiment=glob(ppl_*)",
        "train logger=[csv,tensorboard]",
        "train +method.weights.touch=1 +method.targets.smoothing.touch=0.9 +data.modalities.touch=[imu]",
        "train +data.streams.imu=6 +data.modalities.touch=[imu] ++data.sizes.val=3",
        "train ~data.modalities.visual",
        "train +experiment=mil_literal ~data.modalities.audio",
        "train data.modalities={audio: [vggish], visual: [res152]}",
        "train +trainer.precision=bf16-mixed +callbacks.mine.threshold=3 ++seed=3",
        "train protocol.selection.monitor=null",
        "train callbacks.best=null",
        "evaluate checkpoint=x labeling=prototype inference=[prototype,prototype_hard]",
        "evaluate checkpoint=x +experiment=han_ppl_test trust=[mypackage]",
        "predict checkpoint=x output=y inference=prototype_hard",
        "report runs=[a,b]",
        "extract videos=a output=b",
        "extract videos=a output=b extractors=[picture,logmel] extractors.logmel.bands=8 workers=2",
        "extract videos=a output=b extractors=logmel missing_track=mask damaged=keep",
        "extract videos=a output=b extractors=[yamnet,clap] extractors.clap.weights=c extractors.clap.output=map",
    ],
)
def test_good_command_lines_pass(say: Say, arguments: str) -> None:
    assert say(*re.split(r"(?<![:,]) ", arguments)) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train labeling=null", "labeling=null: it must be one of ... naive, none, prototype"),
        ("train labeling=true", "labeling=true: it must be one of ... naive, none, prototype"),
        (
            "train labeling=[naive,prototype]",
            "labeling=[naive,prototype]: it must be one of ... naive, none",
        ),
        ("train labeling={}", "labeling={}: it must be one of ... naive, none, prototype"),
        ("train optimizer/schedule=3", "optimizer/schedule=3: it must be one of constant, cosine, jump, step"),
        ("evaluate checkpoint=x data=null", "data=null: it must be one of clips, folder, llp, "),
        (
            "train inference=[]",
            "inference=[]: it must be one of asm_loc, attended_logits, bas_net, classifier, cmpae, em_mil, mixture, ",
        ),
        ("train inference=[prototype,prototype]", "inference=[prototype,prototype]: it must be one of"),
        ("train inference=[prototype,null]", "inference=[prototype,null]: it must be one of asm_loc,"),
        (
            "train -m inference=classifier,null",
            "inference=null: it must be one of asm_loc, attended_logits, bas_net, classifier, cmpae",
        ),
        (
            "train labeling=protoype",
            "there is no labeling 'protoype'. Did you mean 'prototype'? The choices are: ... naive, none, prototype",
        ),
        ("train inference=[prototipe]", "there is no inference 'prototipe'. Did you mean 'prototype'?"),
        (
            "train optimizer/schedule=stp",
            "there is no optimizer/schedule 'stp'. Did you mean 'step'? The choices are: ",
        ),
        ("train optimizer/schedul=step", "there is no group 'optimizer/schedul'. Did you mean"),
        (
            "train optimizer.schedule=step",
            "optimizer.schedule=step: it must be a mapping; to choose a file, give optimi",
        ),
        (
            "train +optimizer/schedule=step",
            "the group optimizer/schedule has a value already; give optimizer/schedule=.",
        ),
        ("train experiment=ppl_soft", "the group 'experiment' has no default to replace; give"),
        ("train +experimet=ppl_soft", "there is no group or setting 'experimet' to add. Did you mean"),
        ("train inference.classifier=null", "inference.classifier=null: it must be a mapping"),
    ],
)
def test_choices_that_do_not_exist(say: Say, arguments: str, said: str) -> None:
    assert holds(say(*arguments.split()), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train sead=1", "there is no setting 'sead'. Did you mean 'seed'? `--cfg job` prints all settings."),
        ("train data.size.train=3", "there is no setting 'data.size.train'. Did you mean"),
        ("train xyzzy=1", "there is no setting 'xyzzy'. `--cfg job` prints all settings."),
        ("train network.layers=1", "there is no setting 'network.layers'. Did you mean"),
        (
            "train +experiment=ppl_soft labeling.gama=1",
            "there is no setting 'labeling.gama'. Did you mean 'labeling.gam",
        ),
        ("train +experiment=ppl_soft labeling.threshold=1", "there is no ... Did you mean 'labeling.label_threshold'?"),
        ("train labeling.gama=1", "there is no setting 'labeling.gama'. Did you mean 'labeling.gamma'?"),
        ("train labeling.gamma=1", "there is no setting 'labeling.gamma' here; it is a setting of"),
        (
            "evaluate checkpoint=x labeling.gamma=1",
            "there is no setting 'labeling.gamma' here; it is a setting of labe",
        ),
        (
            "train inference.prototype.labels=hard",
            "there is no setting 'inference.prototype.labels' here; it is a setti",
        ),
        (
            "train optimizer.schedule.every=1",
            "there is no setting 'optimizer.schedule.every' here; it is a setting of o",
        ),
        (
            "train -m +experiment=ppl_soft,npl_soft labeling.gama=1,2",
            "there is no setting 'labeling.gama'. Did you mean",
        ),
        (
            "train method.weights.touch=1",
            "there is no setting 'method.weights.touch'. To add it, give +method.weights.t",
        ),
        ("train +method.gama=1", "there is no group or setting 'method.gama' to add. Did you mean"),
        ("train ++method.gama=1", "there is no setting 'method.gama'. Did you mean 'labeling.gamma'?"),
        ("train +seed=3", "'seed' is a setting already; give seed=... without +"),
        ("train +method=mil", "the group method has a value already; give method=... without +"),
        (
            "train +optimizer/schedule=step",
            "the group optimizer/schedule has a value already; give optimizer/schedule=... without +",
        ),
        ("train +method.weights.touch=-1", "method.weights.touch=-1: it must be a number of at least 0"),
        (
            "train ~labeling",
            "the setting 'labeling' is needed, but it was removed, or the group that it belongs to was r",
        ),
        ("train ~inference", "the setting 'inference' is needed, but it was removed"),
        ("train seed", "'seed' has no value; settings are given as NAME=VALUE"),
    ],
)
def test_settings_that_do_not_exist(say: Say, arguments: str, said: str) -> None:
    assert holds(say(*arguments.split()), said)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("method.gamma", "labeling.gamma"),
        ("method.label", "labeling.labels"),
        ("method.learning_rate", "optimizer.learning_rate"),
    ],
)
def test_a_setting_of_another_group_is_named(say: Say, given: str, meant: str) -> None:
    value = "${seed}"  # as the name is wrong, no value is right
    expected = f"there is no setting '{given}'. Did you mean '{meant}'? `--cfg job` prints all settings."
    assert say("train", f"{given}={value}") == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train method=npl", "npl_hard, npl_hard_literal, npl_soft, npl_soft_literal"),
        (
            "train method=ppl",
            "ppl_hard, ppl_hard_literal, ppl_per_modality, ppl_soft, ppl_soft_literal, ppl_soft_no_cl, "
            "ppl_soft_no_cl_literal",
        ),
        ("train -m method=mil,npl", "npl_hard, npl_hard_literal, npl_soft, npl_soft_literal"),
        ("train method=han", "han, han_ppl_test"),
        ("train labeling=npl_soft", "npl_soft, npl_soft_literal"),
        ("train method=pp", ""),
        ("train +experiment=npl", ""),
        ("evaluate checkpoint=x labeling=npl", ""),
    ],
)
def test_what_is_the_name_of_an_experiment_is_told(say: Say, arguments: str, said: str) -> None:
    message = say(*arguments.split()) or ""
    assert re.match(r"there is no (method|labeling|experiment) '\w+'\.", message)
    assert message.partition(". Experiments of this name, for +experiment=, are: ")[2] == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "evaluate checkpoint=x method=mil",
            "there is no group 'method' in avvp_pl.evaluate; it is for python -m avvp_",
        ),
        (
            "evaluate checkpoint=x +optimizer=adam",
            "there is no group 'optimizer' in avvp_pl.evaluate; it is for python ",
        ),
        (
            "report +labeling=none",
            "there is no group 'labeling' in avvp_pl.report; it is for python -m avvp_pl.evaluate",
        ),
        ("evaluate checkpoint=x +experiment=ppl_soft", "experiment/ppl_soft: there is no group 'method' in"),
        (
            "train checkpoint=x",
            "there is no setting 'checkpoint' in avvp_pl.train; it is for python -m avvp_pl.app or avvp_pl.evaluat",
        ),
        ("train split=test", "there is no setting 'split' in avvp_pl.train; it is for python -m"),
    ],
)
def test_what_another_command_has_is_told(say: Say, arguments: str, said: str) -> None:
    assert holds(say(*arguments.split()), said)


def test_a_launcher_may_set_what_a_command_does_not_have(say: Say, own: Callable[..., list[str]]) -> None:
    """As the one for SLURM sets ``resume``, which only training has."""
    mine = own({"launcher/mine.yaml": "# @package _global_\nthreads: 1\nresume: auto\n"})
    assert say("evaluate", *mine, "checkpoint=x", "+launcher=mine") is None


@pytest.mark.parametrize(
    "arguments",
    [
        "train method=mine labeling=mine network=tiny inference=mixed optimizer=mine protocol=mine data=mine",
        "train optimizer/schedule=wave optimizer.schedule.period=7 inference=[mixed,classifier]",
        "train +experiment=mine labeling.sharpness=1",
        "train -m +experiment=mine,mil seed=0,1",
        "train labeling=far",
        "train +augment=mixup augment.alpha=0.3",
        "evaluate checkpoint=x labeling=mine inference=[mixed,prototype] protocol=mine",
    ],
)
@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_files_of_the_user_pass_all_checks(say: Say, own: Callable[..., list[str]], arguments: str, way: str) -> None:
    name, *rest = arguments.split()
    assert say(name, *own(way=way), *rest) is None


def test_files_of_the_user_are_what_is_run(say: Say, own: Callable[..., list[str]]) -> None:
    assert say("train", *own(), "+experiment=mine") is None
    (cfg,) = say.configurations
    assert (cfg["labeling"]["sharpness"], cfg["labeling"]["gamma"], cfg["method"]["strength"]) == (3, 1, 2.0)
    assert list(cfg["inference"]) == ["mixed", "classifier"]
    assert cfg["optimizer"]["schedule"] == {"_target_": "mine.Wave", "period": 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "labeling=mine labeling.sharpnes=3",
            "there is no setting 'labeling.sharpnes'. Did you mean 'labeling.sharpness",
        ),
        ("labeling.sharpness=3", "there is no setting 'labeling.sharpness' here; it is a setting of"),
        (
            "labeling=mind",
            "there is no labeling 'mind'. Did you mean 'mine'? The choices are: ... mine, naive",
        ),
        ("labeling=null", "labeling=null: it must be one of ... naive, none, prototype"),
        ("inference=mixd", "there is no inference 'mixd'. Did you mean 'mixed'?"),
        ("optimizer/schedule=waves", "there is no optimizer/schedule 'waves'. Did you mean 'wave'?"),
        (
            "inference=mixed inference.mixed.shar=1",
            "there is no setting 'inference.mixed.shar'. Did you mean 'inference",
        ),
        ("labeling=mine labeling.gamma=3", "labeling.gamma=3: it must be a number in (0, 1]"),
        ("method=mine method.contrast.tau=0", "method.contrast.tau=0: it must be a number above 0"),
        ("optimizer=mine optimizer.momentum=1", "optimizer.momentum=1: it must be a number in [0, 1)"),
        ("network=tiny network.num_heads=3", "network.num_heads=3: it must divide network.dim=8"),
        ("+augmnt=mixup", "there is no group or setting 'augmnt' to add. Did you mean 'augment'?"),
    ],
)
def test_mistakes_in_what_the_user_wrote_are_told(
    say: Say, own: Callable[..., list[str]], arguments: str, said: str
) -> None:
    way = "hydra.searchpath" if "sharpness" in said else "--config-dir"
    assert holds(say("train", *own(way=way), *arguments.split()), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sede: 3", "there is no setting 'sede'. Did you mean 'seed'?"),
        ("data: {batchsize: 3}", "there is no setting 'data.batchsize'. Did you mean 'data.batch_size'?"),
        (
            "labeling: {gamma: 0.5}",
            "there is no setting 'labeling.gamma' here; it is a setting of labeling=mine and labe",
        ),
        ("method: {gamma: 0.5}", "there is no setting 'method.gamma'. Did you mean 'labeling.gamma'?"),
        (
            "method: {targets: {smothing: {audio: 1}}}",
            "there is no setting 'method.targets.smothing'. Did you mean 'met",
        ),
        (
            "optimizer: {schedule: {evry: 1}}",
            "there is no setting 'optimizer.schedule.evry'. Did you mean 'optimizer.sch",
        ),
        (
            "defaults: [{override /inference: [mixed, classifier]}]\ninference: {mixed: {shar: 1}}",
            "there is no setting 'inference.mixed.shar'. Did you mean 'inference.mixed.share'?",
        ),
        ("method: null", "method=null: it must be a mapping, as in method/mil.yaml"),
        (
            "inference: classifier",
            "inference=classifier: it must be a mapping; to choose a file, give inference=classif",
        ),
        ("method: {targets: null}", "method.targets=null: it must be a mapping"),
        ("method: {weights: {audio: -1}}", "method.weights.audio=-1: it must be a number of at least 0"),
        (
            "defaults: [{override /method: nope}]",
            "there is no method 'nope'. The choices are: asm_loc, bas_net, cmpae, co2_net, coleaf, cvcm, delu, em_mil",
        ),
        (
            "defaults: [{override /method: ppl}]",
            "there is no method 'ppl'. The choices are: asm_loc, bas_net, cmpae, co2_net, coleaf, cvcm, delu, em_mil, "
            "jomold, leap, ma, mgn, mil, mine, poibin, um.",
        ),
        (
            "checkpoint: x",
            "there is no setting 'checkpoint' in avvp_pl.train; it is for python -m avvp_pl.app or avvp_pl.eval",
        ),
    ],
)
def test_mistakes_in_an_experiment_of_the_users_own_are_told(
    say: Say, own: Callable[..., list[str]], content: str, said: str
) -> None:
    mine = own({"experiment/typo.yaml": f"# @package _global_\n{content}\n"})
    assert holds(say("train", *mine, "+experiment=typo"), said)


@pytest.mark.parametrize(
    "content",
    [
        "method: {targets: {_target_: mine.Targets, rates: 3}}",
        "labeling: {_target_: mine.Labeling, sharpness: 3}",
        "method: {weights: {touch: 1.0}}\ndata: {sizes: {train: 3}, modalities: {touch: [x]}}",
        "trainer: {precision: bf16-mixed}\ncallbacks: {early: {_target_: mine.Stop, patience: 3}}",
        "compile: {mode: reduce-overhead}",
    ],
)
def test_an_experiment_of_the_users_own_may_give_another_class_or_modality(
    say: Say, own: Callable[..., list[str]], content: str
) -> None:
    assert say("train", *own({"experiment/free.yaml": f"# @package _global_\n{content}\n"}), "+experiment=free") is None


@pytest.mark.parametrize("key", ["method.weights", "method.targets.smoothing", "network.head_dropout", "data.streams"])
def test_mappings_may_be_extended_by_what_the_data_has(say: Say, key: str) -> None:
    name, value = ("x", "1") if key == "data.streams" else ("touch", "0.5")
    for data in ("+data.modalities.touch=[x]", "+data.modalities={touch: [x]}"):
        assert say("train", data, f"+{key}.{name}={value}") is None
        assert say("train", data, f"+{key}={{{name}: {value}}}") is None  # as Hydra itself advises


ONLY = "it must be a modality; the modalities are audio, visual."
NO_MODALITY = [
    (
        "+method.weights.touhc=1",
        "method.weights.touhc: it must be a modality or one of video, others; the modalities are",
    ),
    ("+method.weights={vidio: 1}", "method.weights.vidio: ... are audio, visual. Did you mean 'video'?"),
    ("+method.targets.smoothing.Visual=0", f"method.targets.smoothing.Visual: {ONLY} Did you mean 'visual'?"),
    ("+network.head_dropout.visul=0.5", f"network.head_dropout.visul: {ONLY} Did you mean 'visual'?"),
    ("labeling=naive labeling.attending=[visul]", f"labeling.attending=visul: {ONLY} Did you mean 'visual'?"),
    (
        "labeling=naive labeling.attending=[touhc] +method.weights.touhc=1",
        "method.weights.touhc: it must be a modality",
    ),
    ("network.fuse_single_stream=[touch]", f"network.fuse_single_stream=touch: {ONLY}"),
    (
        "+data.sizes.tset=16",
        "data.sizes.tset: it must be a split; the splits are train, val, test. Did you mean 'test'?",
    ),
    ("+data.streams.clap=16", "data.streams.clap: it must be a stream; the streams are vggish, res152, r2plus1d_18."),
    # what only the defaults may name
    (
        "~data.modalities.visual labeling=naive labeling.attending=[visual]",
        "labeling.attending=visual: it must be a mod",
    ),
    (
        "~data.modalities.visual method.weights.visual=0.5",
        "method.weights.visual: it must be a modality or one of video,",
    ),
    (
        "~data.modalities.visual ++method.targets.smoothing={visual: 0.5}",
        "method.targets.smoothing.visual: it must be ",
    ),
    (
        "data.modalities={audio: [vggish], visual: [res152]} data.streams.r2plus1d_18=3",
        "data.streams.r2plus1d_18: it must",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), NO_MODALITY)
def test_a_name_that_the_data_does_not_have_is_refused(say: Say, arguments: str, said: str) -> None:
    assert holds(say("train", *re.split(r"(?<![:,]) ", arguments)), said)


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        ("method: {weights: {touhc: 1}}", ""),
        ("method: {weights: {visual: 1}}", "~data.modalities.visual"),
        ("network: {head_dropout: {visul: 0.5}}", ""),
        ("data: {sizes: {tset: 3}}", ""),
        ("data: {streams: {clap: 3}}", ""),
    ],
)
def test_a_name_that_the_data_does_not_have_is_refused_in_a_file_too(
    say: Say, own: Callable[..., list[str]], content: str, arguments: str
) -> None:
    mine = own({"experiment/typo.yaml": f"# @package _global_\n{content}\n"})
    assert re.match(
        r"[\w.]+: it must be a (modality|stream|split)",
        say("train", *mine, "+experiment=typo", *arguments.split()) or "",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "-m +method.weights.touch=0,1",
        "-m +method.weights.touch=1 seed=0,1",
        "-m +experiment=mil,han +method.weights.touch=1 seed=0,1",
        "+sweep=typo",
        "+sweep=seeds +method.weights.touch=1",
    ],
)
def test_a_sweep_over_what_the_data_does_not_have_is_refused_before_its_first_job(
    say: Say, own: Callable[..., list[str]], tmp_path: Path, arguments: str
) -> None:
    params = "hydra: {mode: MULTIRUN, sweeper: {params: {+method.weights.touch: '0,1'}}}"
    mine = own({"sweep/typo.yaml": f"# @package _global_\n{params}\n"})
    assert holds(
        say("train", *mine, *arguments.split()), "method.weights.touch: it must be a modality or one of video,"
    )
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("seed=0,1 hydra.sweep.subdir=../x/${seed}", "hydra.sweep.subdir=../x/${seed}: it must be a folder inside"),
        ("seed=0,1 hydra.sweep.subdir=/x/${seed}", "hydra.sweep.subdir=/x/${seed}: it must be a folder inside"),
        (
            "seed=0,1 hydra.sweep.subdir=${data.root} data=llp data.root=/x",
            "hydra.sweep.subdir=${data.root}: it must be",
        ),
        (
            "seed=0,1 hydra.sweep.subdir=${name}",
            "hydra.sweep.subdir=${name}: the jobs 'seed=0' and 'seed=1' would both write into mil; add what tells them",
        ),
        (
            "+experiment=mil,han seed=0,1 hydra.sweep.subdir=${name}",
            "hydra.sweep.subdir=${name}: the jobs '+experiment=mil",
        ),
        (
            "seed=0,1 hydra.sweep.subdir=${hydra.job.name}",
            "hydra.sweep.subdir=${hydra.job.name}: the jobs 'seed=0' and",
        ),
        (
            "+experiment=glob(ppl*) hydra.sweep.subdir=${name}",
            "hydra.sweep.subdir=${name}: which jobs this sweep has is",
        ),
    ],
)
def test_jobs_have_folders_of_their_own_inside_that_of_the_sweep(
    say: Say, tmp_path: Path, arguments: str, said: str
) -> None:
    assert holds(say("train", "-m", *arguments.split()), said)
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        "seed=0,1 hydra.sweep.subdir=${name}/${seed}",
        "+experiment=mil,han hydra.sweep.subdir=${name}",
        "+experiment=mil,han seed=0,1 hydra.sweep.subdir=${hydra.job.override_dirname}",
        "seed=0,1 hydra.sweep.subdir=${name}/${hydra.job.num}",
        "+experiment=glob(ppl_soft*) hydra.sweep.subdir=${name}/${hydra:job.num}",
    ],
)
def test_jobs_may_have_other_folders(say: Say, arguments: str) -> None:
    assert say("train", "-m", *arguments.split()) is None


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "a\\b"])
def test_a_name_is_no_path(say: Say, own: Callable[..., list[str]], tmp_path: Path, name: str) -> None:
    expected = f"name={name}: it must be text (no path) such as my_name, or null"
    assert say("train", f"name={name}") == expected
    mine = own({"experiment/named.yaml": f"# @package _global_\nname: {name}\n"})
    assert say("train", *mine, "+experiment=named") == expected
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("group", ["sweep", "experiment"])
def test_the_values_of_a_sweep_are_refused_in_a_single_run(say: Say, own: Callable[..., list[str]], group: str) -> None:
    params = "hydra: {sweeper: {params: {seed: '0,1'}}}"
    mine = own({f"{group}/mine.yaml": f"# @package _global_\n{params}\n"})
    said = f"{group}/mine.yaml: hydra.sweeper.params has the values of a sweep, but this is a single run, which ignores"
    assert holds(say("train", *mine, f"+{group}=mine"), said)
    assert say("train", *mine, "-m", f"+{group}=mine") is None
    assert len(say.configurations) == 2


def test_the_sweep_and_the_launcher_on_the_page_about_sweeps_work(
    say: Say, own: Callable[..., list[str]], tmp_path: Path
) -> None:
    page = (config_dir().parent / "docs" / "sweeps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(# @package _global_\n# file: conf/(\S+)\n.*?)```", page, re.DOTALL)
    mine = own({name: content for content, name in blocks})
    assert say("train", "-m", *mine, "+sweep=mine") is None
    found = [(cfg["name"], cfg["labeling"]["gamma"], cfg["seed"]) for cfg in say.configurations]
    assert found == [
        (name, gamma, seed) for name in ("ppl_soft", "ppl_hard") for gamma in (0.5, 1) for seed in (0, 1, 2)
    ]
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        searched = f"hydra.searchpath=[file://{tmp_path / 'own'}]"
        assert compose("train", [searched, "+launcher=four"], return_hydra_config=True).hydra.launcher.n_jobs == 4


WRONG_FILES = [
    (
        {"inference/bad.yaml": "_target_: mine.It\nshare: 0.7\n"}, "inference=bad",
        "inference/bad.yaml: its settings ... under 'inference'; the first line ... be: # @package inference.bad",
    ),
    (
        {"inference/bad.yaml": "_target_: mine.It\nshare: 0.7\n"}, "inference=[bad,classifier]",
        "inference/bad.yaml: its settings ... the first line of the file must be: # @package inference.bad",
    ),
    (
        {"method/bad.yaml": "# @package labeling\ndefaults: [mil, _self_]\n"}, "method=bad",
        "method/bad.yaml: its settings ... under 'labeling'; the file must have no line `# @package`",
    ),
    (
        {"method/bad.yaml": "# @package _global_\ndefaults: [mil, _self_]\n"}, "method=bad",
        "method/bad.yaml: its settings ... at the top of the configuration; the file must have no line `# @package`",
    ),
    (
        {"method/bad.yaml": "# @package labeling\n_target_: x.Y\n", "experiment/bad.yaml": "{override /method: bad}"},
        "+experiment=bad", "method/bad.yaml: its settings ... the file must have no line `# @package`",
    ),
    (
        {"experiment/bad.yaml": "{/method: ma}"}, "+experiment=bad",
        "experiment/bad.yaml: the group method has a value already; in the defaults list, write: override /method",
    ),
    (
        {"experiment/bad.yaml": "{override method: ma}"}, "+experiment=bad",
        "experiment/bad.yaml: 'override method' ... is no group in experiment/; write: override /method: ma",
    ),
    (
        {"experiment/bad.yaml": "{inference: [classifier]}"}, "+experiment=bad",
        "experiment/bad.yaml: 'inference' ... is no group in experiment/; write: override /inference: [classifier]",
    ),
    (
        {"experiment/bad.yaml": "# @package _global_\ndefault:\n  - override /method: ma\n"}, "+experiment=bad",
        "experiment/bad.yaml: 'default' must be 'defaults', the list of the files",
    ),
    (
        {"labeling/bad.yaml": "Defaults: [naive, _self_]\n"}, "labeling=bad",
        "labeling/bad.yaml: 'Defaults' must be 'defaults', the list of the files",
    ),
    (
        {"experiment/bad.yaml": "# @package _global_\noptimizer.learning_rate: 0.01\n"}, "+experiment=bad",
        "experiment/bad.yaml: a key with dots ... learning_rate as a mapping: optimizer: {learning_rate: 0.01}",
    ),
    (
        {"optimizer/bad.yaml": "defaults: [adam, _self_]\nschedule.factor: 3\n"}, "optimizer=bad",
        "optimizer/bad.yaml: a key with dots ... optimizer.schedule.factor as a mapping: schedule: {factor: 3}",
    ),
    ({"experiment/bad.yml": "seed: 3\n"}, "+experiment=bad", "experiment/bad.yml is not read: its name must end in"),
    ({"data/bad.yml": "seed: 3\n"}, "data=bad", "data/bad.yml is not read: its name must end in .yaml"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "arguments", "said"), WRONG_FILES)
def test_a_wrong_file_is_named_with_what_to_write(
    say: Say, own: Callable[..., list[str]], files: dict[str, str], arguments: str, said: str
) -> None:
    """A file in braces is the entry of a defaults list."""
    listed = {
        name: f"# @package _global_\ndefaults:\n  - {content}\n" if content.startswith("{") else content
        for name, content in files.items()
    }
    message = say("train", *own(listed), *arguments.split()) or ""
    assert holds(message[message.index(said.partition(" ")[0].partition(":")[0]) :], said)


def test_a_setting_beside_one_that_is_missing_may_be_a_misspelling(say: Say, own: Callable[..., list[str]]) -> None:
    mine = own({"data/bad.yaml": "defaults: [folder, _self_]\nmodalites: {audio: [a]}\n"})
    said = say("train", *mine, "data=bad", "data.root=x") or ""
    assert said.startswith("data.modalities=null: it must be a mapping such as")
    assert said.endswith("; is 'modalites' beside it a misspelling?")


def test_mappings_that_may_be_extended_are_those_with_one_limit_for_all_members() -> None:
    limits = {key: limit.limit if isinstance(limit, OrNull) else limit for key, limit in LIMITS.items()}
    assert {key for key, limit in limits.items() if isinstance(limit, Each)} == {
        "method.weights", "method.smoothing", "targets.smoothing", "refinement.smoothing", "refinement.thresholds",
        "network.head_dropout", "projection_dims",
        "token_weights", "late_token_weights", "reference_weights", "confirmed_from", "sure_from", "sure_to",
        "data.modalities", "data.streams", "data.sizes", "data.rows_per_segment",
    }  # fmt: skip


def test_a_setting_that_the_choices_of_the_command_line_have_was_removed(own: Callable[..., list[str]]) -> None:
    """Code that needs a setting asks for it after ``~labeling.gamma``."""
    names = Names.of_command_line("train", [], ["+experiment=ppl_soft"])
    assert names.no_setting("labeling.gamma").startswith("the setting 'labeling.gamma' is needed, but it was removed")
    for way in ("--config-dir", "hydra.searchpath"):
        overrides = [argument for argument in own(way=way) if "=" in argument]
        mine = Names.of_command_line("train", own(way=way), [*overrides, "labeling=mine"])
        assert mine.no_setting("labeling.sharpness").startswith("the setting 'labeling.sharpness' is needed, but")
    assert Names.of_command_line("train", [], []).no_setting("labeling.gamma").startswith("there is no setting")


@pytest.mark.parametrize(
    ("arguments", "moved"),
    [
        ("-m +experiment=ppl_soft,ppl_hard labeling.gamma=1 seed=3", "labeling.gamma: '1'"),
        ("-m +experiment=ppl_soft,ppl_hard labeling.k_positive=null", "labeling.k_positive: 'null'"),
        ("-m labeling=naive,prototype labeling.momentum=0.9 labeling.k=1,2", "labeling.momentum: '0.9'"),
        (
            "-m data=llp,realmix data.root='it' data.packed=${data.root}",
            r"data.root: '\'it\'', data.packed: '\${data.root}'",
        ),
        ("+sweep=fig4_gamma labeling.tau=0.2 labeling.gamma=1", "labeling.tau: '0.2', labeling.gamma: '1'"),
        ("-m +experiment=mil,han optimizer.learning_rate=0.1 ++labeling.k=1", None),
        ("-m +experiment=ppl_soft labeling.gamma=1 seed=0,1", None),
        ("+experiment=ppl_soft labeling.gamma=1", None),
        ("+sweep=seeds +experiment=ppl_soft labeling.gamma=1", None),
    ],
)
def test_settings_that_only_the_jobs_have_are_passed_on_to_them(arguments: str, moved: str | None) -> None:
    given = arguments.split()
    names = Names.of_command_line("train", given, [argument for argument in given if "=" in argument])
    result = names.for_jobs(given)
    if moved is None:
        assert result == given
        return
    (params,) = (argument for argument in result if argument not in given)
    assert params == f"++hydra.sweeper.params={{{moved}}}"
    kept = [argument for argument in given if f"{argument.partition('=')[0]}: " not in moved]
    assert [argument for argument in result if argument != params] == kept


def test_every_job_has_a_setting_beside_a_swept_group(say: Say) -> None:
    swept = ("-m", "+experiment=ppl_soft,ppl_hard", "labeling.gamma=0.5", "labeling.k_positive=null", "tags=[a, b]")
    assert say("train", *swept) is None
    found = [(cfg["labeling"]["gamma"], cfg["labeling"]["k_positive"], cfg["tags"]) for cfg in say.configurations]
    assert found == [(0.5, None, ["a", "b"])] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-m +experiment=ppl_soft,mil labeling.gamma=1", "there is no setting 'labeling.gamma' with +experiment=mil,"),
        (
            "-m +experiment=ppl_soft,ppl_hard labeling.gama=1",
            "there is no setting 'labeling.gama'. Did you mean 'labeling",
        ),
    ],
)
def test_a_setting_that_a_job_does_not_have_is_refused_before_the_first_one(
    say: Say, arguments: str, said: str
) -> None:
    assert holds(say("train", *arguments.split()), said)


@pytest.mark.parametrize(
    ("files", "arguments", "culprit"),
    [
        ({"experiment/bare.yaml": "labeling: {sharpnes: 3}\n"}, "+experiment=bare", "experiment/bare"),
        ({"experiment/bare.yaml": "\ufeff# @package _global_\nseed: 3\n"}, "+experiment=bare", "experiment/bare"),
        ({"experiment/sub/bare.yaml": "seed: 3\n"}, "+experiment=sub/bare", "experiment/sub/bare"),
        ({"sweep/bare.yaml": "hydra: {mode: MULTIRUN}\n"}, "+sweep=bare", "sweep/bare"),
        ({"launcher/bare.yaml": "threads: 1\n"}, "-m seed=0,1 +launcher=bare", "launcher/bare"),
        ({"experiment/bare.yaml": "seed: 3\n"}, "-m +experiment=mil,bare", "experiment/bare"),
        (
            {
                "experiment/bare.yaml": "seed: 3\n",
                "experiment/child.yaml": "# @package _global_\ndefaults: [bare]\nname: mine\n",
            },
            "+experiment=child",
            "experiment/bare",
        ),
        ({"trainer/default.yaml": "devices: 2\n"}, "", "trainer/default"),
        ({"train.yaml": "seed: 3\n"}, "", "train"),
    ],
)
@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_a_file_without_effect_is_named(
    say: Say,
    own: Callable[..., list[str]],
    tmp_path: Path,
    files: dict[str, str],
    arguments: str,
    culprit: str,
    way: str,
) -> None:
    said = say("train", *own(files, way), *arguments.split())
    assert re.match(rf"{tmp_path}/own/{culprit}\.yaml: (its settings would have|has) no effect, because", said or "")


def test_a_file_that_only_hydra_finds_may_not_be_without_effect_either(say: Say, own: Callable[..., list[str]]) -> None:
    far = {
        "experiment/bare.yaml": "seed: 3\n",
        "experiment/child.yaml": "# @package _global_\ndefaults: [/experiment/bare]\nname: mine\n",
    }
    said = say("train", *own(far), "+experiment=child")
    assert holds(said, "the settings under 'experiment' have no effect; ... with the line: # @package _global_")


def test_mistakes_are_told_in_the_folder_of_a_job(say: Say, own: Callable[..., list[str]], tmp_path: Path) -> None:
    bad = own({"experiment/bad.yaml": "# @package _global_\nlabeling: {sharpnes: 3}\n"})
    sweep = ["-m", "+experiment=bad", "labeling=mine", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with pytest.raises(AssertionError):  # the job fails before the task, and the sweep with 1
        say("train", *bad, *sweep)
    error = (tmp_path / "sweep" / "0" / "error.txt").read_text()
    assert error.startswith("there is no setting 'labeling.sharpnes'. Did you mean 'labeling.sharpness'?")


def test_help_and_checks_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, avvp_pl.commands.command, avvp_pl.settings.identity;"
        "print({'torch', 'lightning', 'wandb', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


def test_messages_are_sentences_without_our_own_notation(say: Say) -> None:
    said = say("train", "labeling=null") or ""
    assert not re.search(r"full_key|object_type|Traceback|None", said)
