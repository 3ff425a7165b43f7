"""The paper's tables of made runs, and each of their forms read back."""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from avvp_pl.data.known import LLP_TEST_VIDEOS, digest_of
from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.errors import InputError
from avvp_pl.reporting.formats import to_csv, to_latex, to_markdown, write_tables
from avvp_pl.reporting.published import Printed, Published, read_published
from avvp_pl.reporting.rows import PaperRow, paper_rows, tables, trained_as
from avvp_pl.reporting.statistics import Difference, Differences
from avvp_pl.reporting.tables import (
    TITLES,
    Cell,
    Row,
    Table,
    find_baseline,
    paper_tables,
    pasted,
)
from avvp_pl.runs.reading import Setting, by_setting, read_run, read_runs, shipped
from avvp_pl.settings.conf import config_dir
from tests.reporting.made import edit, made_run, run_folder, write_scores

LLP = {"data": "llp", "events": LLP_EVENTS, "test_videos": LLP_TEST_VIDEOS}
PRINTED = {  # the rows of the paper's tables of LLP
    "table1": ["AVE*", "AVSDN*", "HAN", "MA", "CVCM-MA", "MGN-MA", "JoMoLD", "PoiBin", "CMPAE", "PPL"],
    "table2": ["Base", "NPL_H", "NPL_S", "PPL_H", "PPL_S"],
    "table3": ["HAN", "HAN + PPL_Test, Eq. (9)", "MA", "MA + PPL_Test, Eq. (9)"],
    "table4": ["Base", "No-CL", "With-CL"],
}
PAPER = ("mil", "han", "npl_hard", "npl_soft", "ppl_hard", "ppl_soft", "ppl_soft_no_cl")
LITERAL = tuple(f"{name}_literal" for name in PAPER if name != "han")


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


