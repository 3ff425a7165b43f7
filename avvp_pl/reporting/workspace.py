"""The evidence of logged runs as a W&B workspace and report: built offline, and sent only on request."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from avvp_pl.errors import InputError, brief, nearest, printable, quote
from avvp_pl.files import atomic_write, read_rows
from avvp_pl.runs.names import TIMINGS
from avvp_pl.runs.reading import MAIN_SCORE, PARSING, Run, inferences_of
from avvp_pl.runs.wandb_server import SECONDS, check_server

if TYPE_CHECKING:  # slow to import, and an extra
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws

TITLE = "Evidence"  # of the workspace and of the report
MODALITIES = ("audio", "visual")
FURTHER = ("classifier",)  # by which PPL is tested beside its prototypes
PART = re.compile(
    r"[^/\\#?%:\s](?:[^/\\#?%:\n]{0,126}[^/\\#?%:\s])?"
)  # a name of at most 128 characters that W&B accepts


def build_workspace(
    entity: str,
    project: str,
    modalities: Sequence[str] = MODALITIES,
    timelines: int = 4,
    logged: Sequence[str] | None = None,
    further: Sequence[str] = FURTHER,
    task: str = PARSING,
) -> ws.Workspace:
    """Build the workspace of a project: its sections, and the table of runs with their test scores.

    ``timelines`` is the number of videos that runs draw (``callbacks.panels.num_videos``), and ``logged`` are the
    names that they log by epoch (None: those of PPL). ``further`` are the inferences that they were tested by beside
    their first one, and ``task`` is what their scores are of. The table does not group runs, because the panels of
    sweeps need every run; the other panels group the seeds of an experiment.
    """
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as ws

    from avvp_pl.reporting.wandb_panels import MAX_RUNS, build_sections, score_columns

    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            ws.Section(name=section.title, panels=section.panels, is_open=True)
            for section in build_sections(modalities, timelines, logged, further, task)
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            order=[expr.Ordering(expr.Summary(f"test/{MAIN_SCORE[task]}"), ascending=False)],
            pinned_columns=score_columns(modalities, further, task),
        ),
    )


def build_report(
    entity: str,
    project: str,
    modalities: Sequence[str] = MODALITIES,
    timelines: int = 4,
    logged: Sequence[str] | None = None,
    further: Sequence[str] = FURTHER,
    task: str = PARSING,
) -> wr.Report:
    """Build the same panels as a report, in which each section has the table of its runs."""
    import wandb_workspaces.reports.v2.interface as wr

    from avvp_pl.reporting.wandb_panels import NAME, build_sections, lay_out, score_columns, stable_id

    columns = ["run:displayName", *score_columns(modalities, further, task)]
    blocks: list[Any] = [wr.TableOfContents()]
    for section in build_sections(modalities, timelines, logged, further, task):
        lay_out(section.panels)
        # in the project of the report itself; a named project would be looked up at once
        runset = wr.Runset(
            name="Runs",
            order=[wr.OrderBy(wr.SummaryMetric(f"test/{MAIN_SCORE[task]}"))],
            groupby=[f"config.{NAME}"] if section.grouped else [],
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
    runs: Sequence[Run] = (),
    timelines: int = 4,
) -> list[Path]:
    """Write ``wandb_workspace.json`` and ``wandb_report.json`` into a folder; if ``online``, save both at W&B.

    ``target`` is ``ENTITY/PROJECT``. The panels show what ``runs`` have logged by epoch; where there are none, what a
    run of PPL logs. The files have the content that is sent, and are the same for the same arguments. W&B saves a new
    view every time, under a random name that is not in the files, so that manual edits are kept. Raises
    :class:`InputError` where the target is not valid, the extra is not installed or, ``online``, where there is no
    login, no answer or no such project.
    """
    entity, project = read_target(target)
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise InputError('wandb= needs wandb-workspaces, which is not installed: pip install -e ".[dashboards]"')
    modalities, logged = modalities_of(runs), logged_names(runs) or None
    further = further_inferences(runs) if runs else FURTHER
    task = runs[0].task if runs else PARSING
    workspace = build_workspace(entity, project, modalities, timelines, logged, further, task)
    report = build_report(entity, project, modalities, timelines, logged, further, task)
    contents = {"wandb_workspace.json": _workspace_content(workspace), "wandb_report.json": _report_content(report)}
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            json.dump(content, file, indent=1)
            file.write("\n")
    if online:
        _send(workspace, report)
    return [folder / name for name in contents]


def logged_names(runs: Sequence[Run]) -> list[str]:
    """Return the names that some of the runs have logged by epoch, ``train/loss`` first, then in alphabetical order."""
    tables = [[*run.epochs, *read_rows(run.folder / TIMINGS)] for run in runs]
    names = {name for rows in tables for row in rows for name in row}
    return sorted(names - {"epoch", "step"}, key=lambda name: (name != "train/loss", name))


def modalities_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return all modalities of the runs' data; without runs, audio and visual."""
    named = (name for run in runs for name in OmegaConf.select(run.config, "data.modalities") or ())
    return tuple(dict.fromkeys(map(str, named))) or MODALITIES


def further_inferences(runs: Sequence[Run]) -> list[str]:
    """Return the inferences that some trainings were tested by beside their first one, in alphabetical order."""
    trainings = [run for run in runs if "checkpoint" not in run.config]
    return sorted({name for run in trainings for name in inferences_of(run)[1:]})


def read_target(target: str) -> tuple[str, str]:
    """Return entity and project of ``ENTITY/PROJECT``.

    >>> read_target("my-team/avvp_pl")
    ('my-team', 'avvp_pl')
    """
    parts = target.split("/")
    if len(parts) != 2 or not all(PART.fullmatch(part) and printable(part) == part for part in parts):
        raise InputError(
            f"wandb={quote(target)}: it must be ENTITY/PROJECT, a user or team of W&B and the project of the runs "
            "(logger.wandb.project, avvp_pl by default)"
        )
    return parts[0], parts[1]


def _workspace_content(workspace: ws.Workspace) -> dict[str, Any]:
    """Return what :meth:`Workspace.save` sends, with ``spec`` not yet a string."""
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
    """Return what :meth:`Report.save` sends, with ``spec`` not yet a string."""
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
    """Save both. Login, server and project are checked first: the client waits long, and a report makes a project."""
    import wandb

    check_server("online=true", "online=false, which only writes the definition")
    entity, project = workspace.entity, workspace.project
    try:
        projects: Iterable[Any] = wandb.Api(timeout=round(SECONDS)).projects(entity)
        names = [found.name for found in projects]
    except Exception as error:  # the client, its service and the server raise a dozen kinds
        raise InputError(f"W&B shows no projects of {entity!r} ({brief(error)}); give wandb=ENTITY/PROJECT") from None
    if project not in names:
        raise InputError(
            f"wandb={entity}/{project}: there is no such project, or you may not see it.{nearest(project, names)} "
            "A project appears with its first run: `wandb sync` sends runs that were logged offline"
        )
    try:
        workspace.save()  # type: ignore[no-untyped-call]
        report.save()
    except Exception as error:
        raise InputError(f"W&B has not saved {entity}/{project} ({brief(error)}); try again") from None
