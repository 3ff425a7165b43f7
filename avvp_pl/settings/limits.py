"""The limits of every setting: which values it may have.

A limit is found by the name of a setting and not by its place: ``tau`` is the limit of ``labeling.tau``, and also of
``method.contrast.tau`` in a method of the user's own. A dotted name such as ``labeling.gamma`` stands for the end of a
full key. It is used where one name means two things, or where a name is so common that a user's own object may well
use it for something else.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from omegaconf import DictConfig, ListConfig

Kind = Literal["modality", "stream", "split"]  # what the names in a setting can be the names of


@dataclass(frozen=True)
class Number:
    """An interval. Both ends belong to it unless they are ``open``."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if not abs(value) <= sys.float_info.max:  # refuses NaN, too
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{kind} {'above' if self.low_open else 'of at least'} {self.low:g}"
        ends = f"{self.low:g}, {int(self.high) if self.whole else format(self.high, 'g')}"
        return f"{kind} in {'(' if self.low_open else '['}{ends}{')' if self.high_open else ']'}"


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Flag:
    """True or false. Hydra reads YAML's ``off`` and ``no`` as strings, and every string would count as true."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class NumberOr:
    """A number, or a word in its place."""

    number: Number
    word: str

    def __contains__(self, value: object) -> bool:
        return value == self.word or value in self.number

    def __str__(self) -> str:
        return f"{self.number}, or {self.word}"


@dataclass(frozen=True)
class Arguments:
    """Any mapping, which is passed on as the arguments of a function."""

    example: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, DictConfig | dict)  # a value on the command line is a dict

    def __str__(self) -> str:
        return f"a mapping such as {self.example}"


@dataclass(frozen=True)
class Location:
    """The path of a file or folder, which need not exist. Must be a string: anything else fails deep in a library."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip()) and "\0" not in value

    def __str__(self) -> str:
        return "a path (write ./3 for a path that looks like a number)"


@dataclass(frozen=True)
class Text:
    """Any string that is not blank. If it names a folder (``of_folder``), it may not be a path."""

    example: str
    of_folder: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip()) and not (self.of_folder and _is_path(value))

    def __str__(self) -> str:
        return f"text{' (no path)' * self.of_folder} such as {self.example}"


@dataclass(frozen=True)
class Label:
    """A string that another program accepts as a name: not too long, and without certain characters."""

    example: str
    longest: int
    without: str = ""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or not value.strip() or value != value.strip():
            return False
        return len(value) <= self.longest and not set(value) & set(self.without)

    def __str__(self) -> str:
        without = f" without any of {' '.join(self.without)}" if self.without else ""
        return f"text such as {self.example}, of at most {self.longest} characters{without}, and no space at its ends"


@dataclass(frozen=True)
class Names:
    """A list of different strings, none longer than ``longest``.

    If they name folders (``of_folders``), none of them may be a path. If they are names ``of`` something, the data must
    have it.
    """

    example: str
    of: Kind | None = None
    of_folders: bool = False
    may_be_empty: bool = True
    longest: int | None = None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, list | ListConfig) or not (value or self.may_be_empty):
            return False
        if not all(isinstance(name, str) and name for name in value) or len(set(value)) < len(value):
            return False
        if self.longest is not None and any(len(name) > self.longest for name in value):
            return False
        return not (self.of_folders and any(map(_is_path, value)))

    def __str__(self) -> str:
        short = "" if self.longest is None else f" of at most {self.longest} characters each,"
        return f"a list of different names{' (no paths)' * self.of_folders}{short} such as {self.example}"


@dataclass(frozen=True)
class Each:
    """A mapping in which every value has the same limit.

    Its keys are not fixed: a modality of the user's own may be added with ``+``. A key matches the regular expression
    ``key`` and is none of the ``reserved`` names, which say what they mean already. If the keys are names ``of``
    something, the data must have it; the names ``beside`` them are possible, too. What is no mapping may be
    ``alone`` instead.
    """

    limit: Number | Names | Location
    example: str
    of: Kind | None = None
    beside: tuple[str, ...] = ()
    key: str = r".+"
    reserved: Mapping[str, str] = field(default_factory=dict)
    may_be_empty: bool = True
    alone: OneOrMore | None = None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return self.alone is not None and value in self.alone
        if not (value or self.may_be_empty) or self.wrong_key(value):
            return False
        return all(member in self.limit for member in value.values())

    def __str__(self) -> str:
        return f"a mapping such as {self.example}" + (f", or {self.alone}" if self.alone is not None else "")

    def wrong_key(self, value: Mapping[Any, Any]) -> str:
        """Return what to say of a key that is not possible; nothing if there is none."""
        for name in value:
            if name in self.reserved:
                return f"; {name!r} is {self.reserved[name]}"
            if not isinstance(name, str) or not re.fullmatch(self.key, name):
                return f"; {name!r} is not a possible name (only letters, digits and _, and first a letter)"
        return ""