class Maker:
    """Settings of made runs: names (or names and what else they are given), one score a seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *names: str | Mapping[str, object], scores: Sequence[float] = (50.0,)) -> list[Setting]:
        runs = []
        for name in names:
            given = {"name": name} if isinstance(name, str) else dict(name)
            for seed, score in enumerate(scores):
                folder = self.folder / f"{len(list(self.folder.iterdir()))}"
                runs.append(made_run(folder, seed=seed, **{"score": score, **given}))
        return by_setting(runs, trained_as())


def tables_of(
    settings: Sequence[Setting],
    baseline: Setting | None = None,
    differences: Differences | None = None,
    published: Published | None = None,
) -> dict[str, Table]:
    return {table.key: table for table in paper_tables(settings, baseline, differences, published or {})}


def labels(table: Table) -> list[str]:
    return [row.label for row in table.rows]


def test_every_experiment_stands_where_the_paper_has_it(make: Maker) -> None:
    found = tables_of(make(*PAPER, "ppl_per_modality"))
    assert {key: labels(table) for key, table in found.items()} == {
        "table1": ["HAN", "PPL"],
        "table2": ["Base", "NPL_H", "NPL_S", "PPL_H", "PPL_S"],
        "table4": ["Base", "No-CL", "With-CL"],
        "all": [*PAPER, "ppl_per_modality"],
    }


def test_both_readings_of_the_paper_have_rows_of_their_own(make: Maker) -> None:
    found = tables_of(make(*PAPER, *LITERAL), published=read_published())
    assert {key: labels(table) for key, table in found.items()} == {
        "table1": ["HAN", "PPL", "PPL, literal"],
        "table2": [part for row in ("Base", "NPL_H", "NPL_S", "PPL_H", "PPL_S") for part in (row, f"{row}, literal")],
        "table4": ["Base", "Base, literal", "No-CL", "No-CL, literal", "With-CL", "With-CL, literal"],
        "all": [*PAPER, *LITERAL],
    }
    for table in found.values():
        assert not any("literal" in note for note in table.notes)
    on_llp = tables_of(make(*({"name": name, **LLP} for name in (*PAPER, *LITERAL))), published=read_published())
    for key, rows in PRINTED.items():
        if key in on_llp:  # the paper's numbers stand in the row of the first reading
            assert [row.label for row in on_llp[key].rows if row.printed] == rows
    assert set(tables_of(make("npl_soft_literal"))) == {"table2", "all"}


def test_table_3_is_told_apart_by_its_inference(make: Maker) -> None:
    tests = [{"name": "han_ppl_test", "inference": inference} for inference in ("prototype", "prototype_hard")]
    assert labels(tables_of(make("han", *tests))["table3"]) == [
        "HAN",
        "HAN + PPL_Test, Eq. (9)",
        "HAN + PPL_Test, Eq. (10)",
    ]
    (hard,) = (row for row in tables_of(make(tests[1]))["table3"].rows)
    assert hard.label == "HAN + PPL_Test, Eq. (9)"


def test_on_llp_the_tables_have_the_rows_of_the_paper(make: Maker) -> None:
    found = tables_of(make(*({"name": name, **LLP} for name in (*PAPER, "han_ppl_test"))), published=read_published())
    for key, rows in PRINTED.items():
        assert [row.label for row in found[key].rows if row.printed] == rows
        assert {len(row.printed) for row in found[key].rows if row.printed} == {11}  # the ten, and their average
    assert "table5" not in found
    table = found["table1"]
    measured = [row.label for row in table.rows if row.cells]
    assert measured == ["HAN", "PPL"]
    (ma,) = (row for row in table.rows if row.label == "MA")
    assert ma.printed["average"] == pytest.approx(55.48)
    assert sum("mean of their ten scores" in note for note in table.notes) == 1
    assert "Printed numbers are of the test split of LLP." in table.notes


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"data": "llp"},
        {**LLP, "events": [*LLP_EVENTS[:-1], "Rain"]},
        {**LLP, "test_videos": None},
        {**LLP, "test_videos": digest_of(["synthetic_test_000000"]), "data": "synthetic"},
    ],
)
def test_printed_numbers_never_stand_beside_own_data(make: Maker, data: Mapping[str, object]) -> None:
    for table in paper_tables(make(*({"name": name, **data} for name in PAPER)), None, None, read_published()):
        assert not any(row.printed for row in table.rows)
        assert all(row.cells for row in table.rows)
        assert not any(re.search("[Pp]rint|text of the paper", note) for note in table.notes)
        assert "printed" not in to_markdown(table)


def test_without_published_numbers_there_are_none(make: Maker) -> None:
    for table in paper_tables(make(*({"name": name, **LLP} for name in PAPER)), None, None, read_published("none")):
        assert not any(row.printed for row in table.rows)
        assert not any("rinted" in note for note in table.notes)


def epoch_of(epoch: int, taught: bool | None) -> dict[str, object]:
    return {"epoch": epoch, "monitor": "val/segment/type_av", "score": 40.25, "pseudo_labels": taught}


def test_a_row_says_that_its_runs_never_learned_from_pseudo_labels(make: Maker) -> None:
    settings = make({"name": "ppl_soft", "tested": epoch_of(0, False)}, {"name": "mil", "tested": epoch_of(3, None)})
    for key, taught in (("table2", "PPL_S"), ("all", "ppl_soft")):
        said = labels(tables_of(settings, settings[1])[key])
        assert f"{taught} (tested before any pseudo labels)" in said
        assert sum("pseudo labels" in label for label in said) == 1
    assert labels(tables_of(make({"name": "ppl_soft", "tested": epoch_of(1, True)}))["all"]) == ["ppl_soft"]


def test_a_row_says_that_some_of_the_validation_videos_selected_its_epoch(make: Maker) -> None:
    tested = {**epoch_of(3, None), "validation_videos": {"scored": 8, "all": 16}}
    settings = make({"name": "mil", "tested": tested}, {"name": "han", "tested": epoch_of(3, None)})
    table = tables_of(settings)["all"]
    assert labels(table) == ["mil (selected by 8 of 16 validation videos)", "han"]
    assert any(
        "mil: epoch 3 (val/segment/type_av 40.25 of 8 of 16 validation videos) of seed 0" in n for n in table.notes
    )


def test_a_row_says_what_is_to_be_known_about_the_labels_it_learned_from(make: Maker) -> None:
    note = "the teacher has learned from the annotated segments of 500 validation videos"
    settings = make({"name": "valor", "tested": {**epoch_of(3, True), "notes": [note]}}, "ppl_soft")
    tables = tables_of(settings)
    assert f"VALOR ({note})" in labels(tables["after"])
    assert labels(tables["all"]) == [f"valor ({note})", "ppl_soft"]


def test_runs_of_another_teacher_are_a_row_of_their_own_without_printed_numbers(make: Maker) -> None:
    note = "the teacher has learned from the annotated segments of 500 validation videos"
    taught = {"name": "valor", **LLP, "tested": {**epoch_of(3, True), "notes": [note]}}
    table = tables_of(make(taught, {"name": "valor", **LLP}), published=read_published())["after"]
    rows = {row.label: row for row in table.rows}
    assert rows["VALOR"].cells
    assert rows["VALOR"].printed
    assert rows[f"VALOR ({note})"].cells
    assert not rows[f"VALOR ({note})"].printed
    assert [rows[label].needs for label in ("VALOR", f"VALOR ({note})", "UWAV")] == [
        "labels of segments by CLIP and CLAP",
        "see its name; as published: labels of segments by CLIP and CLAP",
        "labels of segments by a network that learned from other annotated videos; annotated validation videos",
    ]
    assert "beyond weak labels" not in to_markdown(tables_of(make("mil", "npl_soft"))["table2"])
    alone = tables_of(make(taught), published=read_published())["after"]  # the printed numbers keep a row of their own
    assert [bool(row.printed) for row in alone.rows if row.label.startswith("VALOR (") or row.label == "VALOR"] == [
        True,
        False,
    ]


def test_the_table_of_later_methods_says_what_they_need(make: Maker) -> None:
    table = tables_of(make("valor", "coleaf", "ppl_soft"))["after"]
    assert labels(table) == ["PPL", "CoLeaF", "VALOR"]
    needs = {row.label: row.needs for row in table.rows}
    assert needs == {"PPL": "nothing", "CoLeaF": "nothing", "VALOR": "labels of segments by CLIP and CLAP"}
    assert [note for note in table.notes if note.startswith("Beyond weak labels and the usual features: ")]
    assert "after" not in tables_of(make("ppl_soft"))  # which is there for comparison


def test_tested_epochs_are_noted_with_their_validation_scores(make: Maker) -> None:
    settings = make({"name": "mil", "tested": epoch_of(3, None)}, "han", scores=(50.0, 60.0))
    (note,) = (note for note in tables_of(settings)["all"].notes if "epoch" in note)
    said = "epoch 3 (val/segment/type_av 40.25)"
    assert note.endswith(f"selected them. mil: {said} of seed 0, {said} of seed 1.")
    assert not any("epoch" in note for note in tables_of(make("npl_soft"))["all"].notes)


def test_base_alone_fills_the_tables_that_are_about_it(make: Maker) -> None:
    assert set(tables_of(make("mil"))) == {"table2", "all"}
    assert labels(tables_of(make("mil", "ppl_soft_no_cl"))["table4"]) == ["Base", "No-CL"]


def test_every_row_names_an_experiment_that_there_is() -> None:
    there = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    inferences = {path.stem for path in (config_dir() / "inference").glob("*.yaml")}
    for row in paper_rows():
        assert {row.experiment, row.trained_as} - {None} <= there, row
        assert row.inference is None or row.inference in inferences, row
        assert row.experiment is not None or row.trained_as is row.inference is row.role is None, row
        assert row.role in {None, "baseline", "reference", "reading"}, row
        literal = bool(row.experiment and row.experiment.endswith("_literal"))
        assert row.role in ({"reading", "reference"} if literal else {None, "baseline", "reference"}), row
        assert row.experiment is None or row.trained_as == trained_as().get(row.experiment), row
    assert {row.experiment for row in paper_rows() if row.role == "baseline"} == {"mil", "tal_mil"}
    assert list(TITLES) == [*tables(), "all"]
    labels = [(row.table, row.label) for row in paper_rows()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    "row", [row for row in paper_rows() if row.experiment], ids=lambda row: f"{row.table} {row.label}"
)
def test_every_row_is_reproduced_by_its_experiment_as_shipped(make: Maker, row: PaperRow) -> None:
    protocol = (shipped(str(row.experiment)) or {})["protocol.name"]
    (setting,) = make({"name": row.experiment, "inference": row.inference, "protocol": protocol})
    assert row.is_of(setting)
    assert row.label_of(setting) == row.label
    for change in ({"optimizer__learning_rate": 1.0}, {"method__weights__video": 0.5}, {"labeling___target_": "a.B"}):
        edit(setting.runs[0].folder, **change)
        (changed,) = by_setting([read_run(setting.runs[0].folder)], trained_as())
        assert not row.is_of(changed)


def test_a_table_of_which_nothing_was_run_is_left_out(make: Maker) -> None:
    assert set(tables_of(make("han"), published=read_published())) == {"table1", "all"}
    assert set(tables_of(make("npl_soft"), published=read_published())) == {"table2", "all"}
    assert set(tables_of(make("mine"), published=read_published())) == {"all"}


def test_an_experiment_of_the_user_is_in_the_tables_that_its_tags_name(make: Maker) -> None:
    found = tables_of(make("mil", "han", {"name": "mine", "tags": ["table2", "x"]}))
    assert labels(found["table2"]) == ["Base", "mine"]
    assert labels(found["table1"]) == ["HAN"]


@pytest.mark.parametrize("part", ["method", "labeling", "network"])
def test_parts_outside_the_package_need_nothing(make: Maker, part: str) -> None:
    """They are never built: a run of a user's own experiment is a row of `all`, and of a table that its tags name."""
    (setting,) = make({"name": "mine", "tags": ["table2"], f"{part}___target_": "somewhere.else_.Part"})
    assert {key: labels(table) for key, table in tables_of([setting]).items()} == {"table2": ["mine"], "all": ["mine"]}


