"""Figures as files: the same bytes every time, whatever names are in them."""

from __future__ import annotations

import csv
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.text import Text

from avvp_pl.errors import printable
from avvp_pl.reporting.curves import draw_sweep
from avvp_pl.reporting.drawings import Drawing, few_settings, over, remove_stale_drawings, write_drawing
from avvp_pl.reporting.epochs import learning
from avvp_pl.reporting.events import per_event
from avvp_pl.reporting.examples import figure3
from avvp_pl.reporting.gallery import draw_all
from avvp_pl.reporting.swept import SWEEPS
from avvp_pl.runs.reading import PerEvent
from tests.reporting.drawn import a_run, settings_of, the_videos

EVIL = [
    r"$\frac{$",
    "$x_1$",
    "a\x00\x1b[31m\u202eb\ud800",
    "<script>alert(1)</script>&amp;]]>-->",
    "_hidden",
    "two\nlines\r",
    "\\",
    "名前",
    "x" * 500,
    "",
    " ",
]


def everything(name: str) -> list[Drawing]:
    """All kinds of figures with a name wherever there is one."""
    epochs = [{"epoch": 0.0, "val/segment/type_av": 1.0}]
    scores: PerEvent = {"segment": {"audio": {name: 50.0}, name: {name: None}}}
    gammas = [
        a_run(
            name,
            seed,
            {"labeling.gamma": gamma, "labeling.x": name},
            per_event=scores,
            epochs=epochs,
            score=40.0 + seed,
        )
        for gamma in (0.2, 0.5)
        for seed in (0, 1)
    ]
    settings = settings_of(*gammas)
    videos = the_videos([name], events=[name])
    videos.truth[0, :2] = True
    drawn = [draw_sweep(SWEEPS[0], settings, settings[0]), per_event(settings, videos), learning(settings)]
    drawings = [drawing for drawing in drawn if drawing is not None]
    assert len(drawings) == 3
    return [*drawings, *figure3(videos, {name: videos.truth}, {name: 0}, [name])]


