"""Pictures for dashboards: when they are drawn, of which videos, and with which timelines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger

from avvp_pl.data.videos import ParsingSet
from avvp_pl.metrics.avvp import score_timelines
from avvp_pl.parts import Team
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.training.callbacks import panels
from avvp_pl.training.callbacks.panels import Panels
from avvp_pl.types import Batch
from tests.conftest import Build
from tests.stand_ins import find_more
from tests.training.trainers import fit, trainer_of


class Drawn:
    """Stands in for drawing: what would be drawn, and under which names it is logged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.videos: list[tuple[str, dict[str, Any]]] = []
        self.logged: list[tuple[int, str]] = []
        monkeypatch.setattr(panels, "draw_timelines", self.draw)
        monkeypatch.setattr(panels, "_log_figure", self.log)

    def draw(self, name: str, sources: dict[str, Any], *_: Any) -> matplotlib.figure.Figure:
        self.videos.append((name, sources))
        return matplotlib.figure.Figure()

    def log(self, trainer: Any, name: str, figure: Any) -> None:
        self.logged.append((trainer.current_epoch, name))


def drawn(
    build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch, videos: ParsingSet, labeled: bool, epochs: int = 1
) -> Drawn:
    found, (module, data) = Drawn(monkeypatch), build("npl_soft", videos=videos)
    if labeled:
        module.labeling.refresh(data.splits["train"], 1, Team())
    fit(module, data, epochs, callbacks=[Panels(num_videos=3, every_n_epochs=2)], logger=TensorBoardLogger(str(folder)))
    return found


@pytest.mark.parametrize("labeled", [False, True])
def test_videos_are_spread_over_the_split_and_cut_to_their_lengths(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ragged: ParsingSet, labeled: bool
) -> None:
    """Of 12 videos the first, the sixth and the last."""
    found = drawn(build, tmp_path, monkeypatch, ragged, labeled)
    assert ragged.val is not None
    assert ragged.val.truth is not None
    rows = [0, 5, 11]
    assert [name for name, _ in found.videos] == [ragged.val.names[row] for row in rows]
    truth = ragged.val.padded(ragged.val.truth).numpy()
    for row, (_, sources) in zip(rows, found.videos, strict=True):
        length = int(ragged.val.lengths[row])
        assert list(sources) == ["truth", "prediction", *(["pseudo labels"] if labeled else [])]
        assert {source.shape for source in sources.values()} == {(length, 2, len(ragged.events))}
        np.testing.assert_array_equal(sources["truth"], truth[row, :length])
        if labeled:
            assert not sources["pseudo labels"][:, :, ragged.val.weak_labels[row].numpy() == 0].any()


def test_they_are_drawn_every_so_many_epochs_and_in_the_last(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: ParsingSet
) -> None:
    found = drawn(build, tmp_path, monkeypatch, tiny, labeled=False, epochs=4)
    assert found.logged == [(epoch, f"timelines/{number}") for epoch in (0, 2, 3) for number in (1, 2, 3)]


def test_nothing_is_drawn_for_a_logger_that_takes_no_pictures(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, (module, data) = Drawn(monkeypatch), build("mil")
    fit(module, data, callbacks=[Panels(3, 1)])
    assert found.videos == []


class Tables(DummyLogger):
    """Stands in for W&B's logger, and keeps the tables that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[dict[str, Any]] = []

    def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
        self.tables.append({"key": key, "columns": columns, "data": data})


def test_scores_of_every_event_are_a_table_in_the_end(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "WandbLogger", Tables)
    logger, (module, data) = Tables(), build("mil")
    find_more(module, by=1)
    trainer_of(callbacks=[Panels(2, 1)], logger=logger).test(module, data, verbose=False)
    (table,) = logger.tables
    assert table["key"] == "test/per_event_f1"
    assert table["columns"][:3] == ["event", "segment/audio", "segment/visual"]
    assert [row[0] for row in table["data"]] == list(module.events)
    column = table["columns"].index("event/visual")
    expected = module.test_scores["classifier"].by_event()["event/visual"]
    assert [row[column] for row in table["data"]] == expected
    assert any(expected)


def test_timelines_of_the_test_are_a_table(build: Build, ragged: ParsingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row for each event that a video has, or is said to have, in a modality."""
    slow = replace(ragged, segment_seconds=0.5)
    module, _ = build("mil", videos=slow)
    assert slow.test is not None
    assert slow.test.truth is not None
    truth, found = (torch.zeros_like(slow.test.truth) for _ in range(2))
    truth[1:3, 0, 2] = truth[0, 1, 3] = True
    found[[2, 0, 3], 0, 2] = True
    slow = replace(slow, test=replace(slow.test, truth=truth))
    lengths = slow.test.lengths  # type: ignore[union-attr]
    module.test_parsed["classifier"] = Parsed(lengths, found, found.float(), torch.zeros(len(lengths), 2, 25))
    module.test_scores["classifier"] = score_timelines(truth[None], truth[None])
    monkeypatch.setattr(panels, "WandbLogger", Tables)
    logger = Tables()
    trainer: Any = SimpleNamespace(loggers=[logger], is_global_zero=True, datamodule=build("mil", videos=slow)[1])
    Panels(2, 1).on_test_end(trainer, module)
    table = logger.tables[1]
    assert table["key"] == "test/timelines"
    assert table["columns"] == ["video", "modality", "event", "truth (s)", "prediction (s)", "F1 of segments"]
    name = slow.test.names[0]  # type: ignore[union-attr]
    assert table["data"] == [
        [name, "audio", module.events[2], "0.5-1.5", "0-0.5, 1-2", 40.0],
        [name, "visual", module.events[3], "0-0.5", "", 0.0],
    ]


def test_a_network_continues_with_its_dropout(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each video is parsed in evaluation mode; the mode is then as before."""
    Drawn(monkeypatch)
    module, data = build("mil")
    modes: list[bool] = []
    parse = module.parse

    def watched(batch: Batch) -> dict[str, Parsed]:
        modes.append(module.training)
        return parse(batch)

    module.parse = watched  # type: ignore[method-assign, assignment]
    callback = Panels(2, 1)
    for mode in (True, False):
        module.train(mode)
        callback._draw(_Trainer(data), module)  # type: ignore[arg-type]
        assert module.training == mode
    assert modes == [False, False]


class _Trainer:
    def __init__(self, data: Any) -> None:
        self.datamodule = data
