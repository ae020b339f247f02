from pathlib import Path
from typing import Annotated

import typer

from ccat_assets.cli.options import MOST, number
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.operate.declare import apply_file, plan_file
from ccat_models.pipeline.apply import switch
from ccat_models.pipeline.diff import render_differences
from ccat_models.pipeline.export import export as export_text
from ccat_models.pipeline.view import list_pipelines, load_pipeline
from ccat_models.run.listing import count_in_flight


def apply(
    file: Annotated[Path, typer.Argument(help="YAML file of one pipeline.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Declare a pipeline; the same file again changes nothing, a changed one makes a new revision."""
    app = ready()
    result = plan_file(app, file) if dry_run else apply_file(app, file)
    if as_json:
        print_json({"changed": result.changed, "revision": result.revision, "differences": result.differences})
        return
    if not result.changed:
        console.print(f"{file}: nothing changed, revision {result.revision}", markup=False)
        return
    console.print(render_differences(result.differences), markup=False)
    ending = "would change, nothing done" if dry_run else f"revision {result.revision} is current"
    console.print(f"{file}: {ending}", markup=False)


def export(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    revision: Annotated[int | None, number("An earlier revision.", most=MOST)] = None,
    as_json: AsJson = False,
) -> None:
    """Print a pipeline's declaration as a file for `ccat pipeline apply`, which would change nothing."""
    with ready().ops_db.read() as session:
        load_pipeline(session, name)
        text = export_text(session, name, revision)
    if as_json:
        print_json({"pipeline": name, "yaml": text})
    else:
        typer.echo(text, nl=False)


def list_all(as_json: AsJson = False) -> None:
    """List all pipelines."""
    with ready().ops_db.read() as session:
        found = list_pipelines(session)
    if as_json:
        print_json(found)
        return
    rows = (
        (p.name, p.revision, p.mode, p.trigger_type, p.priority, p.enabled, " → ".join(s.name for s in p.steps))
        for p in found
    )
    print_table("Pipelines", ["name", "revision", "mode", "trigger", "priority", "enabled", "steps"], rows)


def show(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    as_json: AsJson = False,
) -> None:
    """Show a pipeline's steps in its current revision."""
    with ready().ops_db.read() as session:
        found = load_pipeline(session, name)
    if as_json:
        print_json(found)
        return
    console.print(f"{found.name} revision {found.revision}: {found.description}", markup=False)
    console.print(f"data grouping {found.data_grouping_name}; owners {', '.join(found.owners)}", markup=False)
    names = {step.step_id: step.name for step in found.steps}
    rows = (
        (
            s.name,
            "+".join(s.group_by) or "all",
            ", ".join(names[upstream] for upstream in s.upstream_ids),
            f"{s.software_name} {s.pinned_version} ({s.version_policy.value})",
            s.cooldown_seconds,
            "final" if s.final else "",
        )
        for s in found.steps
    )
    print_table("Steps", ["step", "per", "after", "software", "cooldown_s", ""], rows)


def enable(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    as_json: AsJson = False,
) -> None:
    """Let a pipeline request runs again."""
    _switch(name, enabled=True, as_json=as_json)


def disable(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    as_json: AsJson = False,
) -> None:
    """Let a pipeline request no more runs; those in flight go on."""
    _switch(name, enabled=False, as_json=as_json)


def _switch(name: str, *, enabled: bool, as_json: bool) -> None:
    with ready().ops_db.request() as session:
        changed = switch(session, name, enabled=enabled)
        in_flight = count_in_flight(session, name)
    if as_json:
        print_json({"pipeline": name, "enabled": enabled, "changed": changed, "in_flight": in_flight})
        return
    state = "enabled" if enabled else "disabled"
    console.print(f"{name}: {state}" if changed else f"{name}: {state} already, nothing changed", markup=False)
    for step, statuses in in_flight.items():
        counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
        console.print(f"  {step}: {counts} in flight, and they go on", markup=False)