@pytest.mark.parametrize("name", EVIL)
def test_names_are_shown_and_never_read(name: str, tmp_path: Path) -> None:
    for drawing in everything(name):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            inline = write_drawing(tmp_path, drawing)
        assert not any(text.get_parse_math() for text in drawing.figure.findobj(Text))
        root = ET.fromstring((tmp_path / f"{drawing.key}.svg").read_bytes())
        assert ET.fromstring(inline).tag == root.tag == "{http://www.w3.org/2000/svg}svg"
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {
            "svg",
            "g",
            "defs",
            "path",
            "use",
            "text",
            "tspan",
            "clipPath",
            "rect",
            "pattern",
            "metadata",
        }
        said = " ".join("".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text"))
        assert said.isprintable()
        if name in (EVIL[0], EVIL[3], "_hidden", "\\"):
            assert name in said
        assert (tmp_path / f"{drawing.key}.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("first", "again"):
        for drawing in everything("Dog"):
            write_drawing(tmp_path / folder, drawing)
    first = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert sorted(first) == sorted(
        [f"{key}.{kind}" for key in ("fig4_gamma", "per_event", "learning") for kind in ("png", "svg", "csv")]
        + ["fig3_1.png", "fig3_1.svg"]
    )
    assert not [name for name, content in first.items() if b"dc:date" in content or b"matplotlib.org" in content]


def test_figures_of_one_page_share_no_ids(tmp_path: Path) -> None:
    seen: set[str] = set()
    for drawing in everything("Dog"):
        root = ET.fromstring(write_drawing(tmp_path, drawing))
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        seen |= set(ids)
        used = {
            element.attrib["{http://www.w3.org/1999/xlink}href"][1:]
            for element in root.iter("{http://www.w3.org/2000/svg}use")
        }
        assert used <= set(ids)


def test_the_table_beside_a_figure(tmp_path: Path) -> None:
    drawing = everything("Dog")[0]
    write_drawing(tmp_path, drawing)
    with (tmp_path / "fig4_gamma.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["curve", "score", "gamma", "seeds", "which_seeds", "mean", "std"]
    assert [(row["gamma"], float(row["mean"])) for row in rows[:2]] == [("0.2", 41.5), ("0.5", 41.5)]
    assert float(rows[0]["std"]) == pytest.approx(0.5**0.5)


def test_figures_of_an_earlier_report_go_and_nothing_else(tmp_path: Path) -> None:
    drawings = everything("Dog")
    keep = ["notes.txt", "fig3_1.pdf", "my_bound.png", "bound.png.bak", "fig3_.png", "fig3_01.svg", "fig3_x.png"]
    keep += ["bound2.png", "BOUND.PNG", "fig4_delta.png", "index.html", ".bound.png"]
    stale = [
        "bound.png",
        "bound.svg",
        "bound.csv",
        "fig3_2.png",
        "fig3_12.svg",
        "fig4_beta.csv",
        "fig5_k.svg",
        "tau.png",
    ]
    stale += ["pseudo_label_quality.svg", "fig3_1.csv"]  # of a kind that this figure has none of
    for name in (*keep, *stale):
        (tmp_path / name).write_text("old", encoding="utf-8")
    (tmp_path / "learning.csv").mkdir()  # a folder by such a name
    (tmp_path / "bound").mkdir()
    (tmp_path / "bound" / "tau.png").write_text("old", encoding="utf-8")
    written = [drawing for drawing in drawings if drawing.key != "learning"]
    for drawing in written:
        write_drawing(tmp_path, drawing)
    remove_stale_drawings(tmp_path, written)
    made = [f"{key}.{kind}" for key in ("fig4_gamma", "per_event") for kind in ("png", "svg", "csv")]
    made += ["fig3_1.png", "fig3_1.svg"]
    assert {path.name for path in tmp_path.iterdir()} == {*keep, *made, "learning.csv", "bound"}
    assert (tmp_path / "bound" / "tau.png").exists()


def test_a_link_of_such_a_name_goes_and_what_it_links_to_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine", encoding="utf-8")
    (tmp_path / "tau.png").symlink_to(tmp_path / "mine.png")
    remove_stale_drawings(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_without_a_folder_nothing_is_stale(tmp_path: Path) -> None:
    remove_stale_drawings(tmp_path / "figures", [])
    assert not (tmp_path / "figures").exists()


def test_every_figure_can_be_found_stale(tmp_path: Path) -> None:
    quality = {"pseudo_labels/audio/f1": 1.0, "train/em/bound": 1.0, "val/segment/type_av": 1.0, "epoch": 0.0}
    default = {sweep.key: sweep.paper for sweep in SWEEPS}
    settings = settings_of(
        a_run(settings=default, epochs=[quality], per_event={"segment": {"audio": {"Dog": 50.0}}}),
        *(a_run(settings={**default, sweep.key: 2 * sweep.paper}) for sweep in SWEEPS),
    )
    videos = the_videos(["a"])
    drawings = draw_all(settings, None, settings, videos, {"ppl": videos.truth}, {"ppl": 0}, ["a"])
    assert len(drawings) == 9
    for drawing in drawings:
        write_drawing(tmp_path, drawing)
    remove_stale_drawings(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_numbers_of_seeds_that_differ_are_a_range() -> None:
    assert over([3, 5, 3]) == "over 3 to 5 seeds."
    assert over([1, 1]) == "over 1 seed."


def test_few_settings_are_the_baseline_and_one_of_each_before_a_second() -> None:
    runs = [a_run(name, 0, {"k": k}) for name, k in (("ppl", 1), ("ppl", 2), ("ppl", 3), ("mil", 1), ("npl", 1))]
    settings = settings_of(*runs)
    mil = next(setting for setting in settings if setting.name == "mil")
    assert [s.label for s in few_settings(settings, mil, most=4)] == ["mil", "ppl k=1", "ppl k=2", "npl"]
    assert [s.label for s in few_settings(settings, None, most=3)] == ["ppl k=1", "mil", "npl"]
    assert [s.label for s in few_settings(settings, None)] == [s.label for s in settings]
    assert few_settings([], mil) == [mil]


def test_printable_is_what_tables_hold(tmp_path: Path) -> None:
    name = "a\x1b\ud800"
    write_drawing(tmp_path, everything(name)[0])
    assert printable(name) in (tmp_path / "fig4_gamma.csv").read_text(encoding="utf-8")
