"""Check that the present code computes the same numbers, to the bit, as an earlier commit.

``python -m benchmarks.same_numbers BEFORE [NAME ...]`` runs every experiment of the commit (or checkout folder)
BEFORE, and a few variants with other settings, with the code of BEFORE and with the present code, on the same small
synthetic data. It compares the weights in the checkpoints, the metrics of every epoch, the test scores and the
predictions, prints one line per run, and exits with 1 if any run differs. Each run is a process of its own, and this
script imports nothing from the package, so a run that the present code cannot do is reported like any other
difference.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT = 900  # seconds per run; it takes about five

# All settings in this file have the names that they had before the redesign.
TRAINING = (
    "data.sizes.train=70",
    "data.sizes.val=16",
    "data.sizes.test=16",
    "network.dim=32",
    "network.feedforward_dim=32",
    "trainer.max_epochs=4",
    "method.learning_rate=0.003",
    "logger=csv",
)
PROCESS = ("trainer.accelerator=cpu", "threads=1", "seed=0")

# Experiments that `evaluate` runs, on the best checkpoint of another experiment; `train` runs all others.
EVALUATED = {"han_ppl_test": "han"}

# Experiments with further settings, by the name of the run.
VARIANTS: dict[str, tuple[str, ...]] = {
    "ppl_soft_best_prototype": ("ppl_soft", "method.source=best", "method.inference=prototype", "trainer.max_epochs=8"),
    "ppl_soft_torch_sampled": (
        "ppl_soft",
        "method.kmeans=torch",
        "method.max_segments_per_event=64",
        "method.feature_memory_gb=0",
    ),
    "npl_soft_audio_attending": ("npl_soft", "method.label_attending=[audio]", "network.cross_attention_dropout=0.5"),
    "mil_other_settings": (
        "mil",
        "method.weight_decay=0.1",
        "method.guided_weights.audio=0.7",
        "method.guided_weights.visual=0.4",
        "method.guided_smoothing.audio=0.95",
        "method.guided_smoothing.visual=0.8",
    ),
    "ppl_per_modality_other_settings": (
        "ppl_per_modality",
        "method.weight_pseudo_label=0.2",
        "method.start_epoch=2",
        "method.momentum=0.9",
        "method.momentum_warmup=false",
        "method.gamma=0.6",
        "method.beta=0.3",
        "method.k=4",
        "method.tau=0.2",
        "method.min_modality=0.7",
        "method.normalize_features=false",
        "method.weight_contrastive=0.05",
        "method.tau_contrastive=0.4",
        "method.include_self=true",
        "method.inference=prototype_hard",
        "method.seed=5",
    ),
    "ppl_soft_two_processes": (
        "ppl_soft",
        "trainer=ddp",
        "trainer.devices=2",
        "+trainer.strategy.start_method=fork",
        "data.batch_size=8",
    ),
}

# The settings that the redesign renames: the whole old name, and the new one. The first match counts.
OF_LABELING = (
    "labels|weight_pseudo_label|start_epoch|momentum|momentum_warmup|source|gamma|beta|k|tau|prototypes|min_modality|"
    "normalize_features|kmeans|max_segments_per_event|feature_memory_gb|weight_contrastive|tau_contrastive|"
    "include_self|seed"
)
RENAMED_SETTINGS = (
    (rf"method\.({OF_LABELING})", r"labeling.\1"),
    (r"method\.label_attending", r"labeling.attending"),
    (r"method\.inference", r"inference"),  # a choice of a group
    (r"method\.(learning_rate|weight_decay)", r"optimizer.\1"),
    (r"method\.guided_weights\.(\w+)", r"method.weights.\1"),
    (r"method\.guided_smoothing\.(\w+)", r"method.targets.smoothing.\1"),
)

# What has changed on purpose since (see CHANGELOG.md): settings that undo it in the present code, by the start of the
# experiment's name. A case that sets one of them itself keeps its own value.
UNDONE = {
    "han": ("optimizer/schedule=constant",),
    "npl": ("labeling.source=momentum",),
    "ppl": (
        "labeling.source=momentum",
        "labeling.gamma=0.5",
        "labeling.include_self=false",
        "labeling.max_segments_per_event=2560",
        "inference=classifier",
    ),
}
# Of these, what an experiment of `evaluate` needs, which builds prototypes
OF_BUILT_PROTOTYPES = tuple(setting for setting in UNDONE["ppl"] if setting.startswith("labeling."))
RENAMED_EXPERIMENTS = {"mil_unguided": "mil_literal"}
# Columns of tables: the new name of what the old name stood for; a column that is new has the old name now
RENAMED_COLUMNS = {"train/em/bound": "train/em/disjunction_bound"}

# The keys of a state dict that the redesign renames: the whole old key, and new ones, of which the first that exists
# counts. A key that exists under its old name is its own partner.
RENAMED_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"momentum_net\.(.+)", (r"labeling.teacher.average.\1",)),
    (r"best_net\.(.+)", (r"labeling.teacher.best.\1",)),
    (r"event_weights", (r"method.event_weights",)),
    (r"((?:positive|negative)(?:_mask)?)", (r"labeling.bank.\1",)),
)
# The files of a run that are compared, by name, and in this order: the earliest difference is reported.
COMPARED = (
    "metrics.csv",
    "pseudo_labels.csv",
    "last.ckpt",
    "best.ckpt",
    "scores.json",
    "audio.csv",
    "visual.csv",
    "probabilities.npz",
)

Array = npt.NDArray[Any]


class Case(NamedTuple):
    """A run that is compared: a training, or the evaluation of the checkpoint that the run ``trained`` has made."""

    name: str
    experiment: str
    settings: tuple[str, ...] = ()
    trained: Case | None = None


class FailedRunError(Exception):
    """A run ended with an error, whose last line this is."""


@dataclass
class Side:
    """The runs of one of the two checkouts.

    ``renamed``: whether the checkout has the new names of settings. ``more_settings`` are added to every training.
    A finished run lies in ``folder`` under its name and a hash of what it was made from, and is not repeated where
    it is there already. ``started`` has the runs of this session by name.
    """

    checkout: Path
    folder: Path
    renamed: bool = False
    more_settings: tuple[str, ...] = ()
    sources: str = field(init=False)
    started: dict[str, Future[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sources = hash_of_sources(self.checkout)
        self.folder.mkdir(parents=True, exist_ok=True)

    def start(self, case: Case, pool: ThreadPoolExecutor) -> Future[Path]:
        """Let the pool run the case; the run whose checkpoint it needs must have been started before."""
        self.started[case.name] = pool.submit(self.run, case)
        return self.started[case.name]

    def run(self, case: Case) -> Path:
        """Run the case unless that was done before, and return its folder."""
        finished = self.folder / f"{case.name}-{self.key(case)}"
        if finished.is_dir():
            return finished
        arguments = self.arguments(case)
        with TemporaryDirectory(prefix=f"{case.name}-", dir=self.folder) as temporary:
            unfinished = Path(temporary, "run")
            run_module(self.checkout, *arguments, f"hydra.run.dir={unfinished}")
            try:
                unfinished.rename(finished)
            except OSError:
                if not finished.is_dir():  # another session was not just quicker
                    raise
        return finished

    def key(self, case: Case) -> str:
        """Hash everything that decides the numbers of a run."""
        platform = (torch.__version__, np.__version__, torch.backends.cpu.get_cpu_capability())
        content = [self.sources, platform, case, self.settings(case), case.trained and self.key(case.trained)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def settings(self, case: Case) -> list[str]:
        """The settings of a run, under the names that this checkout has for them."""
        settings = [*PROCESS, *case.settings] if case.trained else [*TRAINING, *PROCESS, *case.settings]
        if not self.renamed:
            return settings if case.trained else [*settings, *self.more_settings]
        renamed = [new_name(setting) for setting in settings]
        if case.trained:
            return [*renamed, *OF_BUILT_PROTOTYPES]
        own = {setting.partition("=")[0] for setting in renamed}
        undone = [
            setting
            for start, of_start in UNDONE.items()
            if case.experiment.startswith(start)
            for setting in of_start
            if setting.partition("=")[0] not in own
        ]
        return [*renamed, *undone, *self.more_settings]

    def arguments(self, case: Case) -> list[str]:
        """The command of a run; it waits for the checkpoint if the run needs one."""
        experiment = RENAMED_EXPERIMENTS.get(case.experiment, case.experiment) if self.renamed else case.experiment
        settings = [f"+experiment={experiment}", *self.settings(case)]
        if case.trained is None:
            return ["avvp_pl.train", *settings]
        try:
            trained = self.started[case.trained.name].result()
        except FailedRunError:
            raise FailedRunError(f"there is no checkpoint of {case.trained.name}") from None
        return ["avvp_pl.evaluate", *settings, f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"]


def run_module(checkout: Path, *arguments: str) -> str:
    """Run ``python -m`` with the code of a checkout, and return what it prints; FailedRunError if it fails."""
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    # The checkout precedes the installed package, which is the present code.
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    try:
        ended = subprocess.run(
            command,
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise FailedRunError(f"no end after {TIMEOUT} s") from None
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        raise FailedRunError(said[-1].strip() if said else f"exit code {ended.returncode}")
    return ended.stdout


def hash_of_sources(checkout: Path) -> str:
    """Hash the code and the configuration of a checkout."""
    found = hashlib.sha256()
    for folder, pattern in (("avvp_pl", "*.py"), ("conf", "*.yaml")):
        for path in sorted((checkout / folder).rglob(pattern)):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(checkout)} {content}\n".encode())
    return found.hexdigest()


def new_name(setting: str) -> str:
    """Rename a setting ``NAME=VALUE`` as the redesign does."""
    name, _, value = setting.partition("=")
    for old, new in RENAMED_SETTINGS:
        if match := re.fullmatch(old, name):
            return f"{match.expand(new)}={value}"
    return setting


def all_cases(checkout: Path) -> dict[str, Case]:
    """Every experiment of a checkout and every variant by name, each after the one whose checkpoint it needs."""
    experiments = sorted(path.stem for path in (checkout / "conf" / "experiment").glob("*.yaml"))
    trained = {name: Case(name, name) for name in experiments if name not in EVALUATED}
    evaluated = {name: Case(name, name, (), trained[EVALUATED[name]]) for name in experiments if name in EVALUATED}
    variants = {name: Case(name, experiment, tuple(more)) for name, (experiment, *more) in VARIANTS.items()}
    return {**trained, **evaluated, **variants}


class Compared(NamedTuple):
    """How a file of both runs compares: what was found equal, counted, and the differences."""

    equal: Counter[str]
    differences: list[str]


def compare_runs(before: Path, after: Path) -> Compared:
    """Compare all files of two run folders that are to be compared, wherever in these they are."""
    equal: Counter[str] = Counter()
    differences: list[str] = []
    names = {path.relative_to(run) for run in (before, after) for path in run.rglob("*") if path.name in COMPARED}
    for name in sorted(names, key=lambda name: (COMPARED.index(name.name), str(name))):
        missing = [word for word, run in (("before", before), ("now", after)) if not (run / name).is_file()]
        if missing:
            differences.append(f"{name}: missing {missing[0]}")
            continue
        try:
            found = COMPARISONS[name.suffix](before / name, after / name)
        except Exception as error:  # a file in a new format, or damaged
            differences.append(f"{name}: cannot be compared ({one_line(error)})")
            continue
        equal += found.equal
        differences += [f"{name}: {difference}" for difference in found.differences]
    if not names:
        differences.append("there is no file to compare")
    return Compared(equal, differences)


def compare_tables(before: Path, after: Path) -> Compared:
    """Compare two CSV files by their bytes; the difference names the line and the column."""
    if before.read_bytes() == after.read_bytes():
        return Compared(Counter({before.name: 1}), [])
    rows = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (before, after)]
    rows[1] = with_old_columns(rows[1])
    if rows[0] == rows[1]:
        return Compared(Counter({before.name: 1}), [])
    header = rows[0][0] if rows[0] else []
    for line, pair in enumerate(zip_longest(*rows), 1):
        if None in pair:
            return Compared(Counter(), [f"{len(rows[0])} lines before, {len(rows[1])} now"])
        for column, (old, new) in enumerate(zip_longest(*pair)):
            if old != new:
                name = header[column] if line > 1 and column < len(header) else f"column {column + 1}"
                return Compared(Counter(), [f"line {line}, {name}: {old} before, {new} now"])
    return Compared(Counter(), ["the bytes differ, but not the fields"])


def with_old_columns(rows: list[list[str]]) -> list[list[str]]:
    """Give the renamed columns of a table their old names, and drop the new columns that have these names now."""
    if not rows:
        return rows
    dropped = {old for old, new in RENAMED_COLUMNS.items() if new in rows[0]}
    old_names = {new: old for old, new in RENAMED_COLUMNS.items()}
    kept = [column for column, name in enumerate(rows[0]) if name not in dropped]
    header = [old_names.get(rows[0][column], rows[0][column]) for column in kept]
    return [header, *([row[column] for column in kept] for row in rows[1:])]


def compare_checkpoints(before: Path, after: Path) -> Compared:
    """Compare the state dicts of two checkpoints, whose keys may have been renamed."""
    old, new = (torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in (before, after))
    partners = partners_of(old, new)
    arrays = {key: (old[key].numpy(), new[partner].numpy()) for key, partner in partners.items()}
    found = compare_arrays(arrays, "tensors")
    alone = [f"{key} has no partner now" for key in old if key not in partners]
    partnered = set(partners.values())
    alone += [f"{key} has no partner before" for key in new if key not in partnered]
    return Compared(found.equal, [*found.differences, *alone])


def partners_of(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, str]:
    """The new key of every old one that has one."""
    partners = {}
    for key in old:
        matches = ((re.fullmatch(pattern, key), candidates) for pattern, candidates in RENAMED_KEYS)
        renamed = [match.expand(candidate) for match, candidates in matches if match for candidate in candidates]
        if found := next((candidate for candidate in [key, *renamed] if candidate in new), None):
            partners[key] = found
    return partners


def compare_probabilities(before: Path, after: Path) -> Compared:
    """Compare the arrays that both files have; an array in one file alone is no difference, but is told."""
    with np.load(before, allow_pickle=False) as old, np.load(after, allow_pickle=False) as new:
        pairs = {name: (old[name], _as_before(name, new[name], old[name])) for name in old.files if name in new.files}
        found = compare_arrays(pairs, "arrays")
        alone = sorted(set(old.files) ^ set(new.files))
    if not found.equal and not found.differences:
        found.differences.append("no array has a partner")
    for name in alone:
        found.equal[f"array {name} without partner"] += 1
    return found


def _as_before(name: str, now: Array, before: Array) -> Array:
    """The present array in the shape of the earlier one: segments by video, and one probability for all modalities."""
    if name == "segment" and now.size == before.size:
        return now.reshape(before.shape)
    if name == "video" and now.ndim == before.ndim + 1 and bool((now == now[:, :1]).all()):
        return now[:, 0]
    return now


def compare_arrays(pairs: Mapping[str, tuple[Array, Array]], kind: str) -> Compared:
    """Compare arrays by their types, shapes and bits."""
    found = {name: array_difference(*pair) for name, pair in pairs.items()}
    equal = sum(difference is None for difference in found.values())
    differences = [f"{name}{difference}" for name, difference in found.items() if difference is not None]
    return Compared(Counter({kind: equal}) if equal else Counter(), differences)


def array_difference(before: Array, after: Array) -> str | None:
    """Where the bits of two arrays first differ, with both values."""
    if (before.dtype, before.shape) != (after.dtype, after.shape):
        return f": {before.dtype}{list(before.shape)} before, {after.dtype}{list(after.shape)} now"
    if before.tobytes() == after.tobytes():
        return None
    old, new = (np.frombuffer(a.tobytes(), np.uint8).reshape(-1, a.dtype.itemsize) for a in (before, after))
    places = np.flatnonzero((old != new).any(1))
    index = np.unravel_index(places[0], before.shape)
    values = f"{before[index].item()} before, {after[index].item()} now"
    return f"[{', '.join(map(str, index))}]: {values} ({len(places)} of {before.size} values differ)"


def compare_scores(before: Path, after: Path) -> Compared:
    """Compare two JSON files exactly, but for the order of their names."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    new.pop("protocol", None)  # which the earlier ones do not name
    differences = list(nested_differences(old, new))
    return Compared(Counter() if differences else Counter({before.name: 1}), differences)