@dataclass(frozen=True)
class OneOrMore:
    """One value, or a list of different values."""

    limit: Choice | Location
    may_be_empty: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, list | ListConfig):
            return value in self.limit
        return (
            (len(value) > 0 or self.may_be_empty)
            and all(word in self.limit for word in value)
            and len(set(value)) == len(value)
        )

    def __str__(self) -> str:
        return f"{self.limit}, or a list of different ones"


@dataclass(frozen=True)
class Several:
    """A list of so many numbers with the same limit."""

    limit: Number
    count: int

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, list | ListConfig) or len(value) != self.count:
            return False
        return all(number in self.limit for number in value)

    def __str__(self) -> str:
        return f"a list of {self.count} items, each {self.limit}"


@dataclass(frozen=True)
class PathOrFolders:
    """The path of a file, or a mapping from modalities to folders."""

    file: bool = True

    def __contains__(self, value: object) -> bool:
        if isinstance(value, Mapping):
            return len(value) > 0 and all(isinstance(name, str) and path in PATH for name, path in value.items())
        return self.file and value in PATH

    def __str__(self) -> str:
        return f"{'a path, or ' * self.file}a folder for each modality, such as {{audio: DIR, visual: DIR}}"


@dataclass(frozen=True)
class Thresholds:
    """A number, a list of numbers, a word or path, or a mapping from events or modalities to these."""

    def __contains__(self, value: object) -> bool:
        if isinstance(value, Mapping):
            return len(value) > 0 and all(isinstance(name, str) and part in self for name, part in value.items())
        if isinstance(value, list | ListConfig):
            return len(value) > 0 and all(number in ANY for number in value)
        return value in ANY or value in PATH

    def __str__(self) -> str:
        return (
            "a number, a list or mapping of numbers (by event), one of these for each modality, a file, or validation"
        )


@dataclass(frozen=True)
class Levels:
    """So many numbers at equal distances, from the lowest to the highest of them."""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Mapping) or set(value) != {"lowest", "highest", "count"}:
            return False
        return value["lowest"] in WEIGHT and value["highest"] in WEIGHT and value["count"] in COUNT

    def __str__(self) -> str:
        return "a mapping such as {lowest: 0.1, highest: 0.9, count: 20}"


@dataclass(frozen=True)
class OrNull:
    """A value that may be left out."""

    limit: Number | NumberOr | Choice | Arguments | Location | Text | Label | Names | Each | OneOrMore | Levels

    def __contains__(self, value: object) -> bool:
        return value is None or value in self.limit

    def __str__(self) -> str:
        return f"{self.limit}, or null"


Limit = (
    Number
    | NumberOr
    | Choice
    | Flag
    | Arguments
    | Location
    | Text
    | Label
    | Names
    | Each
    | OneOrMore
    | Several
    | PathOrFolders
    | Thresholds
    | Levels
    | OrNull
)

POSITIVE, WEIGHT, COUNT = Number(0, low_open=True), Number(0), Number(1, whole=True)
ANY = Number(-sys.float_info.max)
SHARE = Number(0, 1)
SEED = Number(0, 2**32 - 1, whole=True)  # the range that numpy accepts
SIZE = Number(1, 10**6, whole=True)  # of what is allocated in the given size
PATH = Location()
NAME = Text("my_name")
NOTE = OrNull(Text("thresholds fitted to annotated videos"))
FLAG = Flag()
MISSING = Choice(("error", "weak"))
STREAMS = Names("[res152, r2plus1d_18]", of_folders=True, may_be_empty=False)
# the other scores are named after the modalities
SCORES = dict.fromkeys(("audio_visual", "type_av", "event_av"), "the name of a score")
TAKEN = {
    **SCORES,
    "video": "the whole video in method.weights; call it visual, for example",
    "others": "all modalities that method.weights does not name",
}
MODALITY = r"[A-Za-z]\w*"  # part of the names of files and scores
TABLES = Each(
    PATH,
    "{audio: CSV, visual: CSV}, with a table for each modality",
    key=MODALITY,
    reserved=SCORES,
    may_be_empty=False,
)
FILES = OneOrMore(PATH)
WEIGHTED = ("vggish", "res152", "r2plus1d_18", "clip", "clap")  # extractors with weights that the user names
PRETRAINED = (*WEIGHTED, "efficientnet_lite0", "yamnet")
DEVICE = Choice(("cpu", "cuda", "auto"))

