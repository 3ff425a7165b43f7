"""The W&B definition: it names what runs log, it is what the library would send, and it needs no connection."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import wandb

from avvp_pl.errors import InputError
from avvp_pl.metrics.avvp import score_timelines
from avvp_pl.reporting.statistics import score_names
from avvp_pl.reporting.workspace import build_workspace, further_inferences, read_target, write_workspace
from avvp_pl.runs.reading import read_run
from avvp_pl.runs.wandb_server import _ask
from avvp_pl.settings.conf import config_dir
from tests.conftest import Command
from tests.reporting.made import made_run, run_folder
from tests.small import inspected

FILES = ("wandb_workspace.json", "wandb_report.json")
BY_CLASSIFIER = "Test scores by classifier"
SECTIONS = [
    "Test scores",
    BY_CLASSIFIER,
    "Validation scores",
    "Sweeps",
    "Pseudo labels",
    "EM bound",
    "Losses",
    "Labeling time",
    "Timelines",
    "Events",
]


def written(folder: Path, **options: Any) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in write_workspace(folder, "me/avvp_pl", **options)}


def panels(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Panels by the title of their section, of either file."""
    spec = content["spec"]
    if "blocks" not in spec:
        return {section["name"]: section["panels"] for section in spec["section"]["panelBankConfig"]["sections"]}
    titles = [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]
    grids = [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]
    return {t: grid["panelBankSectionConfig"]["panels"] for t, grid in zip(titles, grids, strict=True)}


def strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from strings(branch)


