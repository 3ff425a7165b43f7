"""When parts are refreshed, and what is logged and written of it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import TrainingError
from avvp_pl.files import read_rows
from avvp_pl.parts import Report, Team
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels, label_quality
from tests.conftest import Build
from tests.training.trainers import fit


class TestLabelQuality:
    def test_by_hand(self) -> None:
        """Audio: two of three found are true, of four true; visual: nothing is found, nothing is true."""
        truth = torch.tensor([[True, False], [True, False], [True, False], [True, False], [False, False]])
        labels = torch.tensor([[0.9, 0.0], [0.5, 0.49], [0.49, 0.0], [0.0, 0.0], [0.6, 0.1]])
        found = label_quality(labels[..., None], truth[..., None], 0.5, ("audio", "visual"))
        assert found == pytest.approx(
            {
                "pseudo_labels/audio/precision": 100 * 2 / 3,
                "pseudo_labels/audio/recall": 100 * 2 / 4,
                "pseudo_labels/audio/f1": 100 * 2 * 2 / (3 + 4),
                "pseudo_labels/visual/precision": 0,
                "pseudo_labels/visual/recall": 0,
                "pseudo_labels/visual/f1": 0,
            }
        )

    def test_a_label_counts_from_the_threshold_on(self) -> None:
        labels, truth = torch.tensor([[[0.7, 0.8]]]), torch.tensor([[[True, True]]])
        for threshold, recall in ((0.7, 100), (0.75, 50), (0.81, 0)):
            assert label_quality(labels, truth, threshold, ("audio",))["pseudo_labels/audio/recall"] == recall


class Rows(pl.Callback):
    """Take down what is known at the end of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def refreshed(build: Build, folder: Path, *settings: str, videos: ParsingSet | None = None, epochs: int = 3) -> Rows:
    module, data = build("ppl_soft", *settings, videos=videos)
    rows = Rows()
    fit(module, data, epochs, callbacks=[RefreshPseudoLabels(str(folder)), rows])
    return rows


