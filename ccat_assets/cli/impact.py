"""`ccat impact`: everything that was made with or from a package, a product, a run or a software version."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ccat_assets.cli.json_stream import print_members
from ccat_assets.cli.options import at_most, number
from ccat_assets.cli.output import AsJson, console, print_table, ready
from ccat_assets.sizes import size_text
from ccat_models.lineage.impact import StepImpact, TouchedProduct, impact_by_step, touched_products
from ccat_models.lineage.start import Start, find_start
from ccat_models.tables.base import ProductId
from resources.ops_db import Session

_WHAT = (
    "A raw package's name, a product (number or PIPELINE/STEP[/SUB_GROUP[/PATH]]), or package:NAME, product:PRODUCT, "
    "run:ID, software:NAME[=VERSION], config:HASH, node:HOST."
)

_COLUMNS = ("pipeline/step", "runs", "products", "current", "superseded", "blocked", "gone", "evidence")


def impact(
    what: Annotated[str, typer.Argument(help=_WHAT)],
    limit: Annotated[
        int | None,
        at_most("Maximum number of products; default: 50 in a table, all in JSON.", least=0, show_default=False),
    ] = None,
    after: Annotated[int | None, number("Only products after this number: the next page.", least=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Show which products were made with or from something, and which of them are current."""
    from_product = None if after is None else ProductId(after)
    with ready().ops_db.read() as session:
        start = find_start(session, what)
        steps = impact_by_step(session, start)
        if as_json:
            print_members(_members(start, steps, touched_products(session, start, after=from_product, limit=limit)))
            return
        _print_steps(start, steps)
        _print_products(session, start, steps, 50 if limit is None else limit, from_product)


def _members(start: Start, steps: list[StepImpact], products: Iterator[TouchedProduct]) -> Iterator[tuple[str, Any]]:
    last: list[ProductId] = []

    def keeping_last() -> Iterator[TouchedProduct]:
        for product in products:
            last[:] = [product.id]
            yield product

    yield "kind", start.kind
    yield "name", start.name
    yield "steps", iter(steps)
    yield "products", keeping_last()
    yield "last", last[0] if last else None  # --after of the next page


def _print_steps(start: Start, steps: list[StepImpact]) -> None:
    rows = [(f"{step.pipeline}/{step.step}", *_counts(step)) for step in steps]
    if len(steps) > 1:
        rows.append(("in all", *map(sum, zip(*map(_counts, steps), strict=True))))
    print_table(f"Touched by {start.kind.value} {start.name}", _COLUMNS, rows)


def _counts(step: StepImpact) -> tuple[int, ...]:
    counted = (step.current_products, step.superseded_products, step.blocked_products, step.gone_products)
    return step.runs, step.products, *counted, step.evidence_products


def _print_products(
    session: Session, start: Start, steps: list[StepImpact], limit: int, after: ProductId | None
) -> None:
    rows = list(touched_products(session, start, after=after, limit=limit + 1))
    shown = rows[:limit]
    if not shown:
        return
    columns = ["id", "pipeline/step", "sub-group", "type", "path", "size", "run", ""]
    print_table("Products", columns, map(_cells, shown))
    if len(rows) > limit:
        total = sum(step.products for step in steps)
        console.print(f"{len(shown):,} of {total:,}; the next ones: --after {shown[-1].id}")


def _cells(product: TouchedProduct) -> tuple[Any, ...]:
    step, size = f"{product.pipeline}/{product.step}", size_text(product.size_bytes)
    return product.id, step, product.sub_group, product.type, product.path, size, product.run_id, product.validity
