"""What is damaged: good data, predictions and a trained run, in one small folder; and how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from avvp_pl.data.llp import LLPFolder

WEAK, DENSE = "filename\tevent_labels\n", "filename\tonset\toffset\tevent_labels\n"
TRAIN, VAL, TEST = ("AAAAAAAAAAA_0_10", "BBBBBBBBBBB_0_10"), "CCCCCCCCCCC_0_10", "DDDDDDDDDDD_0_10"
TABLES = {"train": TRAIN, "val_pd": (VAL,), "test_pd": (TEST,)}
MODALITIES = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
SHAPES = {"vggish": (10, 4), "res152": (20, 6), "r2plus1d_18": (10, 5)}
ROW = f"{TEST}\t1\t3\tSpeech\n"
TINY = ("network.dim=16", "network.feedforward_dim=16", "trainer.accelerator=cpu", "logger=csv", "trainer.max_epochs=1")


class Place:
    """A small LLP folder, predictions of its test videos and a run that was trained on it: good, until damaged."""

    def __init__(self, root: Path) -> None:
        self.root, self.llp, self.run = root, root / "llp", root / "run"

    @classmethod
    def make(cls, root: Path) -> Place:
        made = cls(root)
        (made.llp / "data").mkdir(parents=True)
        for table, names in TABLES.items():
            made.data(f"AVVP_{table}.csv", WEAK + "".join(f"{name}\tSpeech\n" for name in names))
        made.videos(WEAK + f"{VAL}\n{TEST}\n")
        for modality in MODALITIES:
            made.data(f"AVVP_eval_{modality}.csv", DENSE + f"{VAL}\t0\t5\tSpeech\n{TEST}\t1\t3\tSpeech\n")
            made.prediction(ROW, modality)
        rng = np.random.default_rng(0)
        for stream, shape in SHAPES.items():
            for name in (*TRAIN, VAL, TEST):
                made.save(stream, name[:11], rng.standard_normal(shape).astype(np.float32))
        return made

    def data(self, name: str, content: str | bytes) -> Path:
        """Write ``llp/data/NAME``."""
        return write(self.llp / "data" / name, content)

    def prediction(self, rows: str | bytes, modality: str = "audio", header: str = DENSE) -> Path:
        """Write a table of predictions: these rows below the header, or these bytes."""
        return write(self.root / f"predicted_{modality}.csv", rows if isinstance(rows, bytes) else header + rows)

    def videos(self, content: str) -> Path:
        """Write the list of videos to score."""
        return write(self.root / "videos.csv", content)

    def feature(self, stream: str = "vggish", key: str = "AAAAAAAAAAA") -> Path:
        return self.llp / "feats" / stream / f"{key}.npy"

    def save(self, stream: str, key: str, rows: npt.NDArray[Any]) -> None:
        self.feature(stream, key).parent.mkdir(parents=True, exist_ok=True)
        np.save(self.feature(stream, key), rows)

    def holding(self, rows: npt.NDArray[Any]) -> None:
        """Let one feature file have these rows."""
        np.save(self.feature(), rows)

    def rename(self, name: str) -> None:
        """Give the test video another name, everywhere."""
        for path in [*(self.llp / "data").iterdir(), *self.root.glob("predicted_*")]:
            path.write_text(path.read_text().replace(TEST, name))
        for stream in SHAPES:
            self.feature(stream, TEST[:11]).rename(self.feature(stream, name))

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "best.ckpt"

    def edit_checkpoint(self, change: Callable[[dict[str, Any]], object]) -> None:
        content = torch.load(self.checkpoint, weights_only=True)
        change(content)
        torch.save(content, self.checkpoint)

    @property
    def packed(self) -> Path:
        return self.llp / "packed"

    def pack(self) -> Path:
        """Pack the features, and return the first array."""
        LLPFolder(self.llp, MODALITIES, 10, 1.0, self.packed, "float32").pack()
        return min(self.packed.glob("*.bin"))

    def edit_index(self, change: Callable[[Any], object], lock: Callable[[Path], object] = Path.touch) -> None:
        self.pack()
        instead(self.packed / ".lock", lock)
        index = json.loads((self.packed / "index.json").read_text())
        change(index)
        (self.packed / "index.json").write_text(json.dumps(index))

    def experiment(self, content: str | bytes) -> None:
        """Write ``conf/experiment/mine.yaml``, a file of the user's."""
        write(self.root / "conf" / "experiment" / "mine.yaml", content)

    def arguments(self, command: str, more: Sequence[str] = ()) -> list[str]:
        """What a command is given where nothing is damaged, and ``more``."""
        truth = {modality: self.llp / "data" / f"AVVP_eval_{modality}.csv" for modality in MODALITIES}
        given: dict[str, dict[str, object]] = {
            "score": {
                "videos": self.root / "videos.csv",
                **truth,
                **{f"predicted_{modality}": self.root / f"predicted_{modality}.csv" for modality in MODALITIES},
                "output": self.root / "scores.json",
            },
            "prepare": {"data.root": self.llp},
            "train": {"hydra.run.dir": self.root / "new"},
            "evaluate": {"checkpoint": self.checkpoint, "hydra.run.dir": self.root / "again"},
            "predict": {"checkpoint": self.checkpoint, "output": self.root / "parsed"},
            "report": {"runs": self.run, "output": self.root / "report", "baseline": "mil"},
        }
        settings = [f"{key}={value}" for key, value in given[command].items()]
        if command in {"train", "evaluate", "predict"} and "data=synthetic" not in more:
            settings += ["data=llp", f"data.root={self.llp}"]
        return [*settings, *(TINY if command == "train" else ()), *more]


@dataclass(frozen=True)
class Case:
    """One damage; ``says`` is what must be said of it, `` ... `` standing for anything.

    error: in one message, with exit code 2. warning: in the log, and the command continues. read: nothing, and the
    result is as if there was no damage.
    """

    name: str
    outcome: Literal["error", "warning", "read"]
    says: str
    does: Callable[[Place], object]
    command: str = "score"
    arguments: tuple[str, ...] = field(default=())


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path)


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def nothing(place: Place) -> None:
    """What is wrong is on the command line."""


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, rows=np.ones((10, 4)))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[7] ^= 4
    path.write_bytes(content)


class Bomb:
    """Creates the file ``harm`` in the current folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("harm"),)


def setting(argument: str, says: str, *more: str, command: str = "train") -> Case:
    return Case(argument, "error", says, nothing, command, (argument, *more))
