from typing import Annotated

import typer

from ccat_assets.cli.output import AsJson, console, plain, print_json, print_table, ready
from ccat_models.run.circuit import Circuit, list_circuits, reset_circuit


def list_all(as_json: AsJson = False) -> None:
    """List the steps' circuits: how often each step failed in a row, and whether it may request runs."""
    with ready().ops_db.request() as session:
        found = list_circuits(session)
    if as_json:
        print_json([_as_json(circuit) for circuit in found])
        return
    rows = (
        (
            f"{c.pipeline}/{c.step}",
            f"{c.failures} of {c.threshold}",
            "open" if c.is_open else "closed",
            c.open_since,
            f"run {c.last_failed_run}: {c.last_failure}" if c.last_failed_run else "",
        )
        for c in found
    )
    print_table("Circuits", ["pipeline/step", "failures in a row", "circuit", "since", "last failure"], rows)


def reset(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    step: Annotated[str, typer.Argument(help="Name of the step.")],
    as_json: AsJson = False,
) -> None:
    """Close a step's circuit: the failures so far no longer count."""
    app = ready()
    with app.ops_db.request() as session:
        was = reset_circuit(session, pipeline, step, by=app.settings.user, now=app.clock())
    if as_json:
        print_json({"changed": was.is_open, "was": _as_json(was)})
        return
    if not was.is_open:
        tally = f"{was.failures} science failures in a row, it opens at {was.threshold}"
        console.print(f"{pipeline}/{step}: its circuit is closed already ({tally}); nothing changed", markup=False)
        return
    console.print(f"{pipeline}/{step}: circuit closed after {was.failures} science failures in a row", markup=False)
    console.print(f"  failed sub-groups are tried again by `ccat retry RUN`, the others by `ccat run {pipeline}`")


def _as_json(circuit: Circuit) -> dict[str, object]:
    return {**plain(circuit), "open": circuit.is_open}
