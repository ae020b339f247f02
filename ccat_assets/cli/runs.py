from typing import Annotated

import typer

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, print_json, print_table, ready
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.listing import RunRow, list_runs
from ccat_models.tables.execution import RunStatus


def runs(
    pipeline: Annotated[str | None, typer.Argument(help="Only those of this pipeline.")] = None,
    step: Annotated[str | None, typer.Option(help="Only those of this step.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    limit: Annotated[int, at_most("Maximum number of rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    app = ready()
    if step is not None and pipeline is None:
        raise InvalidDeclaration("--step needs a pipeline: whose step?")
    wanted = None if status is None else _status(status)
    with app.ops_db.read() as session:
        if pipeline is not None:
            view = load_pipeline(session, pipeline)
            if step is not None:
                view.step(step)
        rows = list_runs(session, pipeline=pipeline, step=step, status=wanted, limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ["run", "pipeline/step", "sub-group", "status", "reason", "software", "attempts", "by", "failure or wait"]
    print_table(
        "Runs",
        columns,
        (
            (
                r.id,
                f"{r.pipeline}/{r.step}",
                r.sub_group,
                r.status,
                r.reason,
                f"{r.software} {r.version}",
                r.attempts,
                r.requested_by,
                _ending(r),
            )
            for r in rows
        ),
    )


def _ending(row: RunRow) -> str:
    """Return why a run failed or, if it is in flight, why it waits."""
    if row.failure_class is not None:
        return f"{row.failure_class.value}: {row.failure_message}"
    return "" if row.waits is None else f"waits: {row.waits}"


def _status(text: str) -> RunStatus:
    try:
        return RunStatus(text.upper())
    except ValueError:
        choices = ", ".join(member.value for member in RunStatus)
        raise InvalidDeclaration(f"--status: no status {text!r}; choose from: {choices}") from None