# Settings outside of all groups, by their full name
TOP_LEVEL: dict[str, Limit] = {
    "name": OrNull(Text("my_name", of_folder=True)),
    "tags": Names("[baseline]"),
    "seed": SEED,
    "threads": OrNull(COUNT),
    "matmul_precision": Choice(("highest", "high", "medium")),
    "compile": OrNull(Arguments("{mode: reduce-overhead}")),
    "resume": OrNull(PATH),
    "debug": FLAG,
    "checkpoint": OrNull(PATH),
    "trust": Names("[mypackage]"),
    "output": OrNull(PATH),
    "split": Choice(("train", "val", "test")),
    "names": OrNull(PATH),
    "pictures": Number(0, whole=True),
    "window": OrNull(NumberOr(SIZE, "whole")),
    "overlap": OrNull(Number(0, 10**6, whole=True)),
    "keep_features": FLAG,
    "formats": OrNull(OneOrMore(Choice(("json", "csv", "vtt", "srt", "audacity", "elan", "html")), may_be_empty=True)),
    "embed_media": FLAG,
    # of recipe and refine
    "last": Names("[labeling=prototype]"),
    "only": OrNull(Each(Names("[sizes.train=8]"), "{clips: [sizes.train=8]}, each stage with a list of settings")),
    "logits": PathOrFolders(),
    "folders": PathOrFolders(file=False),
    "thresholds": Thresholds(),
    "soft": FLAG,
    "temperature": POSITIVE,
    "missing": MISSING,
    "note": NOTE,
    # of clips
    "sizes": Each(COUNT, "{train: 160, val: 32, test: 32}", "split", may_be_empty=False),
    "seconds": SIZE,
    "side": Number(16, 4096, whole=True),
    # of score
    "task": Choice(("parsing", "localization")),
    "videos": OrNull(PATH),
    "truth": OrNull(replace(TABLES, alone=FILES)),
    "predicted": OrNull(TABLES),
    "detections": OrNull(PATH),
    "ambiguous": OrNull(PATH),
    "subset": Text("test"),
    "audio": OrNull(PATH),
    "visual": OrNull(PATH),
    "predicted_audio": OrNull(PATH),
    "predicted_visual": OrNull(PATH),
    "classes": OrNull(PATH),
    "segments": SIZE,
    "segment_seconds": POSITIVE,
    # of extract, and workers of clips, too
    "missing_track": Choice(("refuse", "mask")),
    "damaged": Choice(("refuse", "keep")),
    "workers": OrNull(Number(0, whole=True)),
    # of app
    "host": Text("127.0.0.1"),
    "port": Number(0, 65_535, whole=True),
    "device": Text("cuda"),
    # of report
    "runs": OrNull(OneOrMore(PATH)),
    "title": OrNull(Text("'Five seeds on LLP'")),
    "baseline": OrNull(Text("mil")),
    "shown": OrNull(Names("[mil, ppl_soft]", may_be_empty=False)),
    "figure3": OrNull(Names("[NAME, NAME]")),
    "media": OrNull(PATH),
    "media_copy": FLAG,
    "published": OrNull(PATH),
    "wandb": OrNull(Text("ENTITY/PROJECT")),
    "online": FLAG,
}