def shown(content: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The names of what is logged, and of settings, that the panels use."""
    logged, settings = set(), set()
    for panel in (panel for section in panels(content).values() for panel in section):
        config = panel["config"]
        accessors = [column["accessor"] for column in config.get("columns", [])]
        if panel["viewType"] == "Scatter Plot":
            accessors += [config["xAxis"], config["yAxis"]]
        elif "xAxis" in config:
            logged.add(config["xAxis"])
        logged |= {*config.get("metrics", []), *config.get("mediaKeys", [])}
        logged |= {name.removeprefix("summary:") for name in accessors if name.startswith("summary:")}
        settings |= {name.removeprefix("config:") for name in accessors if name.startswith("config:")}
        if "groupBy" in config:
            settings.add(config["groupBy"])
        if panel["viewType"] in ("Vega2", "Weave"):
            (table,) = {name for name in strings(config) if name.startswith("test/")}
            logged.add(table)
    return logged, settings


def test_panels_show_what_a_run_logs_and_nothing_else(command: Command, tmp_path: Path) -> None:
    sizes = ["data.sizes.train=24", "data.sizes.val=8", "data.sizes.test=8"]
    small = ["network.dim=16", "network.feedforward_dim=16", "trainer.accelerator=cpu", "trainer.max_epochs=2"]
    last = "protocol.selection.monitor=null"  # the summary has the names of the selected epoch
    assert command("train", "+experiment=ppl_soft", *sizes, *small, last, "logger.wandb.settings.silent=true") == 0
    (folder,) = (tmp_path / "outputs" / "wandb").glob("offline-run-*")
    run = inspected(folder)
    of_wandb = {name for name in run["summary"] if name.startswith("_")} | {"trainer/global_step"}
    of_run = {"parameters", "selected_epoch"}
    (scores,) = (tmp_path / "outputs" / "ppl_soft").glob("*/scores.json")
    runs = [read_run(scores.parent)]
    for content in [*written(tmp_path).values(), *written(tmp_path, runs=runs).values()]:
        logged, settings = shown(content)
        assert logged == (set(run["summary"]) | {"epoch"}) - of_wandb - of_run
        columns = {word.removeprefix("summary:") for word in strings(content) if word.startswith("summary:")}
        of_tables = {"test/per_event_f1", "test/timelines"}
        assert columns == {name for name in logged if name.startswith("test/")} - of_tables
        swept = {f"labeling.{x}" for x in ("gamma", "beta", "k", "tau")}
        assert {path.replace(".value", "") for path in settings} == swept | {"name"}
        assert run["config"]["name"] == "ppl_soft"
        for path in settings - {"name.value"}:  # W&B keeps {"labeling": {...}} as {"labeling": {"value": {...}}}
            group, _, name = path.split(".")
            assert isinstance(run["config"][group][name], int | float)
    (table,) = (folder / "files" / "media" / "table" / "test").glob("per_event_f1_*.json")
    header = json.loads(table.read_text())["columns"]
    of_charts = [p["config"]["fieldSettings"] for p in panels(content)["Events"] if p["viewType"] == "Vega2"]
    assert {chart["label"] for chart in of_charts} == {"event"}
    assert ["event", *(chart["value"] for chart in of_charts)] == header


@pytest.mark.parametrize("modalities", [("audio",), ("audio", "visual"), ("touch", "audio", "visual")])
def test_scores_have_the_names_of_the_metric(modalities: tuple[str, ...], tmp_path: Path) -> None:
    empty = torch.zeros(1, 2, len(modalities), 1, dtype=torch.bool)
    names = list(score_timelines(empty, empty, modalities=modalities).flat())
    assert list(score_names(modalities)) == names
    run = made_run(tmp_path / "run", data__modalities={name: ["stream"] for name in modalities})
    workspace = written(tmp_path, runs=[run])[FILES[0]]
    assert [bar["config"]["metrics"] for bar in panels(workspace)["Test scores"]] == [[f"test/{x}"] for x in names]


def test_losses_and_stages_are_those_of_the_runs(tmp_path: Path) -> None:
    for name, losses in (("one", "train/loss,train/mutual"), ("two", "train/alone,train/loss")):
        folder = run_folder(tmp_path / name)
        (folder / "metrics.csv").write_text(f"epoch,step,{losses},pseudo_labels/depth/f1\n0,9,1,1,1\n")
        (folder / "timings.csv").write_text("epoch,step,labeling/dream_seconds\n0,9,1\n")
    runs = [read_run(tmp_path / name) for name in ("one", "two")]
    for content in written(tmp_path, runs=runs).values():
        sections = {title: [p["config"].get("metrics") for p in own] for title, own in panels(content).items()}
        assert sections["Losses"] == [["train/loss"], ["train/alone"], ["train/mutual"]]
        assert sections["Pseudo labels"] == [["pseudo_labels/depth/f1"]]
        assert sections["Labeling time"] == [["labeling/dream_seconds"]]
        assert list(sections) == [title for title in SECTIONS if title not in ("EM bound", BY_CLASSIFIER)]


def test_further_inferences_are_those_of_trainings(tmp_path: Path) -> None:
    """An evaluation logs nothing."""
    ppl = made_run(tmp_path / "ppl", name="ppl_soft", inference=("prototype", "prototype_hard", "classifier"))
    two = ("prototype", "classifier")
    evaluated = made_run(tmp_path / "evaluated", name="ppl_soft", inference=two, checkpoint="x/best.ckpt")
    assert further_inferences([made_run(tmp_path / "mil"), evaluated]) == []
    assert further_inferences([evaluated, ppl]) == ["classifier", "prototype_hard"]
    sections = panels(written(tmp_path, runs=[ppl])[FILES[0]])
    assert list(sections)[:3] == ["Test scores", BY_CLASSIFIER, "Test scores by prototype_hard"]


def test_the_order_of_the_runs_does_not_matter(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / "one", name="mil"), made_run(tmp_path / "two", name="ppl_soft")]
    assert written(tmp_path, runs=runs) == written(tmp_path, runs=runs[::-1])


def test_seeds_are_aggregated_by_experiment_and_sweeps_by_setting(tmp_path: Path) -> None:
    assert "\nname: " in (config_dir() / "train.yaml").read_text(encoding="utf-8")
    for content in written(tmp_path).values():
        sections = panels(content)
        assert list(sections) == SECTIONS
        for title in ("Test scores", BY_CLASSIFIER, "Validation scores", "Pseudo labels", "Losses"):
            assert {p["config"]["groupBy"] for p in sections[title]} == {"name.value"}
            assert {(p["config"]["groupAgg"], p["config"]["groupArea"]) for p in sections[title]} == {
                ("mean", "stddev")
            }
        bars = [p["config"]["groupBy"] for p in sections["Sweeps"] if p["viewType"] == "Bar Chart"]
        assert bars == ["labeling.value.gamma", "labeling.value.beta", "labeling.value.k", "labeling.value.tau"]


def test_bars_of_events_are_those_of_wandb_plot(tmp_path: Path) -> None:
    chart = wandb.plot.bar(wandb.Table(columns=["event", "segment/audio"]), "event", "segment/audio", title="")
    chart.set_key("x")
    expected = chart.spec.config_value["panel_config"]
    (ours, *_) = (p["config"] for p in panels(written(tmp_path)[FILES[0]])["Events"] if p["viewType"] == "Vega2")
    for part in ("panelDefId", "fieldSettings", "transform"):
        assert ours[part] == expected[part]
    assert set(ours["stringSettings"]) == set(expected["stringSettings"])


def test_panels_of_a_report_do_not_overlap(tmp_path: Path) -> None:
    for title, section in panels(written(tmp_path)[FILES[1]]).items():
        taken: set[tuple[int, int]] = set()
        for box in (panel["layout"] for panel in section):
            cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
            assert not cells & taken, title
            assert max(x for x, _ in cells) < 24
            taken |= cells
        ids = [panel["__id__"] for panel in section]
        assert len(set(ids)) == len(ids)


class Recorder:
    """W&B's client, of a server with one project."""

    sent: ClassVar[list[dict[str, Any]]] = []
    made: ClassVar[list[str]] = []
    app_url = "https://wandb.example/"

    def __init__(self, **_: Any) -> None:
        self._service_api = self

    def projects(self, entity: str) -> list[Any]:
        assert entity == "me"
        return [type("Project", (), {"name": "avvp_pl"})]

    def create_project(self, name: str, entity: str) -> None:
        self.made.append(f"{entity}/{name}")

    def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        assert "upsertView" in query
        self.sent.append(variables)
        project = {"name": "avvp_pl", "entityName": "me"}
        view = {
            "id": "1",
            "name": variables["name"],
            "spec": "{}",
            "displayName": "",
            "description": "",
            "project": project,
        }
        return {"upsertView": {"view": view}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(Recorder, "sent", [])
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(wandb, "Api", Recorder)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr("avvp_pl.runs.wandb_server._ask", lambda *_: None)
    return Recorder


def test_the_library_sends_what_is_written(server: type[Recorder], tmp_path: Path) -> None:
    contents = written(tmp_path, online=True)
    assert list(contents) == list(FILES)
    names = [variables.pop("name") for variables in server.sent]
    assert len(set(names)) == 2  # drawn by the library
    sent = [{**variables, "spec": json.loads(variables["spec"])} for variables in server.sent]
    assert sent == list(contents.values())
    assert not server.made


def test_nothing_is_sent_unasked_nor_to_a_project_that_is_not_there(server: type[Recorder], tmp_path: Path) -> None:
    write_workspace(tmp_path, "me/avvp_pl")
    with pytest.raises(InputError, match=r"me/avvp-pl: there is no such project.*Did you mean 'avvp_pl'\?"):
        write_workspace(tmp_path, "me/avvp-pl", online=True)
    assert not server.sent
    assert not server.made


def test_a_refusal_of_the_server_is_one_message(
    server: type[Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("permission\ndenied")

    monkeypatch.setattr(server, "execute_graphql", refuse)
    with pytest.raises(InputError, match=r"not saved me/avvp_pl \(permission denied\)"):
        write_workspace(tmp_path, "me/avvp_pl", online=True)
    monkeypatch.setattr(server, "projects", refuse)
    with pytest.raises(InputError, match=r"no projects of 'me' \(permission denied\)"):
        write_workspace(tmp_path, "me/avvp_pl", online=True)


def test_offline_connects_to_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection")

    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert set(written(tmp_path)) == set(FILES)


ELSEWHERE = """
import os, sys
from pathlib import Path
from avvp_pl.errors import InputError
from avvp_pl.reporting.workspace import write_workspace

for key in (None, "0" * 40):
    if key:
        os.environ["WANDB_API_KEY"] = key
    try:
        write_workspace(Path(sys.argv[1]), "me/avvp_pl", online=True)
    except InputError as error:
        print(error)
"""


def test_without_login_or_network_there_is_a_message_and_the_same_files(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("WANDB", "HTTP", "ALL_"))}
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_BASE_URL": address}
    words = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "there")]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        words, env={**kept, **home, "PYTHONPATH": str(root)}, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    no_login, no_answer = done.stdout.splitlines()
    assert "no login to W&B: run `wandb login`" in no_login
    assert f"{address} does not answer" in no_answer
    write_workspace(tmp_path / "here", "me/avvp_pl")
    for name in FILES:  # another process, and what its library draws
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_any_answer_is_one() -> None:
    class Missing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Missing) as there:
        thread = threading.Thread(target=there.handle_request)
        thread.start()
        _ask(f"http://127.0.0.1:{there.server_port}", "online=true", "online=false")
        thread.join()


@pytest.mark.parametrize(
    "target",
    ["", "avvp_pl", "/avvp_pl", "me/", "me/a/b", "me/a#b", " me/a", "me/a\n", "me/\x1b[31m", "me/" + "a" * 129],
)
def test_what_is_no_project_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be ENTITY/PROJECT"):
        write_workspace(tmp_path, target)
    assert not list(tmp_path.iterdir())


def test_names_are_taken_as_they_are() -> None:
    assert read_target("my-team/a b.c_" + "d" * 100) == ("my-team", "a b.c_" + "d" * 100)
    workspace = build_workspace("my-team", "x")
    assert (workspace.entity, workspace.project) == ("my-team", "x")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'pip install -e "[.]\[dashboards\]"'):
        write_workspace(tmp_path, "me/avvp_pl")