def test_a_further_inference_of_a_training_is_a_row_of_its_own(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "0", name="ppl_soft", inference=("prototype", "classifier"), score=40.0)
    write_scores(folder / "classifier", 60.0)
    found = tables_of(by_setting(read_runs([tmp_path])))
    assert labels(found["table1"]) == ["PPL"]
    assert [(row.label, row.cells["average"].mean) for row in found["all"].rows] == [
        ("ppl_soft", 40.0),
        ("ppl_soft inference=classifier", 60.0),
    ]


def test_the_legend_names_a_protocol_that_is_not_the_common_one(make: Maker) -> None:
    (common,) = make("mil")
    assert not any("protocol" in note for note in tables_of([common])["all"].notes)
    (own,) = make({"name": "mil", "protocol": "mine"})
    for table in tables_of([own]).values():
        assert table.notes[0].startswith("F1 in percent, measured on realmix under the protocol mine. A, V and AV are")


def test_a_changed_method_is_no_row_of_the_paper(make: Maker) -> None:
    changed = (
        {"name": "ppl_soft", "labeling__gamma": 0.2, **LLP},
        {"name": "ppl_soft", "inference": "classifier", **LLP},
    )
    found = tables_of(make(*({**given, "tags": ["table1", "table2"]} for given in changed)), published=read_published())
    assert set(found) == {"all"}
    plain = ({"name": name, **LLP} for name in ("ppl_soft", "mil"))
    found = tables_of(make(*changed, *plain), published=read_published())
    assert labels(found["table1"]) == PRINTED["table1"]
    rows = {row.label: row for row in found["table1"].rows}
    assert (rows["PPL"].seeds, rows["HAN"].seeds) == (1, 0)
    assert rows["PPL"].printed["event/type_av"] == 59.9
    by_classifier = "ppl_soft inference=classifier inference.validated_by=classifier"
    assert labels(found["all"]) == ["ppl_soft gamma=0.2", by_classifier, "ppl_soft", "mil"]


