from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, console, plain, print_json, print_table, ready
from ccat_assets.cli.software import Cosmetic, ReprocessFrom, explain
from ccat_assets.operate.declare import digests_of, read_file
from ccat_assets.sizes import size_text
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.gap.answer import StepCounts
from ccat_models.pipeline.apply import Applied, apply
from ccat_models.pipeline.diff import render_differences
from ccat_models.pipeline.release import Released, suppose
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.estimate import StepCost
from resources.ops_db import Session
from resources.request.ensure import RequestOptions
from resources.request.plan_ahead import Plan, foresee

Supposed = Released | Applied | None
_NONE = StepCounts({}, 0, 0)


def plan(
    pipeline: Annotated[str | None, typer.Argument(help="Name of the pipeline.")] = None,
    release: Annotated[
        str | None, typer.Option(metavar="NAME=VERSION", help="As if this version of a program had been released.")
    ] = None,
    cosmetic: Cosmetic = False,
    reprocess_from: ReprocessFrom = None,
    file: Annotated[Path | None, typer.Option(help="As if this declaration had been applied.")] = None,
    sub_groups: Annotated[bool, typer.Option("--sub-groups", help="List every sub-group with its reason.")] = False,
    limit: Annotated[int, at_most("Maximum number of sub-groups for each step.")] = 50,
    ignore_cooldown: Annotated[bool, typer.Option("--ignore-cooldown", help="Do not wait for cooldowns.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be run, why, and what it would cost; run nothing and change nothing."""
    _check(pipeline, release, file, cosmetic=cosmetic, reprocess_from=reprocess_from)
    app = ready()
    if file is not None:
        name, change = _as_if_applied(app, file, pipeline)
    else:
        name = pipeline or ""
        change = _as_if_released(app, name, release, {"cosmetic": cosmetic, "reprocess_from": reprocess_from})
    options = RequestOptions(by=app.settings.user, ignore_cooldown=ignore_cooldown, patient=True)
    found, supposed = foresee(app.cluster, name, options, suppose=change, limit=limit if sub_groups else 0)
    if as_json:
        print_json(_as_json(found, supposed))
        return
    _print_supposed(supposed)
    _print_counts(found)
    _print_cost(found)
    for step, rows in found.listed.items():
        print_table(
            f"{step}", ["sub-group", "reason", "inputs"], ((g.key, g.reason, g.fingerprint.count) for g in rows)
        )


def _check(
    pipeline: str | None, release: str | None, file: Path | None, *, cosmetic: bool, reprocess_from: str | None
) -> None:
    if pipeline is None and file is None:
        raise InvalidDeclaration("plan what? name a pipeline, or a declaration with --file")
    if release is not None and file is not None:
        raise InvalidDeclaration("--release and --file: suppose one change at a time")
    if release is None and (cosmetic or reprocess_from is not None):
        raise InvalidDeclaration("--cosmetic and --reprocess-from need --release: of which version?")
    if release is not None and not all(release.partition("=")):
        raise InvalidDeclaration(f"--release: must be NAME=VERSION, got {release!r}")


def _as_if_released(
    app: Application, pipeline: str, release: str | None, flags: dict[str, Any]
) -> Callable[[Session], Supposed]:
    if release is None:
        return lambda _: None
    name, _, version = release.partition("=")

    def change(session: Session) -> Released:
        used = sorted({step.software_name for step in load_pipeline(session, pipeline).steps})
        if name not in used:
            raise NotFound(f"software of pipeline {pipeline}", name, used)
        return suppose(session, name, {"version": version, **flags}, app.clock())

    return change


def _as_if_applied(app: Application, file: Path, pipeline: str | None) -> tuple[str, Callable[[Session], Supposed]]:
    declaration = read_file(file)
    if pipeline not in (None, declaration.name):
        raise InvalidDeclaration(f"{file}: declares pipeline {declaration.name}, not {pipeline}")
    digests = digests_of(declaration, file)

    def change(session: Session) -> Applied:
        return apply(session, declaration, code_digests=digests, applied_by=app.settings.user, now=app.clock())

    return declaration.name, change


def _as_json(found: Plan, supposed: Supposed) -> dict[str, Any]:
    view, whole = found.pipeline, plain(found.cost)
    steps = {
        step.name: {**plain(found.counts.get(step.step_id, _NONE)), "cost": whole["steps"][step.name]}
        for step in view.steps
    }
    answer = {
        "pipeline": view.name,
        "revision": view.revision,
        "steps": steps,
        "sub_groups": found.listed,
        "cost": {key: value for key, value in whole.items() if key != "steps"},
        "capacity": {"free": found.capacity, "unknown": found.capacity_unknown},
    }
    if isinstance(supposed, Released):
        answer["release"] = supposed
    if isinstance(supposed, Applied):
        answer["differences"] = supposed.differences
    return answer


def _print_supposed(supposed: Supposed) -> None:
    if isinstance(supposed, Released):
        console.print(f"As if {supposed.software} {supposed.version} had been released:", markup=False)
        for line in explain(supposed) if supposed.changed else ("it is released already",):
            console.print(f"  {line}", markup=False)
    elif isinstance(supposed, Applied):
        console.print("As if this had been applied:")
        console.print(render_differences(supposed.differences) or "  nothing would change", markup=False)


def _print_counts(found: Plan) -> None:
    rows = []
    for step in found.pipeline.steps:
        count = found.counts.get(step.step_id, _NONE)
        reasons = ", ".join(f"{n} {reason.value}" for reason, n in sorted(count.reasons.items(), key=lambda r: -r[1]))
        rows.append((step.name, "+".join(step.group_by) or "all", count.now, count.afterwards, reasons or "no data"))
    columns = ["step", "per", "run now", "run after upstream", "reasons"]
    print_table(f"Plan of {found.pipeline.name} (revision {found.pipeline.revision})", columns, rows)


def _print_cost(found: Plan) -> None:
    whole = found.cost
    rows = [(name, *_cost_row(step)) for name, step in whole.steps.items() if step.runs]
    if not rows:
        console.print("Cost: nothing, there is nothing to run")
        return
    print_table("Cost", ["step", "runs", "core-hours", "wall time", "at most", "written", "basis"], rows)
    unknown = f" and what {', '.join(whole.unknown_bytes)} would write, unknown" if whole.unknown_bytes else ""
    console.print(
        f"In all {whole.runs} runs, {whole.core_hours:.2f} core-hours, about {duration_text(whole.wall_seconds)} "
        f"({' → '.join(whole.longest_path)}), {size_text(round(whole.written_bytes))} written{unknown}",
        markup=False,
    )
    if found.capacity_unknown:
        console.print(f"The location's capacity is left out: {found.capacity_unknown}", markup=False)


def _cost_row(step: StepCost) -> tuple[Any, ...]:
    cap = "no cap" if step.cap is None else f"{step.cap} at a time ({step.capped_by})"
    written = "unknown" if step.written_bytes is None else size_text(round(step.written_bytes))
    return step.runs, f"{step.core_hours:.2f}", duration_text(step.wall_seconds), cap, written, step.basis


def duration_text(seconds: float) -> str:
    """Return a duration in suitable units, e.g. "9.5 s", "90 min", "2 d 3 h"."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