# Settings in groups, by their name or the end of their full key
LIMITS: dict[str, Limit] = {
    "paths.output_root": PATH,
    "paths.run_dir": PATH,
    "data.name": NAME,
    "data.root": PATH,
    "data.packed": OrNull(PATH),
    "data.extracted_as": OrNull(PATH),
    "data.modalities": Each(
        STREAMS,
        "{audio: [vggish], visual: [res152, r2plus1d_18]}, each modality with a list of its streams",
        key=MODALITY,
        reserved=TAKEN,
        may_be_empty=False,
    ),
    "data.source": Arguments("{_target_: avvp_pl.data.llp.load_llp}"),
    "data.annotation": OrNull(PATH),
    "data.ambiguous": OrNull(PATH),
    "data.dtype": Choice(("float32", "float16", "bfloat16")),
    "data.resident": Choice(("auto", "device", "host")),
    "order.pairs": Number(0, whole=True),
    "order.batches": COUNT,
    "sampling.inclusive": FLAG,
    "data.rows_per_segment": OrNull(Each(COUNT, "{res152: 8}")),
    "data.shortest": OrNull(COUNT),
    "data.seed": Number(0, whole=True),
    "data.noise": WEIGHT,
    "data.noise_ratio": POSITIVE,
    "data.context": WEIGHT,
    "data.sizes": Each(COUNT, "{train: 1500, val: 200, test: 300}", "split"),
    "data.streams": Each(COUNT, "{vggish: 128, res152: 256, r2plus1d_18: 128}", "stream"),
    "data.segments": SIZE,
    "data.order": OrNull(Arguments("{_target_: avvp_pl.data.order.PairedBatches, pairs: 3, batches: 20}")),
    "data.sampling": OrNull(Arguments("{_target_: avvp_pl.data.sampling.Bins, segments: 750}")),
    "sampling.segments": SIZE,
    "sampling.repeat": FLAG,
    "data.proposals": OrNull(PATH),
    "network.segments": SIZE,
    "segment_seconds": POSITIVE,
    "batch_size": SIZE,
    "eval_batch_size": SIZE,
    "max_epochs": COUNT,
    "seed": SEED,
    # network
    "dim": COUNT,
    "hidden_dim": COUNT,
    "network.kernel_size": COUNT,
    "network.pooling": Choice(("top_k", "attention")),
    "feedforward_dim": COUNT,
    "num_heads": COUNT,
    "num_layers": COUNT,
    "dropout": Number(0, 1, high_open=True),
    "cross_attention": FLAG,
    "cross_attention_dropout": SHARE,
    "fuse_single_stream": Names("[visual]", "modality"),
    "network.head_dropout": Each(Number(0, 1, high_open=True), "{visual: 0.5}", "modality"),
    "projection_dims": Each(COUNT, "{audio: 1024}", "modality"),
    "network.update": Choice(("parallel", "sequential")),
    "bidirectional": FLAG,
    "mixing_dim": COUNT,
    "num_fusion_layers": Number(0, whole=True),
    "query_modality": Text("visual"),
    "regrouped": Names("[audio]", "modality"),
    "network.assignment": Choice(("gumbel", "hard", "soft")),
    "segment_scores": Choice(("code", "paper")),
    "event_dim": COUNT,
    "event_feedforward_dim": COUNT,
    "event_heads": COUNT,
    "event_dropout": Number(0, 1, high_open=True),
    "cross_share": SHARE,
    "absence_dropout": Number(0, 1, high_open=True),
    "negative_slope": WEIGHT,
    "evidence_temperature": POSITIVE,
    "evidence_limit": POSITIVE,
    "num_levels": Number(1, 16, whole=True),  # the widest convolution pads a video by 2^(num_levels - 1) on both sides
    "attention_dropout": Number(0, 1, high_open=True),
    "num_query_layers": COUNT,
    "attention_dim": COUNT,
    "top_k_share": COUNT,
    "action_share": COUNT,
    "background_share": COUNT,
    "network.event_embeddings": OrNull(PATH),
    "gate_dropout": Number(0, 1, high_open=True),
    "attention_logit_dropout": Number(0, 1, high_open=True),
    "test_top_k_share": COUNT,
    "network.proposals": Choice(("none", "data")),
    "test_segments": OrNull(COUNT),
    "oversampled_to": Number(1),
    "confident_share": SHARE,
    "widening": POSITIVE,
    "network.warp": Choice(("exact", "code")),
    # method
    "class_weighting": Choice(("inverse_frequency", "none")),
    "method.weights": Each(WEIGHT, "{video: 1.0, audio: 1.0, visual: 1.0}", "modality", beside=("video", "others")),
    "weight_classification": WEIGHT,
    "method.temperature": POSITIVE,
    "method.smoothing": Each(SHARE, "{audio: 1.0, visual: 0.9}", "modality"),
    "contrast.others": Choice(("encoded", "projected")),
    "contrast.form": Choice(("cross_entropy", "log_mix")),
    "contrast.temperature": POSITIVE,
    "contrast.smoothing": SHARE,
    "contrast.weight": WEIGHT,
    "targets.smoothing": Each(SHARE, "{audio: 1.0, visual: 0.9}", "modality"),
    "method.count": Choice(("joint", "per_modality")),
    "method.confidence": Number(0, 1, low_open=True),
    "max_count": COUNT,
    "weight_count": WEIGHT,
    "targets.file": PATH,
    "targets.missing": MISSING,
    "method.segments.file": PATH,
    "method.segments.missing": MISSING,
    "method.segments.weight": WEIGHT,
    "targets.ramp": Choice(("code", "linear")),
    "targets.ramp_epochs": WEIGHT,
    "targets.ranking_dropout": FLAG,
    "weight_mutual": WEIGHT,
    "least_uncertainty": SHARE,
    "weight_segment": WEIGHT,
    "weight_similarity": WEIGHT,
    "similarity_margin": WEIGHT,
    "method.head_dropout": Number(0, 1, high_open=True),
    "method.margin": SHARE,
    "token_weights": Each(WEIGHT, "{audio: 1.2, visual: 1.0}", "modality", beside=("others",)),
    "late_token_weights": Each(WEIGHT, "{audio: 0.001, others: 0.0}", "modality", beside=("others",)),
    "confirmed_epoch": Number(0, whole=True),
    "confirmed_share": SHARE,
    "confirmed_from": Each(SHARE, "{audio: 0.5, visual: 0.6}", "modality", beside=("others",)),
    "weight_correlation": WEIGHT,
    "batch_factor": FLAG,
    "sure_from": Each(SHARE, "{audio: 0.8, visual: 0.6}", "modality", beside=("others",)),
    "sure_to": Each(SHARE, "{audio: 0.1, visual: 0.4}", "modality", beside=("others",)),
    "reference_weights": Each(WEIGHT, "{audio: 0.009, visual: 1.0}", "modality", beside=("others",)),
    "found_from": SHARE,
    "method.pairs": Number(0, whole=True),
    "weight_mil": WEIGHT,
    "weight_mil_attended": WEIGHT,
    "weight_sparsity": WEIGHT,
    "weight_guide": WEIGHT,
    "weight_co_activity": WEIGHT,
    "weight_evidence": WEIGHT,
    "evidence_top_k_share": COUNT,
    "method.curriculum": Choice(("rank", "code", "none")),
    "weight_curriculum": WEIGHT,
    "curriculum_amplitude": SHARE,
    "method.phases": Several(Number(0, whole=True), 3),
    "key_margin": SHARE,
    "video_epochs": Number(0, whole=True),
    "weight_attention": WEIGHT,
    "weight_entropy": WEIGHT,
    "weight_magnitude": WEIGHT,
    "action_magnitude": WEIGHT,
    "weight_background": WEIGHT,
    "weight_actions": WEIGHT,
    "weight_uncertainty": WEIGHT,
    "method.segment_labels": Choice(("exact", "code")),
    # refine
    "refinement.logits": PathOrFolders(),
    "refinement.folders": PathOrFolders(file=False),
    "refinement.event_thresholds": Thresholds(),
    "refinement.soft": FLAG,
    "refinement.temperature": POSITIVE,
    "refinement.missing": MISSING,
    "refinement.note": NOTE,
    "refinement.folds": Number(2, whole=True),
    "refinement.threshold": SHARE,
    "refinement.thresholds": Each(WEIGHT, "{audio: 0.6, visual: 1.8}", "modality"),
    "refinement.smoothing": Each(SHARE, "{audio: 1.0, visual: 0.9}", "modality"),
    # labeling
    "labels": Choice(("soft", "hard")),
    "label_threshold": SHARE,
    "mistake_threshold": SHARE,
    "weight_pseudo_label": WEIGHT,
    "weight_contrastive": WEIGHT,
    "over_events": Choice(("mean", "sum")),
    "over_modalities": Choice(("mean", "sum")),
    "start_epoch": Number(0, whole=True),
    "labeling.file": PATH,
    "labeling.missing": MISSING,
    "positive_weight": WEIGHT,
    "weight_mixup": WEIGHT,
    "mixup_alpha": POSITIVE,
    "labeling.source": Choice(("momentum", "best")),
    "momentum": Number(0, 1, high_open=True),
    "momentum_warmup": FLAG,
    "labeling.attending": OrNull(Names("[audio]", "modality")),
    "labeling.gamma": Number(0, 1, low_open=True),
    "labeling.beta": Number(0, 1, low_open=True, high_open=True),
    "labeling.k": COUNT,
    "k_positive": OrNull(COUNT),
    "k_negative": OrNull(COUNT),
    "without_positives": Choice(("zero", "weak")),
    "without_negatives": Choice(("zero", "weak")),
    "tau": POSITIVE,
    "tau_contrastive": POSITIVE,
    "labeling.prototypes": Choice(("shared", "per_modality")),
    "min_modality": SHARE,
    "normalize_features": FLAG,
    "kmeans": Choice(("faiss", "torch")),
    "max_segments_per_event": OrNull(COUNT),
    "max_contrastive_segments": OrNull(Number(2, whole=True)),
    "feature_memory_gb": WEIGHT,
    "include_self": FLAG,
    # inference
    "inference.cmpae.tuned": Names("[visual]", "modality"),
    "inference.cmpae.lowest": SHARE,
    "inference.cmpae.highest": SHARE,
    "inference.cmpae.candidates": COUNT,
    "key_share": SHARE,
    "inference.bas_net.segments": OrNull(SIZE),
    "inference.um.segments": OrNull(SIZE),
    # optimizer
    "optimizer.algorithm": Choice(("adam", "adamw")),
    "learning_rate": POSITIVE,
    "weight_decay": WEIGHT,
    "optimizer.betas": Several(Number(0, 1, high_open=True), 2),
    "clip_norm": OrNull(POSITIVE),
    "optimizer.unscheduled": Names("[video_classifier]"),
    "schedule.every": COUNT,
    "schedule.factor": Number(0, 1, low_open=True),
    "schedule.after": Number(0, whole=True),
    "schedule.times": POSITIVE,
    "schedule.warmup": WEIGHT,
    "schedule.floor": SHARE,
    "schedule.changes": Choice(("step", "epoch")),
    # protocol
    "protocol.name": NAME,
    "segment_threshold": SHARE,
    "decision.gate": Choice(("hard", "soft")),
    "decision.gate_by": Choice(("video", "modality")),
    "video_threshold": SHARE,
    "decision.strict_gate": FLAG,
    "decision.without_events": Choice(("best", "nothing")),
    "decision.curve_levels": OrNull(Levels()),
    "decision.attention_levels": OrNull(Levels()),
    "curve_levels.lowest": WEIGHT,
    "curve_levels.highest": WEIGHT,
    "curve_levels.count": COUNT,
    "attention_levels.lowest": WEIGHT,
    "attention_levels.highest": WEIGHT,
    "attention_levels.count": COUNT,
    "decision.zeroed": FLAG,
    "decision.upsampling": COUNT,
    "decision.at": Choice(("center", "start")),
    "decision.shortest": COUNT,
    "decision.outer": WEIGHT,
    "decision.video_weight": WEIGHT,
    "decision.video_score_as_one": FLAG,
    "decision.unique": FLAG,
    "decision.suppression": Choice(("hard", "gaussian")),
    "decision.overlap": SHARE,
    "decision.sigma": POSITIVE,
    "decision.added_seconds": WEIGHT,
    "decision.lowest": OrNull(Number(-math.inf)),
    "protocol.task.ambiguous": OrNull(PATH),
    "protocol.task.exclusive": FLAG,
    "selection.monitor": OrNull(Text("val/segment/type_av")),
    "selection.mode": Choice(("max", "min")),
    # scoring of localization
    "scoring.name": NAME,
    "scoring.unit": Choice(("seconds", "segments")),
    "scoring.fps": POSITIVE,
    "scoring.segment_frames": COUNT,
    "scoring.excluded": Names("[video_test_0000270]"),
    "scoring.truth_only": Names("[video_test_0000270]"),
    "scoring.drop_ambiguous": FLAG,
    "scoring.drop_single_segments": FLAG,
    "scoring.videos": OrNull(COUNT),
    "scoring.instances": OrNull(COUNT),
    # extractors of features
    "limits.megabytes": POSITIVE,
    "limits.minutes": POSITIVE,
    "limits.seconds": POSITIVE,
    "limits.keep_minutes": POSITIVE,
    "extractors.logmel.bands": Number(1, 256, whole=True),
    "extractors.picture.per_second": Number(1, 60, whole=True),
    "extractors.yamnet.log_offset": POSITIVE,
    **dict.fromkeys((f"extractors.{name}.name" for name in PRETRAINED), Text("my_stream", of_folder=True)),
    **dict.fromkeys((f"extractors.{name}.pca" for name in PRETRAINED), OrNull(PATH)),
    "extractors.clap.output": Choice(("embedding", "map")),
    **dict.fromkeys((f"extractors.{name}.weights" for name in WEIGHTED), PATH),
    **dict.fromkeys((f"extractors.{name}.device" for name in (*WEIGHTED, "efficientnet_lite0")), DEVICE),
    # trainer, callbacks and logger: see PASSED_ON
    "trainer.max_epochs": COUNT,
    "trainer.num_nodes": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.default_root_dir": PATH,
    "trainer.num_sanity_val_steps": Number(-1, whole=True),
    "trainer.log_every_n_steps": COUNT,
    "trainer.enable_model_summary": FLAG,
    "trainer.use_distributed_sampler": FLAG,
    "callbacks.seed_steps.seed": SEED,
    "callbacks.safe_stop.directory": PATH,
    "callbacks.safe_stop.max_loss": POSITIVE,
    "callbacks.refresh.directory": PATH,
    "callbacks.best.dirpath": PATH,
    "callbacks.best.filename": Text("best"),
    "callbacks.best.monitor": OrNull(Text("val/segment/type_av")),
    "callbacks.best.mode": Choice(("max", "min")),
    "callbacks.best.enable_version_counter": FLAG,
    "callbacks.last.dirpath": PATH,
    "callbacks.last.filename": Text("last"),
    "callbacks.last.save_on_train_epoch_end": FLAG,
    "callbacks.last.enable_version_counter": FLAG,
    "callbacks.run_files.directory": PATH,
    "callbacks.run_files.title": Text("'PPL on LLP'"),
    "callbacks.panels.num_videos": COUNT,
    "callbacks.panels.every_n_epochs": COUNT,
    "logger.csv.directory": PATH,
    "logger.tensorboard.save_dir": PATH,
    # what W&B refuses, which it would say after the run has begun, or only when the run is sent
    "logger.wandb.project": Label("avvp_pl", 128, "/\\#?%:"),
    "logger.wandb.entity": OrNull(Label("my-team", 128, "/\\#?%:")),
    "logger.wandb.id": OrNull(Label("2f9k3m1x", 128, "/\\#?%:;,'")),
    "logger.wandb.name": OrNull(Label("'ppl_soft gamma=0.3'", 128)),
    "logger.wandb.group": OrNull(Label("ppl_soft", 128)),
    "logger.wandb.job_type": OrNull(Label("train", 64)),
    "logger.wandb.tags": OrNull(Names("[baseline]", longest=64)),
    "logger.wandb.log_model": FLAG,
    "logger.wandb.offline": FLAG,
    "logger.wandb.save_dir": PATH,
}