def test_ppl_test_of_another_network_is_no_row_of_the_paper(make: Maker) -> None:
    (setting,) = make({"name": "han_ppl_test", "inference": "prototype"})
    assert "table3" in tables_of([setting])
    edit(setting.runs[0].folder, method__class_weighting="inverse_frequency")
    (other,) = by_setting([read_run(setting.runs[0].folder)], trained_as())
    assert set(tables_of([other])) == {"all"}


def test_several_settings_of_one_row_say_what_sets_them_apart(make: Maker) -> None:
    settings = make({"name": "ppl_soft", **LLP}, {"name": "mil", **LLP})
    folder = settings[0].runs[0].folder
    longer = shutil.copytree(folder, folder.parent / "longer")
    text = (longer / "config.yaml").read_text()
    (longer / "config.yaml").write_text(text.replace("max_epochs: 10", "max_epochs: 20"))
    both = by_setting([run for setting in settings for run in setting.runs] + [read_run(longer)])
    table = tables_of(both, both[0], published=read_published())["table1"]
    assert labels(table) == [*PRINTED["table1"], "PPL max_epochs=10", "PPL max_epochs=20"]
    assert table.baseline == "PPL max_epochs=10"
    rows = {row.label: row for row in table.rows}
    assert (rows["PPL"].seeds, dict(rows["PPL"].cells)) == (0, {})
    assert rows["PPL"].printed["event/type_av"] == 59.9
    assert not rows["PPL max_epochs=10"].printed