def nested_differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Where two nested containers differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key in old and key in new:
                yield from nested_differences(old[key], new[key], f"{place}/{key}")
            else:
                yield f"{place}/{key}: missing {'now' if key in old else 'before'}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from nested_differences(*pair, f"{place}/{number}")
    elif type(old) is not type(new) or repr(old) != repr(new):
        yield f"{place}: {old} before, {new} now"


COMPARISONS: dict[str, Callable[[Path, Path], Compared]] = {
    ".csv": compare_tables,
    ".ckpt": compare_checkpoints,
    ".json": compare_scores,
    ".npz": compare_probabilities,
}


def compare_when_done(before: Future[Path], after: Future[Path]) -> Compared:
    """Compare two runs once both have ended; one that failed is a difference."""
    failures, runs = [], []
    for word, started in (("before", before), ("now", after)):
        try:
            runs.append(started.result())
        except FailedRunError as error:
            failures.append(f"failed {word}: {one_line(error)}")
    return Compared(Counter(), failures) if failures else compare_runs(*runs)


def line_of(name: str, compared: Compared) -> str:
    """What is printed of a run."""
    if not compared.differences:
        return f"{name}: equal ({', '.join(counted(compared.equal))})"
    first, *others = compared.differences
    files = Counter(difference.partition(":")[0] for difference in others)
    more = f"; then {', '.join(f'{count} in {file}' for file, count in files.items())}" if others else ""
    return f"{name}: {first}{more}"