# Groups whose objects take arguments of other libraries, which may have one of the names above and mean something else
# (and stages, whose names are free). In them a limit needs the full key, and `+key=value` may add any argument.
PASSED_ON = ("trainer", "logger", "callbacks", "hydra", "stages")


def _is_path(name: str) -> bool:
    return name in {".", ".."} or bool(re.search(r"[/\\\0]", name))


def limit_of(key: str) -> Limit | None:
    """Return the limit of a setting, given its full key: the limit with the longest name that fits.

    >>> str(limit_of("labeling.tau"))
    'a number above 0'
    >>> limit_of("labeling.seed") == limit_of("data.seed")
    False
    """
    parts = key.split(".")
    if len(parts) == 1:
        return TOP_LEVEL.get(key)
    group = members_of(key.rpartition(".")[0])
    if group is not None:
        return group.limit
    if parts[0] in PASSED_ON:
        return LIMITS.get(key)
    ends = (".".join(parts[first:]) for first in range(len(parts)))
    return next((LIMITS[end] for end in ends if end in LIMITS), None)


def members_of(key: str) -> Each | None:
    """Return the limit of a mapping to which keys may be added, such as ``method.weights``; None for other settings."""
    limit = limit_of(key)
    if isinstance(limit, OrNull):
        limit = limit.limit
    return limit if isinstance(limit, Each) else None