def test_a_network_of_another_size_is_said_in_its_row(make: Maker) -> None:
    folder = make({"name": "ppl_soft", **LLP})[0].runs[0].folder
    edit(folder, network__dim=16)
    table = tables_of(by_setting([read_run(folder)]), published=read_published())["table1"]
    assert [(row.label, row.seeds, bool(row.printed)) for row in table.rows][-2:] == [
        ("PPL", 0, True),
        ("PPL dim=16", 1, False),
    ]


def test_cells_are_means_deviations_and_differences(make: Maker) -> None:
    settings = make("mil", scores=(50.0, 54.0)) + make({"name": "ppl_soft"}, scores=(56.0, 57.0))
    differences = {"ppl_soft": {"event/audio": Difference(4.5, 1.0, 8.0)}}
    base, ppl = tables_of(settings, settings[0], differences)["table2"].rows
    assert (base.seeds, ppl.seeds) == (2, 2)
    first, second = base.cells["event/audio"], ppl.cells["event/audio"]
    assert first.mean == 52
    assert first.deviation == pytest.approx(8**0.5)
    assert first.difference is None
    assert first.interval is None
    assert second.mean == 56.5
    assert second.deviation == pytest.approx(0.5**0.5)
    assert (second.difference, second.interval) == (4.5, (1.0, 8.0))
    assert ppl.cells["average"].interval is None  # not among the differences given
    unpaired = tables_of(settings, settings[0], None)["table2"]
    assert unpaired.rows[1].cells["event/audio"].difference == 4.5
    assert any("the test videos were not available" in note for note in unpaired.notes)
    assert tables_of(settings)["table2"].rows[1].cells["event/audio"].difference is None
    assert tables_of(settings)["table2"].baseline is None


