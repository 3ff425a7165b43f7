"""Damage on the command line, in configuration files, and in the place where results are written."""

from __future__ import annotations

from tests.damage.place import TEST, Case, nothing, setting, write

STREAMS = "it must be a list of different names (no paths) such as [res152, r2plus1d_18]"
GROUPS = "it must be a mapping such as {audio: [vggish], visual: [res152, r2plus1d_18]}, each modality with"
PATH = "it must be a path (write ./3 for a path that looks like a number)"


def experiment(name: str, says: str, content: str | bytes) -> Case:
    mine = ("hydra.searchpath=[file://conf]", "+experiment=mine")
    return Case(name, "error", says, lambda place: place.experiment(content), "train", mine)


CASES: dict[str, list[Case]] = {
    "Settings": [
        setting("seed=null", "seed=null: it must be a whole number in [0, 4294967295]"),
        setting("seed=abc", "seed=abc: it must be a whole number in [0, 4294967295]"),
        setting("seed=99999999999999999999", "seed=99999999999999999999: it must be a whole number in [0, 4294967295]"),
        setting("seed=${nothing}", "seed takes its value from the setting 'nothing', which does not exist"),
        Case(
            "a setting without a value",
            "error",
            "'seed' has no value; settings are given as NAME=VALUE",
            nothing,
            "train",
            ("seed",),
        ),
        setting("sead=1", "there is no setting 'sead'. Did you mean 'seed'?"),
        setting(
            "~optimizer.learning_rate",
            "optimizer: ... needs the argument 'learning_rate', which no setting gives",
        ),
        setting("~labeling", "the setting 'labeling' is needed, but it was removed"),
        setting("~seed", "callbacks.seed_steps.seed takes its value from the setting 'seed', which does not exist"),
        setting("data.batch_size=abc", "data.batch_size=abc: it must be a whole number in [1, 1000000]"),
        setting("data.segments=0", "data.segments=0: it must be a whole number in [1, 1000000]"),
        setting("data.segment_seconds=null", "data.segment_seconds=null: it must be a number above 0"),
        setting("data.root=3", f"data.root=3: {PATH}"),
        setting("data.modalities={}", f"data.modalities={{}}: {GROUPS}"),
        setting("data.modalities=[vggish]", f"data.modalities=['vggish']: {GROUPS}"),
        setting("data.modalities=null", f"data.modalities=null: {GROUPS}"),
        setting(
            "data.modalities={audio_visual: [vggish]}",
            f"{GROUPS} a list of its streams; 'audio_visual' is the name of a score",
        ),
        setting(
            "data.modalities={left-ear: [vggish]}",
            f"{GROUPS} a list of its streams; 'left-ear' is not a possible name (only letters, digits and _, and",
        ),
        setting("data.modalities.audio=[]", f"data.modalities.audio=[]: {STREAMS}"),
        setting("data.modalities.audio=vggish", f"data.modalities.audio=vggish: {STREAMS}"),
        setting("data.modalities.audio=[vggish,vggish]", STREAMS),
        setting("data.modalities.audio=[../../x]", STREAMS),
        setting(
            "data.modalities.audio=[clap]",
            "data.modalities: 'clap' is not one of data.streams: vggish, res152, r2plus1d_18",
            "data=synthetic",
        ),
        setting("network.dim=100000000000", "network: RuntimeError: ... allocate"),
        setting(
            "network.fuse_single_stream=[visul]",
            "network.fuse_single_stream=visul: it must be a modality; the modalities are audio, visual. Did you mean "
            "'visual'?",
        ),
        setting("network._target_=avvp_pl.models.none.HAN", "network: avvp_pl.models.none.HAN cannot be imported"),
        setting("labeling=null", "labeling=null: it must be one of ... naive, none, prototype"),
        setting("labeling=protoype", "there is no labeling 'protoype'. Did you mean 'prototype'?"),
        setting(
            "optimizer.schedule=step",
            "optimizer.schedule=step: it must be a mapping; to choose a file, give optimizer/schedule=step",
        ),
        setting(
            "labeling.gamma=0.5", "there is no setting 'labeling.gamma' here; it is a setting of labeling=prototype"
        ),
        setting("method.gamma=0.5", "there is no setting 'method.gamma'. Did you mean 'labeling.gamma'?"),
        setting(
            "method=ppl",
            "there is no method 'ppl'. The choices are: asm_loc, bas_net, cmpae, co2_net, coleaf, cvcm, delu, em_mil, "
            "jomold, leap, ma, mgn, mil, poibin, um. "
            "Experiments of this name, for +experiment=, are: "
            "ppl_hard, ppl_hard_literal, ppl_per_modality, ppl_soft",
        ),
        setting("optimizer.learning_rate=null", "optimizer.learning_rate=null: it must be a number above 0"),
        setting("method.weights.audio=null", "method.weights.audio=null: it must be a number of at least 0"),
        setting(
            "method.weights.touch=1", "there is no setting 'method.weights.touch'. To add it, give +method.weights"
        ),
        setting("trainer.max_epochs=null", "trainer.max_epochs=null: it must be a whole number of at least 1"),
        setting("trainer.devices=-3", "trainer: TypeError: ... should be an int > 0"),
        setting("trainer.accelerator=xyz", "trainer: ValueError: You selected an invalid accelerator name"),
        setting(
            "+trainer.nothing=1", "trainer: TypeError: Trainer.__init__() got an unexpected keyword argument 'nothing'"
        ),
        setting(
            "callbacks.panels.every_n_epochs=0",
            "callbacks.panels.every_n_epochs=0: it must be a whole number of at least 1",
        ),
        setting(
            "protocol.selection.monitor=val/nothing",
            "protocol.selection.monitor=val/nothing: no score of this name is logged. ... The validation logs",
        ),
        setting(
            "callbacks.best.monitor=val/average",
            "callbacks.best.monitor=val/average: give protocol.selection.monitor=val/average instead",
        ),
        setting(
            "callbacks.best=null",
            "callbacks.best is missing, so no epoch is selected by protocol.selection.monitor=val/segment/type_av; "
            "give protocol.selection.monitor=null as well, so that the last epoch is tested",
        ),
        setting(
            "~callbacks.best",
            "callbacks.best is missing, but labeling (Naive) relies on it: nothing else selects the best epoch;",
            "labeling=naive",
            "protocol.selection.monitor=null",
        ),
        setting(
            "callbacks=test",
            "callbacks.refresh is missing, but labeling (Prototype) relies on it: nothing else makes its labels before",
            "labeling=prototype",
        ),
        setting(
            "callbacks.fit=null",
            "callbacks.fit is missing, but inference.prototype (PrototypeInference) relies on it: nothing else fits it",
            "labeling=prototype",
        ),
        setting(
            "~callbacks.fit",
            "callbacks.fit is missing, but inference.prototype_hard (PrototypeInference) relies on it: nothing else",
            "+experiment=han_ppl_test",
            command="evaluate",
        ),
        setting(
            "+trainer.limit_val_batches=0",
            "protocol.selection.monitor=val/segment/type_av selects no epoch, because the trainer never validates",
        ),
        setting(
            "labeling.start_epoch=0",
            "labeling.start_epoch=0: labeling (Naive) labels by the best epoch so far, but epoch 0 is the first that "
            "can be the best; give labeling.start_epoch=1 or more",
            "labeling=naive",
        ),
        setting("debug=maybe", "debug=maybe: it must be true or false"),
        setting("segments=null", "segments=null: it must be a whole number in [1, 1000000]", command="score"),
        setting("videos=3", f"videos=3: {PATH}", command="score"),
        setting("videos=???", "videos must be given: videos=...", command="score"),
        setting(
            "data=null",
            "data=null: it must be one of clips, folder, llp, realmix, synthetic, synthetic_llp_size, thumos14, "
            "thumos14_synthetic",
            command="evaluate",
        ),
        setting(
            "+experiment=ppl_soft",
            "experiment/ppl_soft: there is no group 'method' in avvp_pl.evaluate; it is for python -m avvp_pl.recipe "
            "or avvp_pl.train",
            command="evaluate",
        ),
        setting(
            "inference=[prototype,prototype]",
            "it must be one of asm_loc, attended_logits, bas_net, classifier, cmpae, em_mil, mixture, prototype, "
            "prototype_hard, um, or a list of different ones",
            command="evaluate",
        ),
        setting(
            "inference=prototype",
            "inference by prototypes: labeling NoLabels has none; labeling=prototype has",
            command="predict",
        ),
        setting(
            "+experiment=han_ppl_test",
            "there is no setting 'checkpoint' in avvp_pl.train; it is for python -m avvp_pl.evaluate",
        ),
        setting("split=all", "split=all: it must be one of train, val, test", command="predict"),
        setting("pictures=many", "pictures=many: it must be a whole number of at least 0", command="predict"),
    ],
    "The user's own configuration files": [
        experiment(
            "a key that nothing reads",
            "there is no setting 'sede'. Did you mean 'seed'?",
            "# @package _global_\nsede: 3\n",
        ),
        experiment(
            "a key of the data that nothing reads",
            "there is no setting 'data.batchsize'. Did you mean 'data.batch_size'?",
            "# @package _global_\ndata:\n  batchsize: 3\n",
        ),
        experiment(
            "null for a group",
            "method=null: it must be a mapping, as in method/mil.yaml",
            "# @package _global_\nmethod: null\n",
        ),
        experiment(
            "a list instead of a mapping",
            "In 'experiment/mine': ConfigTypeError ... Cannot merge DictConfig with ListConfig",
            "# @package _global_\nmethod: [1]\n",
        ),
        experiment(
            "a value out of its limits",
            "optimizer.weight_decay=-1: it must be a number of at least 0",
            "# @package _global_\noptimizer:\n  weight_decay: -1\n",
        ),
        experiment(
            "a bracket that is not closed",
            'ParserError: ... experiment/mine.yaml", line 3, column 1',
            "# @package _global_\nseed: [1\n",
        ),
        experiment(
            "a tab", 'ScannerError: ... experiment/mine.yaml", line 2, column 1', "# @package _global_\n\tseed: 1\n"
        ),
        experiment(
            "YAML that would run a program",
            'ConstructorError: could not determine a constructor for the tag ... experiment/mine.yaml", line 2',
            "# @package _global_\n!!python/object/apply:os.system ['touch harm']\n",
        ),
        experiment(
            "YAML in Latin-1",
            "experiment/mine.yaml: this is not UTF-8 text (byte 0xe9); save the file as UTF-8",
            b"# @package _global_\n# caf\xe9\nseed: 1\n",
        ),
        experiment(
            "a group that is not there",
            "there is no method 'nope'. The choices are: asm_loc",
            "# @package _global_\ndefaults:\n  - override /method: nope\n",
        ),
    ],
    "Where results go": [
        Case(
            "a folder called as the scores",
            "error",
            "scores.json: cannot be written (Is a directory)",
            lambda p: (p.root / "scores.json").mkdir(),
        ),
        setting(
            "output=predicted_audio.csv/scores.json",
            "scores.json: cannot be written (predicted_audio.csv is a file, not a folder)",
            command="score",
        ),
        Case(
            "a file for the run folder",
            "error",
            "new: cannot be read or written (a file is in the place of a folder)",
            lambda p: (p.root / "new").touch(),
            "train",
        ),
        Case(
            "a file for the output folder",
            "error",
            "parsed: cannot be read or written (a file is in the place of a folder)",
            lambda p: (p.root / "parsed").touch(),
            "predict",
        ),
        Case(
            "a training run in the folder of an evaluation",
            "error",
            "run holds a training run, whose files would be overwritten; give another hydra.run.dir",
            nothing,
            "evaluate",
            ("hydra.run.dir=run",),
        ),
        Case(
            "a file for the pictures' folder",
            "error",
            "KEY.png".replace("KEY", TEST[:11]) + ": cannot be written ( ... pictures is a file, not a folder)",
            lambda p: write(p.root / "parsed" / "pictures", ""),
            "predict",
        ),
        Case(
            "metrics.csv of another program",
            "error",
            "metrics.csv: was changed by another program (row 1 has another number of cells than the header); fix",
            lambda p: write(p.run / "metrics.csv", "epoch,loss\n0,1,2\n"),
            "train",
            ("hydra.run.dir=run", "resume=auto", "trainer.max_epochs=2"),
        ),
    ],
}
