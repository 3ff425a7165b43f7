"""The evidence of logged runs as a W&B workspace and report: built without a connection, sent only when asked."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avvp_pl.errors import InputError, brief, nearest, printable, quote
from avvp_pl.files import atomic_write

if TYPE_CHECKING:  # slow to import, and an extra
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws

TITLE = "Evidence"  # of the workspace and of the report
PART = re.compile(r"[^/\\#?%:\s](?:[^/\\#?%:\n]{0,126}[^/\\#?%:\s])?")  # what W&B takes for a name of 128 signs
SECONDS = 10.0  # to wait for an answer; W&B's client alone tries for a minute and a half


def build_workspace(
    entity: str, project: str, modalities: Sequence[str] = ("audio", "visual"), timelines: int = 4
) -> ws.Workspace:
    """The workspace of a project: its sections, and the table of runs with their test scores.

    ``timelines`` is the number of videos that runs have drawn (``callbacks.panels.num_videos``). Runs are not grouped
    in the table, as the panels of sweeps need each by itself; the others group them, seeds together, by experiment.
    """
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as ws

    from avvp_pl.reporting.wandb_panels import MAX_RUNS, build_sections, score_names

    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            ws.Section(name=section.title, panels=section.panels, is_open=True)
            for section in build_sections(modalities, timelines)
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            order=[expr.Ordering(expr.Summary("test/average"), ascending=False)],
            pinned_columns=[f"summary:test/{name}" for name in score_names(modalities)],
        ),
    )


def build_report(
    entity: str, project: str, modalities: Sequence[str] = ("audio", "visual"), timelines: int = 4
) -> wr.Report:
    """The same panels as a report to read from top to bottom, each section with the table of its runs."""
    import wandb_workspaces.reports.v2.interface as wr

    from avvp_pl.reporting.wandb_panels import build_sections, lay_out, score_names, stable_id

    columns = ["run:displayName", *(f"summary:test/{name}" for name in score_names(modalities))]
    blocks: list[Any] = [wr.TableOfContents()]
    for section in build_sections(modalities, timelines):
        lay_out(section.panels)
        # of the report's own project; one that is named would be looked up at once
        runset = wr.Runset(
            name="Runs",
            order=[wr.OrderBy(wr.SummaryMetric("test/average"))],
            groupby=["Group"] if section.grouped else [],
            pinned_columns=columns,
        )
        runset._id = stable_id(section.title, "runs")
        grid = wr.PanelGrid(runsets=[runset], panels=section.panels)
        blocks += [wr.H2(section.title), wr.P(section.text), grid]
    return wr.Report(
        entity=entity,
        project=project,
        title=TITLE,
        description="Scores, sweeps, pseudo labels and timelines of the runs of this project",
        blocks=blocks,
        width="fluid",
    )


def write_workspace(
    folder: Path,
    target: str,
    online: bool = False,
    modalities: Sequence[str] = ("audio", "visual"),
    timelines: int = 4,
) -> list[Path]:
    """Write ``wandb_workspace.json`` and ``wandb_report.json`` into a folder; where ``online``, save both at W&B.

    ``target`` is ``ENTITY/PROJECT``. The files hold what is sent, and are the same for the same arguments. W&B saves
    a new view every time, under a name that is drawn then and is not in the files: what was edited there by hand
    stays. Raises :class:`InputError` where the target is none, the extra is not installed or, ``online``, where
    there is no login, no answer or no such project.
    """
    entity, project = read_target(target)
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise InputError('wandb= needs wandb-workspaces, which is not installed: pip install "avvp_pl[dashboards]"')
    workspace = build_workspace(entity, project, modalities, timelines)
    report = build_report(entity, project, modalities, timelines)
    contents = {"wandb_workspace.json": _workspace_content(workspace), "wandb_report.json": _report_content(report)}
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            json.dump(content, file, indent=1)
            file.write("\n")
    if online:
        _send(workspace, report)
    return [folder / name for name in contents]


def read_target(target: str) -> tuple[str, str]:
    """Entity and project of ``ENTITY/PROJECT``.

    >>> read_target("my-team/avvp_pl")
    ('my-team', 'avvp_pl')
    """
    parts = target.split("/")
    if len(parts) != 2 or not all(PART.fullmatch(part) and printable(part) == part for part in parts):
        raise InputError(
            f"wandb={quote(target)}: it must be ENTITY/PROJECT, a user or team of W&B and the project of the runs "
            "(logger.wandb.project, avvp_pl unless it was set)"
        )
    return parts[0], parts[1]


def _workspace_content(workspace: ws.Workspace) -> dict[str, Any]:
    """What :meth:`Workspace.save` sends, its ``spec`` not yet a string."""
    view = workspace._to_model()
    return {
        "entityName": view.entity,
        "projectName": view.project,
        "displayName": view.display_name,
        "type": "project-view",
        "description": "",
        "spec": view.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "locked": False,
    }


def _report_content(report: wr.Report) -> dict[str, Any]:
    """What :meth:`Report.save` sends, its ``spec`` not yet a string."""
    model = report._to_model()  # type: ignore[no-untyped-call]
    return {
        "id": None,
        "entityName": model.project.entity_name,
        "projectName": model.project.name,
        "description": model.description,
        "displayName": model.display_name,
        "type": "runs",
        "spec": model.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _send(workspace: ws.Workspace, report: wr.Report) -> None:
    """Save both. What can be wrong is looked at first: W&B's client waits long, and the report makes a project."""
    import wandb

    host = wandb.setup().settings.base_url
    try:
        known = wandb.login(verify=False, prompt=False)
    except Exception as error:  # a key of another shape
        raise InputError(f"W&B does not take its key ({brief(error)}); run `wandb login --relogin`") from None
    if not known:
        raise InputError(
            "online=true, but there is no login to W&B: run `wandb login` or set WANDB_API_KEY (and leave WANDB_MODE "
            "at online); without an account, online=false writes the definition, and `wandb leet` shows the runs"
        )
    _ask(host)
    entity, project = workspace.entity, workspace.project
    try:
        projects: Iterable[Any] = wandb.Api(timeout=round(SECONDS)).projects(entity)
        names = [found.name for found in projects]
    except Exception as error:  # of a client, its service and a server: a dozen kinds
        raise InputError(f"W&B shows no projects of {entity!r} ({brief(error)}); give wandb=ENTITY/PROJECT") from None
    if project not in names:
        raise InputError(
            f"wandb={entity}/{project}: there is no such project, or it is not yours to see.{nearest(project, names)} "
            "It appears with its first run: `wandb sync` sends those that were logged offline"
        )
    try:
        workspace.save()  # type: ignore[no-untyped-call]
        report.save()
    except Exception as error:
        raise InputError(f"W&B has not saved {entity}/{project} ({brief(error)}); try again") from None


def _ask(host: str) -> None:
    """Raise :class:`InputError` where nobody answers at this address; any answer will do."""
    try:
        with urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=SECONDS):
            pass
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"online=true, but {host} does not answer ({brief(error)}): see to the network or WANDB_BASE_URL, or "
            "leave it at online=false, which writes the definition"
        ) from None
