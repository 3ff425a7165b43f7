"""Checkpoints that are damaged, or do not fit."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.damage.place import TRAIN, WEAK, Bomb, Case, Place, cut, instead, nothing, setting

NO_CHECKPOINT = "best.ckpt: not a checkpoint of avvp_pl.train"


def checkpoint(command: str, name: str, says: str, does: Callable[[Place], object]) -> Case:
    return Case(name, "error", says, does, command)


CASES: dict[str, list[Case]] = {
    "Checkpoints": [
        checkpoint(
            "evaluate", "no file at that path", "best.ckpt: no such checkpoint", lambda p: p.checkpoint.unlink()
        ),
        checkpoint("predict", "an empty checkpoint", NO_CHECKPOINT, lambda p: cut(p.checkpoint, 0)),
        checkpoint(
            "evaluate",
            "cut off in the middle",
            NO_CHECKPOINT,
            lambda p: cut(p.checkpoint, p.checkpoint.stat().st_size // 2),
        ),
        checkpoint("predict", "a folder instead", NO_CHECKPOINT, lambda p: instead(p.checkpoint, Path.mkdir)),
        checkpoint(
            "evaluate",
            "random bytes",
            NO_CHECKPOINT,
            lambda p: p.checkpoint.write_bytes(np.random.default_rng(0).bytes(5000)),
        ),
        checkpoint(
            "predict",
            "another archive",
            NO_CHECKPOINT,
            lambda p: zipfile.ZipFile(p.checkpoint, "w").writestr("readme", "hello"),
        ),
        checkpoint(
            "evaluate",
            "a pickle as checkpoint",
            NO_CHECKPOINT,
            lambda p: p.checkpoint.write_bytes(pickle.dumps({"state_dict": Bomb()})),
        ),
        checkpoint(
            "predict", "an object in it", NO_CHECKPOINT, lambda p: torch.save({"state_dict": Bomb()}, p.checkpoint)
        ),
        checkpoint(
            "evaluate", "weights alone", NO_CHECKPOINT, lambda p: torch.save({"weight": torch.ones(3)}, p.checkpoint)
        ),
        checkpoint("predict", "a tensor", NO_CHECKPOINT, lambda p: torch.save(torch.ones(3), p.checkpoint)),
        checkpoint(
            "evaluate",
            "a configuration that would run a program",
            "best.ckpt: its configuration would build os.system as method._target_, which avvp_pl does not trust",
            lambda p: p.edit_checkpoint(lambda c: c["config"]["method"].update(_target_="os.system")),
        ),
        checkpoint(
            "predict",
            "a weight missing",
            "best.ckpt: its weights are of another network: event_head.bias has nothing",
            lambda p: p.edit_checkpoint(lambda c: c["state_dict"].pop("network.event_head.bias")),
        ),
        checkpoint(
            "evaluate",
            "data of other events",
            "best.ckpt was trained on 25 events that are not those of the data (1)",
            lambda p: p.data("classes.txt", "Speech\n"),
        ),
        Case(
            "weights that are NaN, tested by prototypes",
            "error",
            "prototypes of the training videos: some segment probabilities are NaN: the network has diverged; give",
            lambda p: p.edit_checkpoint(lambda c: c["state_dict"]["network.event_head.bias"].fill_(float("nan"))),
            "evaluate",
            ("+experiment=han_ppl_test",),
        ),
        Case(
            "a weight of the network missing, tested by prototypes",
            "error",
            "best.ckpt: its weights are of another network: event_head.bias has nothing",
            lambda p: p.edit_checkpoint(lambda c: c["state_dict"].pop("network.event_head.bias")),
            "evaluate",
            ("+experiment=han_ppl_test",),
        ),
        Case(
            "no prototypes, tested by prototypes",
            "error",
            "best.ckpt: inference by prototypes: labeling NoLabels has none; labeling=prototype has, and evaluate with",
            nothing,
            "evaluate",
            ("inference=prototype",),
        ),
        checkpoint(
            "evaluate",
            "a configuration that refers to the environment",
            "best.ckpt: its configuration refers to something outside it (method.class_weighting=${oc.env:HOME})",
            lambda p: p.edit_checkpoint(lambda c: c["config"]["method"].update(class_weighting="${oc.env:HOME}")),
        ),
        checkpoint(
            "predict",
            "a class of another package in its configuration",
            "would build theirs.Net as network._target_, which avvp_pl does not trust; if you trust the package "
            "theirs, give trust=[theirs]",
            lambda p: p.edit_checkpoint(lambda c: c["config"]["network"].update(_target_="theirs.Net")),
        ),
        checkpoint(
            "evaluate",
            "an inference that is called ../../x",
            "best.ckpt: the name of an inference is '../../x'; it must consist of letters, digits, _ and -",
            lambda p: p.edit_checkpoint(
                lambda c: c["config"]["inference"].update({"../../x": c["config"]["inference"].pop("classifier")})
            ),
        ),
        Case(
            "other training videos than before",
            "error",
            "last.ckpt is from a training on other videos: their names, lengths or order have changed, so the run",
            lambda p: p.data("AVVP_train.csv", WEAK + "".join(f"{name}\tSpeech\n" for name in TRAIN[::-1])),
            "train",
            ("hydra.run.dir=run", "resume=auto", "trainer.max_epochs=2"),
        ),
        setting("resume=nowhere.ckpt", "resume=nowhere.ckpt: no such file; give a checkpoint, auto or null"),
    ],
}
