"""The command line, configuration files, and where results go."""

from __future__ import annotations

from tests.damage.place import TEST, Case, nothing, setting, write

STREAMS = "it must be a list of different names (no paths) such as [res152, r2plus1d_18]"
GROUPS = "it must be names, each with a list of streams, such as {audio: [vggish], visual: [res152, r2plus1d_18]}"
PATH = "it must be a path (./3 where it looks like a number)"


def experiment(name: str, says: str, content: str | bytes) -> Case:
    mine = ("hydra.searchpath=[file://conf]", "+experiment=mine")
    return Case(name, "error", says, lambda place: place.experiment(content), "train", mine)


CASES: dict[str, list[Case]] = {
    "Settings": [
        setting("seed=null", "seed=null: it must be a whole number in [0, 4294967295]"),
        setting("seed=abc", "seed=abc: it must be a whole number in [0, 4294967295]"),
        setting("seed=99999999999999999999", "seed=99999999999999999999: it must be a whole number in [0, 4294967295]"),
        setting("seed=${nothing}", "Interpolation key 'nothing' not found"),
        Case(
            "a setting without a value",
            "error",
            "Error parsing override 'seed' missing EQUAL",
            nothing,
            "train",
            ("seed",),
        ),
        setting("sead=1", "there is no setting 'sead'. Did you mean 'seed'?"),
        setting(
            "~method.learning_rate", "method: TypeError: ... missing 1 required positional argument: 'learning_rate'"
        ),
        setting("~seed", "Interpolation key 'seed' not found"),
        setting("data.batch_size=abc", "data.batch_size=abc: it must be a whole number in [1, 1000000]"),
        setting("data.segments=0", "data.segments=0: it must be a whole number in [1, 1000000]"),
        setting("data.segment_seconds=null", "data.segment_seconds=null: it must be a number above 0"),
        setting("data.root=3", f"data.root=3: {PATH}"),
        setting("data.packed=[]", f"data.packed=[]: {PATH}, or null", command="prepare"),
        setting("data.modalities={}", f"data.modalities={{}}: {GROUPS}"),
        setting("data.modalities=[vggish]", f"data.modalities=['vggish']: {GROUPS}"),
        setting("data.modalities=null", f"data.modalities=null: {GROUPS}"),
        setting("data.modalities={audio_visual: [vggish]}", f"{GROUPS}"),
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
            "network.fuse_single_stream=visul: it must be a modality, of audio, visual. Did you mean 'visual'?",
        ),
        setting(
            "network._target_=avvp_pl.models.none.HAN", "network: ImportError: Error loading 'avvp_pl.models.none.HAN'"
        ),
        setting("method=null", "method=null: it must be one of mil, npl, ppl"),
        setting("method=pll", "there is no method 'pll'. Did you mean 'ppl'?"),
        setting("method.learning_rate=null", "method.learning_rate=null: it must be a number above 0"),
        setting(
            "method.guided_weights.audio=null", "method.guided_weights.audio=null: it must be a number of at least 0"
        ),
        setting("~method.guided_weights.audio", "method.guided_weights is for visual; the data has audio, visual"),
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
        setting("callbacks.best.monitor=val/nothing", "could not find the monitored key"),
        setting("debug=maybe", "debug=maybe: it must be true or false"),
        setting("segments=null", "segments=null: it must be a whole number in [1, 1000000]", command="score"),
        setting("videos=3", f"videos=3: {PATH}", command="score"),
        setting("videos=???", "videos must be given: videos=...", command="score"),
        setting(
            "data=null", "data=null: it must be one of llp, realmix, synthetic, synthetic_llp_size", command="evaluate"
        ),
        setting(
            "+experiment=han_ppl_test",
            "there is no setting 'inference' in avvp_pl.train; it is for python -m avvp_pl.evaluate",
        ),
        setting(
            "inference=[prototype,prototype]",
            "it must be one of classifier, prototype, prototype_hard, or a list of different ones, or null",
            command="evaluate",
        ),
        setting(
            "inference=[classifier,prototype]",
            "inference=[classifier,prototype]: it must be one of these; evaluate takes several",
            command="predict",
        ),
        setting("split=all", "split=all: it must be one of train, val, test", command="predict"),
        setting("pictures=many", "pictures=many: it must be a whole number of at least 0", command="predict"),
    ],
    "Configuration files of one's own": [
        experiment(
            "a key that nothing reads",
            "there is no setting 'sede'. Did you mean 'seed'?",
            "# @package _global_\nsede: 3\n",
        ),
        experiment(
            "a key of the data that nothing reads",
            "there is no setting 'data.batchsize'. Did you mean 'batch_size'?",
            "# @package _global_\ndata:\n  batchsize: 3\n",
        ),
        experiment(
            "null for a group",
            "method=null: it must be names and values, as in method/mil.yaml",
            "# @package _global_\nmethod: null\n",
        ),
        experiment(
            "a list for names and values",
            "In 'experiment/mine': ConfigTypeError ... Cannot merge DictConfig with ListConfig",
            "# @package _global_\nmethod: [1]\n",
        ),
        experiment(
            "a value out of its limits",
            "method.weight_decay=-1: it must be a number of at least 0",
            "# @package _global_\nmethod:\n  weight_decay: -1\n",
        ),
        experiment(
            "a bracket that is not closed", 'ParserError: ... experiment/mine.yaml", line 2, column 1', "seed: [1\n"
        ),
        experiment("a tab", 'ScannerError: ... experiment/mine.yaml", line 1, column 1', "\tseed: 1\n"),
        experiment(
            "YAML that would run a program",
            'ConstructorError: could not determine a constructor for the tag ... experiment/mine.yaml", line 1',
            "!!python/object/apply:os.system ['touch harm']\n",
        ),
        experiment(
            "YAML in Latin-1", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9", b"# caf\xe9\nseed: 1\n"
        ),
        experiment(
            "a group that is not there",
            "there is no method 'nope'. There are: mil, npl, ppl",
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
            "output=predicted_audio.csv/scores.json", "scores.json: cannot be written (File exists)", command="score"
        ),
        Case(
            "a file for the run folder",
            "error",
            "new: cannot be read or written (File exists)",
            lambda p: (p.root / "new").touch(),
            "train",
        ),
        Case(
            "a file for the output folder",
            "error",
            "parsed: cannot be read or written (File exists)",
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
            "KEY.png".replace("KEY", TEST[:11]) + ": cannot be written (File exists)",
            lambda p: write(p.root / "parsed" / "pictures", ""),
            "predict",
        ),
        Case(
            "metrics.csv of another program",
            "error",
            "metrics.csv: was changed by another program (row 1 has another number of cells than the header); mend",
            lambda p: write(p.run / "metrics.csv", "epoch,loss\n0,1,2\n"),
            "train",
            ("hydra.run.dir=run", "resume=auto", "trainer.max_epochs=2"),
        ),
    ],
}
