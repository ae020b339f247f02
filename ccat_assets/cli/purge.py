"""`ccat purge` frees space, `ccat regenerate` produces purged products again."""

import signal
import sys
from typing import Annotated

import typer

from ccat_assets.cli.options import PRODUCT
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.cli.running import Interruption
from ccat_assets.cli.space import print_kept
from ccat_assets.sizes import size_text
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration, Refused
from ccat_models.product.copies import makers_of, select_named
from ccat_models.product.space import By, Scope, read_space
from ccat_models.raw.staging import read_staged
from ccat_models.run.regenerated import Regenerated, outcomes
from ccat_models.tables.base import RunId
from ccat_models.tables.space import NOT_THERE, SpaceState
from resources.request.ensure import RequestOptions
from resources.request.regeneration import Regenerator, purged_here, request_again
from resources.space.plan import Plan, kept, plan
from resources.space.purging import Freed
from resources.space.room import make_room, usage
from resources.workspace.watermarks import Amount

What = Annotated[list[str], typer.Argument(help=PRODUCT)]
_GOALS = "--to SIZE|PERCENT, --free SIZE|PERCENT or --all"


def purge(
    to: Annotated[str | None, typer.Option(help="Until no more than this is used, e.g. '100 TB' or '70 %'.")] = None,
    free: Annotated[str | None, typer.Option(help="Until this much more is free, e.g. '500 GB'.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that may be removed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove products that can be regenerated, and staged raw data; without a goal, down to the low watermark."""
    app = ready()
    wanted_bytes = _wanted(app, to, free, everything=everything)
    is_asked = not (yes or as_json) and sys.stdin.isatty()
    if not (dry_run or yes or is_asked):
        raise Refused("no terminal to ask on: say --dry-run to see what would be removed, or --yes to remove it")
    found, freed = plan(app.cluster, wanted_bytes), None
    if not as_json:
        _print_plan(found)
    is_wanted = not dry_run and (not is_asked or (found.size_bytes > 0 and typer.confirm("Remove this?")))
    if is_wanted:
        freed = make_room(app.cluster, wanted_bytes, by=app.settings.user, reason="ccat purge")
    held = kept(app.cluster)
    if as_json:
        print_json({"plan": found, "freed": freed, "kept": held})
        return
    if freed is not None:
        _print_freed(freed)
    if (found.size_bytes if freed is None else freed.freed_bytes) < wanted_bytes:
        if not everything:
            console.print(f"that is less than the {size_text(wanted_bytes)} that are wanted:")
        print_kept(held)


def regenerate(
    what: What,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the products are there again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Regenerate purged products. Without --wait the daemon advances the runs; each call requests the next steps."""
    app = ready()
    with app.ops_db.read() as session:
        run_ids = makers_of(session, select_named(session, what))
    purged = purged_here(app.cluster, run_ids)
    requested = _wait(app, purged) if wait and purged else _request(app, purged)
    with app.ops_db.read() as session:
        found = outcomes(session, run_ids)
    if as_json:
        print_json({"requested": requested, "runs": found})
    else:
        _print_regenerated(requested, found, wait=wait)
    if wait and any(one.state in (*NOT_THERE, SpaceState.LOST) for one in found):
        raise typer.Exit(1)


def _wanted(app: Application, to: str | None, free: str | None, *, everything: bool) -> int:
    """Return how many bytes to free.

    Raises InvalidDeclaration for more than one goal, and for none where no low watermark is set.
    """
    if sum((to is not None, free is not None, everything)) > 1:
        raise InvalidDeclaration(f"say one of {_GOALS}")
    if everything:
        return _all_bytes(app)
    used = usage(app.cluster)
    if free is not None:
        return Amount.parse(free).of(used.limit_bytes)
    goal = used.goal_bytes if to is None else Amount.parse(to).of(used.limit_bytes)
    if goal is None:
        raise InvalidDeclaration(f"no low watermark is set (setting space_low): say {_GOALS}")
    return max(0, used.used_bytes - goal)


def _all_bytes(app: Application) -> int:
    location_id = app.cluster.location_id
    with app.ops_db.read() as session:
        rows = read_space(session, By.LOCATION, Scope(location_id))
        return read_staged(session, location_id).size_bytes + sum(row.removable_bytes for row in rows)


def _print_plan(found: Plan) -> None:
    rows: list[tuple[object, ...]] = [
        (f"{step.pipeline}/{step.step}", step.runs, size_text(step.size_bytes), f"{step.oldest_use:%Y-%m-%d %H:%M} UTC")
        for step in found.steps
    ]
    if found.staged_packages:
        rows.insert(0, ("staged raw data", f"{found.staged_packages} packages", size_text(found.staged_bytes), ""))
    print_table("To be removed", ["step", "runs", "size", "oldest use"], rows)


def _print_freed(freed: Freed) -> None:
    purge_id = "" if freed.purge_id is None else f" (purge {freed.purge_id})"
    console.print(f"freed {size_text(freed.freed_bytes)}: products of {freed.freed_runs} runs{purge_id}")
    if freed.problem is not None:
        left = size_text(freed.left_bytes)
        console.print(f"{left} could not be removed yet, and will be tried again: {freed.problem}", markup=False)


def _request(app: Application, purged: dict[str, list[RunId]]) -> int:
    options = RequestOptions(by=app.settings.user, retry=True)
    answers = [request_again(app.cluster, pipeline, runs, options) for pipeline, runs in purged.items()]
    return sum(len(answer.inputs) for by_step in answers for answer in by_step.values())


def _wait(app: Application, purged: dict[str, list[RunId]]) -> int:
    interruption = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM):  # the runs that only this command wants are cancelled
        signal.signal(number, interruption)
    executor, poll_seconds = app.executor, app.settings.poll_seconds
    regenerator = Regenerator(executor, executor.holder, poll_seconds, sleep=interruption.sleep)
    done = [regenerator.make_again(pipeline, runs, app.settings.user) for pipeline, runs in purged.items()]
    return sum(len(outcome.regenerating) for outcome in done)


def _print_regenerated(requested: int, found: list[Regenerated], *, wait: bool) -> None:
    rows = (
        (one.run_id, f"{one.pipeline}/{one.step}", one.sub_group, one.state, one.made_by, one.last_try) for one in found
    )
    print_table("Products", ["run", "step", "sub-group", "state", "regenerated by", "last try"], rows)
    for one in found:
        if one.tainted:
            console.print(
                f"run {one.run_id} is tainted: its regenerated products do not count until the taint is lifted"
            )
    in_flight = "" if wait else " in flight; repeat the command once they have ended, or add --wait"
    console.print(f"{requested} runs to regenerate products{in_flight if requested else ''}")
