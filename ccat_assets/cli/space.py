"""`ccat space`: what takes space, what a purge would free, what is kept and why, and whether rows and disk agree."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.cli.space_check import check_space
from ccat_assets.sizes import size_text
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.kept import Held
from ccat_models.product.space import By, PurgeRow, Scope, SpaceRow, list_purges, location_name, read_space
from ccat_models.raw.staging import Staged, read_staged
from resources.space.plan import Plan, kept, plan
from resources.space.room import Usage, usage

_BAR = 20  # characters
_BYS = ", ".join(by.value for by in By)


def space(
    of: Annotated[str | None, typer.Argument(help="Only products of PIPELINE or PIPELINE/STEP.")] = None,
    by: Annotated[str, typer.Option(help=f"One row for each of: {_BYS}.")] = By.STEP.value,
    limit: Annotated[int, at_most("Maximum number of rows; the largest are listed.")] = 50,
    history: Annotated[bool, typer.Option("--history", help="List the purges instead, the newest first.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare rows with the disk instead.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired (with --check).")] = False,
    even_if_most_is_missing: Annotated[
        bool, typer.Option("--even-if-most-is-missing", help="Repair although many runs lack files (with --repair).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how much space products take, what a purge would free, and why the rest is kept."""
    if repair and not check:
        raise InvalidDeclaration("--repair needs --check: what should be repaired?")
    if even_if_most_is_missing and not repair:
        raise InvalidDeclaration("--even-if-most-is-missing needs --check --repair")
    if sum((of is not None, history, check)) > 1:
        raise InvalidDeclaration("say either PIPELINE[/STEP], --history or --check, one of these")
    summed = _by(by)
    app = ready()
    if check:
        check_space(app, repair=repair, even_if_most_is_missing=even_if_most_is_missing, as_json=as_json)
    elif history:
        _show_history(app, limit, as_json=as_json)
    elif of is not None:
        _show_part(app, of, summed, limit, as_json=as_json)
    else:
        _show_all(app, summed, limit, as_json=as_json)


def print_kept(held: Sequence[Held]) -> None:
    """Print how much is kept for which cause, and how much may be purged."""
    rows = [(one.cause.value if one.cause else "may go", one.runs, size_text(one.size_bytes)) for one in held]
    print_table("Kept, and why", ["cause", "runs", "size"], rows)


def _show_all(app: Application, by: By, limit: int, *, as_json: bool) -> None:
    cluster = app.cluster
    used, held = usage(cluster), kept(cluster)
    low = used.goal_bytes
    goal = None if low is None else plan(cluster, max(0, used.used_bytes - low))
    with app.ops_db.read() as session:
        name = location_name(session, cluster.location_id)
        scope = Scope() if by is By.LOCATION else Scope(cluster.location_id)
        rows, staged = read_space(session, by, scope, limit=limit), read_staged(session, cluster.location_id)
    if as_json:
        print_json({"location": name, "usage": used, "staged": staged, "rows": rows, "purge": goal, "kept": held})
        return
    _print_usage(name, used, staged)
    _print_rows(rows, by)
    print_kept(held)
    _print_goal(goal)


def _show_part(app: Application, of: str, by: By, limit: int, *, as_json: bool) -> None:
    pipeline, _, step = of.partition("/")
    with app.ops_db.read() as session:
        view = load_pipeline(session, pipeline)
        if step:
            view.step(step)
        rows = read_space(session, by, Scope(pipeline=pipeline, step=step or None), limit=limit)
    if as_json:
        print_json({"rows": rows})
        return
    _print_rows(rows, by)


def _show_history(app: Application, limit: int, *, as_json: bool) -> None:
    with app.ops_db.read() as session:
        purges = list_purges(session, limit=limit)
    if as_json:
        print_json(purges)
        return
    columns = ["purge", "location", "at", "by", "reason", "wanted", "freed", "runs", "state"]
    print_table("Purges", columns, map(_purge_row, purges))


def _purge_row(row: PurgeRow) -> tuple[object, ...]:
    state = "done" if row.finished_at else f"{row.marked_runs - row.freed_runs} runs to go"
    state = f"{state}: {row.problem}" if row.problem else state
    sizes = size_text(row.wanted_bytes), size_text(row.freed_bytes)
    at = f"{row.marked_at:%Y-%m-%d %H:%M} UTC"
    return row.id, row.location, at, row.requested_by, row.reason, *sizes, row.freed_runs, state


def _print_usage(name: str, used: Usage, staged: Staged) -> None:
    part = used.used_bytes / used.limit_bytes if used.limit_bytes else 0.0
    marks = {"high": used.high_bytes, "low": used.low_bytes}
    limits = "".join(f", {mark} {size_text(size)}" for mark, size in marks.items() if size is not None)
    whole = "the limit" if used.is_limited else "the file system"
    sizes = f"{size_text(used.used_bytes)} of {size_text(used.limit_bytes)}"
    console.print(f"{name}: {_bar(part)} {sizes} of {whole} used ({part:.0%}){limits}", markup=False)
    if staged.packages:
        console.print(f"staged raw data: {staged.packages} packages, {size_text(staged.size_bytes)}")


def _print_rows(rows: Sequence[SpaceRow], by: By) -> None:
    largest = max((row.size_bytes for row in rows), default=0) or 1
    columns = [by.value, "", "size", "removable", "runs", "purged", "gone"]
    print_table("Products", columns, ((*_cells(row, largest),) for row in rows))


def _cells(row: SpaceRow, largest: int) -> tuple[object, ...]:
    step = None if row.step is None else f"{row.pipeline}/{row.step}"
    names = (row.location, step, row.sub_group, None if row.state is None else row.state.value)
    name = " ".join(name for name in names if name is not None)
    sizes = size_text(row.size_bytes), size_text(row.removable_bytes)
    return name, _bar(row.size_bytes / largest), *sizes, row.runs, row.purged_runs, size_text(row.gone_bytes)


def _print_goal(goal: Plan | None) -> None:
    if goal is None:
        console.print("no watermark is set: products are purged on demand, or by `ccat purge`")
    elif goal.wanted_bytes:
        runs, size = sum(step.runs for step in goal.steps), size_text(goal.size_bytes)
        staged = f" and {goal.staged_packages} staged packages" if goal.staged_packages else ""
        wanted = size_text(goal.wanted_bytes)
        console.print(f"`ccat purge` would free {size} of {wanted}, down to the low watermark: {runs} runs{staged}")


def _bar(part: float) -> str:
    full = round(min(max(part, 0.0), 1.0) * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _by(text: str) -> By:
    try:
        return By(text)
    except ValueError:
        raise InvalidDeclaration(f"--by: no rows for each {text!r}; choose from: {_BYS}") from None