def test_the_baseline_has_its_label_of_each_table(make: Maker) -> None:
    settings = make("mil", "ppl_soft")
    found = tables_of(settings, settings[0])
    assert {key: table.baseline for key, table in found.items()} == {
        "table1": "mil",
        "table2": "Base",
        "table4": "Base",
        "all": "mil",
    }


def test_notes_say_where_printed_numbers_are_from_and_what_contradicts_itself(make: Maker) -> None:
    found = tables_of(make({"name": "mil", **LLP}, {"name": "ppl_soft", **LLP}), published=read_published())
    first, second = found["table1"].notes, found["table2"].notes
    contradiction = "As printed, the event-level Type@AV of {} is 59.9; the mean of its columns A, V and AV is 58.6."
    assert contradiction.format("PPL") in first
    assert contradiction.format("PPL_S") in second
    assert any("1.86 points above CMPAE" in note for note in first)
    assert not any("CMPAE" in note for note in second)
    source = "PPL (Rachavarapu et al., CVPR 2024), Table 1"
    assert f"Printed for AVE*, AVSDN*: {source} (reproduced there)." in first
    assert f"Printed for HAN, MA, CVCM-MA, MGN-MA, JoMoLD, PoiBin, CMPAE: {source}." in first
    assert not any("Printed" in note or "printed" in note for note in found["all"].notes)


def test_a_printed_row_of_another_method_is_a_row(make: Maker) -> None:
    published = {"table2": {"Other": {"segment/audio": Printed(70.0, "somewhere")}}}
    settings = make({"name": "mil", **LLP}, {"name": "ppl_soft", **LLP})
    table = tables_of(settings, published=published)["table2"]
    assert labels(table) == ["Base", "PPL_S", "Other"]
    assert table.rows[-1].printed == {"segment/audio": 70.0}  # of one number there is no average
    assert not any("mean of their ten" in note for note in table.notes)


def test_a_baseline_is_found_by_label_or_name(make: Maker) -> None:
    settings = make("mil", *({"name": "ppl", "labeling__gamma": gamma} for gamma in (0.2, 0.5)))
    assert find_baseline(settings, "mil") is settings[0]
    assert find_baseline(settings, "ppl gamma=0.5") is settings[2]
    with pytest.raises(InputError, match="'ppl' is the name of several settings") as several:
        find_baseline(settings, "ppl")
    assert "give baseline=\"'ppl gamma=0.2'\", baseline=\"'ppl gamma=0.5'\"." in str(several.value)
    with pytest.raises(
        InputError, match=r"'mill' is not among the settings; give baseline=mil, .* Did you mean 'mil'\?"
    ):
        find_baseline(settings, "mill")


def test_a_name_is_its_only_setting_or_else_the_one_as_shipped(make: Maker) -> None:
    low = make({"name": "ppl_soft", "labeling__gamma": 0.2})
    assert find_baseline(low, "ppl_soft").label == "ppl_soft gamma=0.2"
    both = by_setting([run for setting in (*low, *make("ppl_soft")) for run in setting.runs])
    assert find_baseline(both, "ppl_soft").label == "ppl_soft"
    assert find_baseline(both, "ppl_soft gamma=0.2").label == "ppl_soft gamma=0.2"
    classifier = make({"name": "ppl_soft", "inference": "classifier", "checkpoint": "x/best.ckpt"})
    assert find_baseline(classifier, "ppl_soft").label == "ppl_soft inference=classifier"
    beside = by_setting([run for setting in (*classifier, *low) for run in setting.runs])
    assert find_baseline(beside, "ppl_soft").label == "ppl_soft gamma=0.2"
    two = make(*({"name": "ppl_soft", "labeling__gamma": gamma} for gamma in (0.2, 0.3)))
    with pytest.raises(InputError, match="is the name of several settings"):
        find_baseline(two, "ppl_soft")


