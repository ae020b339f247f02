"""Quality checks and decisions about them: `ccat quality`, `ccat waive`, `ccat taint`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ccat_assets.cli.options import PRODUCT, at_most
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration
from ccat_models.lineage.taint import TouchedStep, lift, list_taints
from ccat_models.lineage.taint import taint as taint_packages
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.quality import find_failing, list_checks
from ccat_models.product.quality import waive as waive_check

By = Annotated[str | None, typer.Option(help="Who decides it; left out: the user of the settings.")]


def quality(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    step: Annotated[str | None, typer.Argument(help="Name of the step; left out: all steps.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Include checks that passed.")] = False,
    limit: Annotated[int, at_most("Maximum number of rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the quality checks that failed, the newest run's first."""
    with ready().ops_db.read() as session:
        view = load_pipeline(session, pipeline)
        steps = [one.step_id for one in (view.steps if step is None else (view.step(step),))]
        found = list_checks(session, steps, failed_only=not everything, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = (
        (
            f"{one.step}/{one.sub_group}",
            one.run_id,
            one.check.name,
            "passed" if one.check.passed else "blocks" if one.check.blocks else "failed",
            one.check.finding,
            f"{one.check.waiver.waived_by}: {one.check.waiver.reason}" if one.check.waiver else "",
        )
        for one in found
    )
    print_table(f"Quality of {pipeline}", ["step/sub-group", "run", "check", "result", "finding", "waived"], rows)


def waive(
    product: Annotated[str, typer.Argument(help=PRODUCT)],
    check: Annotated[str, typer.Argument(help="Name of the check that failed; see `ccat quality`.")],
    reason: Annotated[str, typer.Option(help="Why the products are good enough.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Accept a run's products although a check failed; this is recorded in their lineage."""
    app = ready()
    with app.ops_db.request() as session:
        run_id = find_failing(session, product, check)
        row = waive_check(session, run_id, check, by=_decider(app, by), reason=reason, now=app.clock())
    if as_json:
        print_json({"run": run_id, "check": row})
        return
    console.print(f"run {run_id}: check {check} waived ({row.finding})", markup=False)
    if row.blocking:
        console.print("  its products count now; `ccat run` or the pipeline's trigger runs the steps that read them")


def taint(
    packages: Annotated[list[str] | None, typer.Argument(help="Names of raw data packages.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why they must not be used.")] = None,
    lifted: Annotated[bool, typer.Option("--lift", help="Allow their use again.")] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Mark raw packages, and all that was made from them, as not to be used; without names: list taints."""
    app = ready()
    if not packages:
        _list_taints(app, reason=reason, lifted=lifted, as_json=as_json)
        return
    if lifted == (reason is not None):
        raise InvalidDeclaration("give either --reason, to taint, or --lift, to use the packages again")
    names, decider = list(dict.fromkeys(packages)), _decider(app, by)
    with app.ops_db.request() as session:
        if reason is None:
            touched = lift(session, names, by=decider, now=app.clock())
        else:
            touched = taint_packages(session, names, reason=reason, by=decider, now=app.clock())
    if as_json:
        print_json({"packages": names, "tainted": not lifted, "touched": touched})
    else:
        _print_touched(names, touched, lifted=lifted)


def _print_touched(names: Sequence[str], touched: Sequence[TouchedStep], *, lifted: bool) -> None:
    shown = ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
    console.print(f"{'may be used again' if lifted else 'tainted'}: {shown}", markup=False)
    columns = ["pipeline/step", "runs that read them", "products", "in flight"]
    rows = ((f"{one.pipeline}/{one.step}", one.runs, one.products, one.in_flight) for one in touched)
    print_table("Counting again" if lifted else "Not counting any more", columns, rows)
    for pipeline in dict.fromkeys(one.pipeline for one in touched):
        console.print(f"  ccat plan {pipeline}   shows what will be run again", markup=False)


def _list_taints(app: Application, *, reason: str | None, lifted: bool, as_json: bool) -> None:
    if reason is not None:
        raise InvalidDeclaration("--reason: name the packages that it is for")
    with app.ops_db.read() as session:
        found = list_taints(session, with_lifted=lifted)
    if as_json:
        print_json(found)
        return
    rows = (
        (t.package, t.reason, t.tainted_by, f"{t.tainted_at:%Y-%m-%d %H:%M} UTC", t.lifted_by, t.lifted_at)
        for t in found
    )
    print_table("Tainted packages", ["package", "reason", "by", "since", "lifted by", "lifted"], rows)


def _decider(app: Application, by: str | None) -> str:
    if by is not None and not by.strip():
        raise InvalidDeclaration("--by: must not be empty")
    return by or app.settings.user
