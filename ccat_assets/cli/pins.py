"""`ccat pin`, `ccat unpin`, `ccat pins`: products that are never purged."""

from typing import Annotated

import typer

from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.cli.purge import What
from ccat_assets.sizes import size_text
from ccat_models.product import pins as pins_of
from ccat_models.product.copies import select_named
from ccat_models.tables.space import NOT_THERE
from resources.space import purging


def pin(
    what: What,
    reason: Annotated[str, typer.Option(help="Why they are to be kept.")],
    as_json: AsJson = False,
) -> None:
    """Keep products, whatever the retention of their step says; repeating it changes nothing."""
    app = ready()
    done = purging.pin(app.cluster, what, reason=reason, by=app.settings.user)
    if as_json:
        print_json(done)
        return
    console.print(f"{done.pinned} products pinned, {done.already} were pinned already")
    for run_id, state in done.not_there.items():
        remedy = ": `ccat regenerate` restores them" if state in NOT_THERE else ""
        console.print(f"the products of run {run_id} are {state.value}{remedy}")


def unpin(what: What, as_json: AsJson = False) -> None:
    """Remove pins: the retention of the step decides again whether its products may be purged."""
    app = ready()
    with app.ops_db.write() as session:
        count = pins_of.unpin(session, select_named(session, what), by=app.settings.user, now=app.clock())
    if as_json:
        print_json({"unpinned": count})
        return
    console.print(f"{count} products unpinned")


def pins(as_json: AsJson = False) -> None:
    """List what is pinned, the newest first."""
    with ready().ops_db.read() as session:
        found = pins_of.list_pins(session)
    if as_json:
        print_json(found)
        return
    columns = ["run", "step", "sub-group", "products", "size", "state", "reason", "by", "at"]
    rows = (
        (
            one.run_id,
            f"{one.pipeline}/{one.step}",
            one.sub_group,
            one.products,
            size_text(one.size_bytes),
            one.state,
            one.reason,
            one.pinned_by,
            one.pinned_at,
        )
        for one in found
    )
    print_table("Pins", columns, rows)