@pytest.mark.parametrize("label", ["mil", "ppl_soft gamma=0.3", "x data.modalities={v: [a, b]}", 'it\'s $HOME "q" x=1'])
def test_what_an_error_tells_one_to_give_reads_back_as_the_label(label: str) -> None:
    (word,) = shlex.split(f"baseline={pasted(label)}")
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == label


# The forms

COLUMNS = ("segment/audio", "event/type_av", "average")


@pytest.fixture
def table() -> Table:
    rows = (
        Row(
            "Base", 3, {"segment/audio": Cell(50.04, 1.0), "event/type_av": Cell(40.0, 2.0), "average": Cell(45.0, 0.1)}
        ),
        Row(
            "PPL|S_ & <b>",
            3,
            {
                "segment/audio": Cell(50.01, 0.5, -0.03, (-1.0, 1.0)),
                "event/type_av": Cell(41.0, 0.5, 1.0, (0.2, 1.8)),
                "average": Cell(44.0, 0.25, -1.0, (-1.5, -0.5)),
            },
            {"segment/audio": 65.9},
        ),
        Row("MA", 0, {}, {"event/type_av": 53.0}),
        Row("one seed", 1, {"average": Cell(12.0)}),
    )
    return Table("table1", "Table 1: methods", COLUMNS, rows, ("A note of a_b_ 5 %.",), "Base")


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown(table: Table) -> None:
    text = to_markdown(table)
    assert text.splitlines() == [
        "## Table 1: methods",
        "",
        "| | seeds | seg A | event Type | average |",
        "|---|---|---|---|---|",
        "| Base | 3 | **50.0 ± 1.0** | 40.0 ± 2.0 | **45.0 ± 0.1** |",
        r"| PPL\|S\_ &amp; &lt;b> | 3 | **50.0 ± 0.5** | **41.0 ± 0.5** | 44.0 ± 0.2 |",
        r"| *PPL\|S\_ &amp; &lt;b>, printed* |  | *65.9* |  |  |",
        "| *MA, printed* |  |  | *53.0* |  |",
        "| one seed | 1 |  |  | 12.0 |",
        "",
        "Difference to Base:",
        "",
        "| | seg A | event Type | average |",
        "|---|---|---|---|",
        r"| PPL\|S\_ &amp; &lt;b> | -0.0<br>[-1.0, +1.0] | **+1.0**<br>[+0.2, +1.8] | **-1.0**<br>[-1.5, -0.5] |",
        "",
        r"- A note of a_b\_ 5 %.",
    ]
    for block in text.split("\n\n"):
        widths = {len(cells_of(line)) for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_markdown_without_a_baseline_has_one_table(table: Table) -> None:
    rows = [Row(row.label, row.seeds, {"average": Cell(1.0)}) for row in table.rows[:1]]
    assert to_markdown(Table("all", "All", ("average",), tuple(rows))) == (
        "## All\n\n| | seeds | average |\n|---|---|---|\n| Base | 3 | 1.0 |\n"
    )


def test_what_methods_need_is_a_column_of_every_form(table: Table) -> None:
    rows = tuple(replace(row, needs="a | b" if row.cells else "nothing") for row in table.rows)
    told = replace(table, rows=rows)
    markdown, latex = to_markdown(told), to_latex(told)
    assert "| | beyond weak labels | seeds | seg A |" in markdown
    assert r"| Base | a \| b | 3 | **50.0" in markdown
    assert "| *MA, printed* | nothing |  |  | *53.0* |" in markdown
    assert r"PPL\|S\_ &amp; &lt;b>, printed* |  |  | *65.9* |" in markdown  # it stands in the row above
    assert r"one seed & a \textbar{} b & 1 &" in latex
    body = latex[latex.index("toprule") : latex.index("bottomrule")]
    for block, separator in ((markdown.split("\n\n")[1], "|"), (body, "&")):
        lines = [line for line in block.splitlines() if separator in line and "multicolumn" not in line]
        assert len({len(re.findall(rf"(?<!\\)[{separator}]", line)) for line in lines}) == 1
    assert {line["needs"] for line in csv.DictReader(io.StringIO(to_csv(told)))} == {"a | b", "nothing"}


def test_csv_has_everything_unrounded(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    by = {(line["row"], line["score"]): line for line in lines}
    assert len(lines) == len(by) == 3 + 3 + 1 + 1
    assert by["PPL|S_ & <b>", "segment/audio"] == {
        "table": "table1", "row": "PPL|S_ & <b>", "seeds": "3", "score": "segment/audio", "mean": "50.01", "std": "0.5",
        "baseline": "Base", "difference": "-0.03", "low": "-1.0", "high": "1.0", "printed": "65.9",
        "needs": "",
    }  # fmt: skip
    assert by["Base", "average"]["baseline"] == by["Base", "average"]["difference"] == ""
    only = by["MA", "event/type_av"]
    assert (only["seeds"], only["mean"], only["printed"]) == ("0", "", "53.0")


def test_latex_rows_are_of_one_width_and_escaped(table: Table) -> None:
    text = to_latex(table)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 5 + 1 + 2  # heads, rows, whose difference, a difference and its interval
    for row in rows:
        spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + spanned == 2 + len(COLUMNS), row
    assert rows[3].startswith(r"PPL\textbar{}S\_ \& \textless{}b\textgreater{} & 3 & \textbf{50.0}{\tiny$\pm$0.5} &")
    assert text.count("{") == text.count("}")
    assert r"A note of a\_b\_ 5 \%." in text


def test_latex_groups_the_columns_of_a_level(make: Maker) -> None:
    text = to_latex(tables_of(make("mil"))["table2"])
    assert r"\multicolumn{5}{c}{Segment} & \multicolumn{5}{c}{Event}" in text
    assert r"\cmidrule(lr){3-7}\cmidrule(lr){8-12}" in text
    assert " & Seeds & A & V & AV & Type & Event & A & V & AV & Type & Event & average" in text


def test_tables_of_an_earlier_report_go_and_nothing_else(table: Table, tmp_path: Path) -> None:
    keep = {
        "table1.png",
        "table6.csv",
        "table12.tex",
        "all.md",
        "overall.csv",
        "notes.tex",
        "Table2.csv",
        "x.table2.csv",
    }
    for name in keep | {"table2.csv", "table2.tex", "table3.tex", "table4.csv", "all.csv", "all.tex"}:
        (tmp_path / name).write_text("old", encoding="utf-8")
    (tmp_path / "table4.tex").mkdir()
    write_tables(tmp_path, [replace(table, key="table2")])
    made = {"tables.md", "table2.csv", "table2.tex"}
    assert {path.name for path in tmp_path.iterdir()} == keep | made | {"table4.tex"}
    assert all((tmp_path / name).read_text(encoding="utf-8") != "old" for name in made)


def test_files_are_written_and_latex_sets_them(make: Maker, table: Table, tmp_path: Path) -> None:
    mine = {"name": 'mine é 中 \\x{ $ # ^ ~ " [2]', "tags": ["table1"]}
    settings = make({"name": "mil", **LLP}, {**mine, **LLP})
    made = [*paper_tables(settings, settings[0], None, read_published()), table]
    write_tables(tmp_path / "out", made)
    names = {"tables.md"} | {f"{key}.{suffix}" for key in ("table1", "table2", "all") for suffix in ("csv", "tex")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert (tmp_path / "out" / "tables.md").read_text().count("\n## ") == len(made) - 1
    if not shutil.which("pdflatex"):
        pytest.skip("no LaTeX to set the tables with")
    inputs = "".join(rf"\input{{{key}}}" for key in ("table1", "table2", "all"))
    document = rf"\documentclass[twocolumn]{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "out" / "paper.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