def counted(equal: Counter[str]) -> Iterator[str]:
    """Files by name, tensors and arrays with their number."""
    for what, count in equal.items():
        yield f"{count} {what}" if what in {"tensors", "arrays"} else what


def one_line(error: BaseException) -> str:
    """The first line of the message of an error, or its kind where it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def checked_out(before: str) -> Iterator[Path]:
    """The folder of a checkout, or of a temporary worktree of a revision; ValueError where it is neither."""
    if (Path(before) / "avvp_pl").is_dir():
        yield Path(before).resolve()
        return
    with TemporaryDirectory(prefix="avvp_pl_before_") as temporary:
        folder = Path(temporary, "checkout")
        worktree = ["git", "-C", str(REPOSITORY), "worktree"]
        added = subprocess.run(
            [*worktree, "add", "--quiet", "--detach", folder, before], capture_output=True, text=True
        )
        if added.returncode:
            raise ValueError(f"{before} is no checkout and no revision: {added.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run([*worktree, "remove", "--force", folder], check=True)


def check_code(checkout: Path) -> None:
    """Make sure that a process started in a checkout runs the code of that checkout, and not the installed one."""
    where = "import avvp_pl, pathlib; print(pathlib.Path(avvp_pl.__file__).resolve().parents[1])"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    found = subprocess.run([sys.executable, "-c", where], cwd=checkout, env=environment, capture_output=True, text=True)
    if found.returncode == 0 and Path(found.stdout.strip()) != checkout:
        raise ValueError(f"{checkout}: Python imports the package from {found.stdout.strip()} there")


def compare_all(cases: Sequence[Case], before: Side, after: Side, jobs: int) -> int:
    """Run and compare all cases, print a line for each, and return how many differ."""
    different = 0
    pool = ThreadPoolExecutor(jobs)
    try:
        started = [(case, before.start(case, pool), after.start(case, pool)) for case in cases]
        for case, old, new in started:
            compared = compare_when_done(old, new)
            different += bool(compared.differences)
            print(line_of(case.name, compared), flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    return different


def chosen(names: Sequence[str], cases: Mapping[str, Case]) -> list[Case]:
    """The named cases, all if none is named, and those whose checkpoints these need; ValueError for another name."""
    if unknown := sorted({*names} - {*cases}):
        raise ValueError(f"there is no run {', '.join(unknown)}; there are {', '.join(cases)}")
    wanted = {*names} or {*cases}
    wanted |= {needed.name for name in wanted if (needed := cases[name].trained)}
    return [case for name, case in cases.items() if name in wanted]


def parsed_arguments() -> argparse.Namespace:
    """The command line; what is not in its help is for testing this script."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_numbers",
        description="Compare the numbers of an earlier commit with those of the present code, bit by bit.",
    )
    parser.add_argument("before", metavar="BEFORE", help="a git revision, or the folder of a checkout")
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs to compare; none: all of them")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes side by side (1)")
    parser.add_argument("--before-cache", type=Path, metavar="DIR", help="keep the runs of BEFORE here, and reuse them")
    parser.add_argument("--after", type=Path, default=REPOSITORY, help=argparse.SUPPRESS)  # instead of this checkout
    parser.add_argument("--same-names", action="store_true", help=argparse.SUPPRESS)  # no setting is renamed
    parser.add_argument("--after-setting", action="append", default=[], help=argparse.SUPPRESS)  # of training, there
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    return arguments


def main() -> int:
    """Compare what the command line asks for; the exit code."""
    arguments = parsed_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree is removed
    with ExitStack() as stack:
        try:
            checkout = stack.enter_context(checked_out(arguments.before))
            cases = chosen(arguments.names, all_cases(checkout))
            after_checkout = arguments.after.resolve()
            for code in (checkout, after_checkout):
                check_code(code)
        except ValueError as error:
            print(f"same_numbers: {error}", file=sys.stderr)
            return 2
        runs = Path(stack.enter_context(TemporaryDirectory(prefix="avvp_pl_same_numbers_")))
        before = Side(checkout, (arguments.before_cache or runs / "before").resolve())
        after = Side(after_checkout, runs / "after", not arguments.same_names, tuple(arguments.after_setting))
        different = compare_all(cases, before, after, arguments.jobs)
    print(f"{different} of {len(cases)} runs differ" if different else f"no difference in {len(cases)} runs")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