class TestLogged:
    def test_there_are_labels_from_their_first_epoch_on(self, build: Build, tmp_path: Path) -> None:
        rows = refreshed(build, tmp_path).rows
        assert ["train/em/bound" in row for row in rows] == [False, True, True]
        assert ["train/pseudo_label" in row for row in rows] == [False, True, True]
        assert rows[1]["train/em/bound"] < 0
        for stage in ("encode", "select", "cluster", "label"):
            assert rows[1][f"labeling/{stage}_seconds"] > 0
        total = sum(value for name, value in rows[1].items() if name.endswith("_seconds"))
        assert rows[1]["labeling/seconds"] == pytest.approx(total, rel=1e-5)

    def test_its_time_is_compared_with_that_of_the_epochs_steps(self, build: Build, tmp_path: Path) -> None:
        module, data = build("ppl_soft")
        refresh, rows = RefreshPseudoLabels(str(tmp_path)), Rows()
        started = time.perf_counter()
        fit(module, data, 2, callbacks=[refresh, rows])
        assert 0 < refresh.training_seconds < time.perf_counter() - started
        expected = rows.rows[1]["labeling/seconds"] / refresh.training_seconds
        assert rows.rows[1]["labeling/share_of_training"] == pytest.approx(expected, rel=1e-5)

    def test_the_time_of_several_parts_is_added_up(self, build: Build, tmp_path: Path) -> None:
        """A method that counts and a labeling both encode the videos."""
        module, data = build("poibin", "labeling=prototype", "method.start_epoch=1")
        refresh, rows, seconds = RefreshPseudoLabels(str(tmp_path)), Rows(), {"encode": 0.0}
        for part in (module.method, module.labeling):
            original = part.refresh

            def noting(*arguments: Any, original: Any = original) -> Report | None:
                report: Report | None = original(*arguments)
                for stage, lasted in ({} if report is None else report.seconds).items():
                    seconds[stage] = seconds.get(stage, 0.0) + lasted
                return report

            part.refresh = noting  # type: ignore[assignment, method-assign]
        fit(module, data, 2, callbacks=[refresh, rows])
        assert set(seconds) == {"encode", "count", "select", "cluster", "label"}
        for stage, lasted in seconds.items():
            assert rows.rows[1][f"labeling/{stage}_seconds"] == pytest.approx(lasted, rel=1e-5)
        assert rows.rows[1]["labeling/seconds"] == pytest.approx(sum(seconds.values()), rel=1e-5)

    @pytest.mark.parametrize("threshold", [0.5, 0.9])
    def test_quality_is_that_of_the_labels_of_the_epoch(
        self, build: Build, tmp_path: Path, ragged: ParsingSet, threshold: float
    ) -> None:
        """Also of videos of several lengths, and by the threshold of the labeling."""
        module, data = build("ppl_soft", f"labeling.label_threshold={threshold}", videos=ragged)
        rows = Rows()
        fit(module, data, 2, callbacks=[RefreshPseudoLabels(str(tmp_path)), rows])
        labels, truth = module.labeling.pseudo_labels, data.splits["train"].truth
        assert labels is not None
        assert truth is not None
        for m, modality in enumerate(("audio", "visual")):
            found, true = labels[:, m] >= threshold, truth[:, m]
            expected = 100 * float((found & true).sum()) / float(found.sum())
            assert rows.rows[-1][f"pseudo_labels/{modality}/precision"] == pytest.approx(expected, rel=1e-5)

    def test_quality_is_unknown_where_the_truth_is(self, build: Build, tmp_path: Path, tiny: ParsingSet) -> None:
        assert tiny.train is not None
        rows = refreshed(build, tmp_path, videos=replace(tiny, train=replace(tiny.train, truth=None)), epochs=2).rows
        assert "pseudo_labels/positive_segments" in rows[-1]
        assert not [name for name in rows[-1] if name.startswith("pseudo_labels/audio")]

    def test_counts_of_every_event_are_written(self, build: Build, tmp_path: Path, tiny: ParsingSet) -> None:
        rows = refreshed(build, tmp_path).rows
        written = read_rows(tmp_path / "pseudo_labels.csv")
        assert [(row["epoch"], row["event"]) for row in written] == [(e, name) for e in "12" for name in tiny.events]
        for epoch in (1, 2):
            for count in ("positive_segments", "negative_segments", "positive_prototypes", "negative_prototypes"):
                total = sum(int(row[count]) for row in written if row["epoch"] == str(epoch))
                assert rows[epoch][f"pseudo_labels/{count}"] == total > 0

    def test_a_warning_is_given_once_in_a_run(
        self, build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="avvp_pl"):
            refreshed(build, tmp_path)
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warned
        assert len(set(warned)) == len(warned)
        assert caplog.messages.count("k-means runs on the CPU (faiss)") == 1

    def test_a_network_that_has_diverged_is_named_with_its_epoch(
        self, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module, data = build("ppl_soft")

        def fail(videos: VideoSet, epoch: int, team: Team) -> Report | None:
            if epoch == 1:
                raise ValueError("some features are NaN")
            return None

        monkeypatch.setattr(module.labeling, "refresh", fail)
        message = r"^labeling for epoch 1: some features are NaN; there is no checkpoint to resume from"
        with pytest.raises(TrainingError, match=message):
            fit(module, data, 3, callbacks=[RefreshPseudoLabels(str(tmp_path))])


def test_what_was_reported_is_known_after_a_resume(tmp_path: Path) -> None:
    one, other = (RefreshPseudoLabels(str(tmp_path)) for _ in range(2))
    one.report, one.training_seconds, one.warned = {"labeling/seconds": 2.0}, 3.5, {"b", "a"}
    other.load_state_dict(one.state_dict())
    assert (other.report, other.training_seconds, other.warned) == ({"labeling/seconds": 2.0}, 3.5, {"a", "b"})
