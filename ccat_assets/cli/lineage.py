"""`ccat lineage`: what a product was made from, as a tree, as JSON or as a picture."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from ccat_assets.cli.json_stream import Entries, print_members
from ccat_assets.cli.lineage_tree import tree_lines
from ccat_assets.cli.options import PRODUCT
from ccat_assets.cli.output import AsJson, console, ready
from ccat_assets.cli.output_file import write_lines
from ccat_models.errors import InvalidDeclaration
from ccat_models.lineage.closure import ancestor_runs, lineage_of, packages_read, producers_read
from ccat_models.lineage.summary import summary_of
from ccat_models.product.listing import find_run_of, list_products
from ccat_models.tables.base import RunId
from resources.ops_db import Session

_LISTED = 10  # entries of each list, without --all


def lineage(
    product: Annotated[str, typer.Argument(help=PRODUCT)],
    everything: Annotated[bool, typer.Option("--all", help="Show long lists whole.")] = False,
    as_dot: Annotated[bool, typer.Option("--dot", help="Print a graph for Graphviz.")] = False,
    as_svg: Annotated[bool, typer.Option("--svg", help="Print a picture.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the graph or picture into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a product was made from, back to the raw files."""
    _check(as_json=as_json, as_dot=as_dot, as_svg=as_svg, output=output)
    with ready().ops_db.read() as session:
        run_id = find_run_of(session, product)
        if as_dot or as_svg:
            _deliver(_picture(session, run_id, as_dot=as_dot), output, "a graph" if as_dot else "a picture")
        elif as_json:
            print_members(_members(session, product, run_id))
        else:
            _print_tree(session, run_id, None if everything else _LISTED)


def _check(*, as_json: bool, as_dot: bool, as_svg: bool, output: Path | None) -> None:
    if as_json + as_dot + as_svg > 1:
        raise InvalidDeclaration("--json, --dot, --svg: choose one of them")
    if output is not None and not (as_dot or as_svg):
        raise InvalidDeclaration(f"--output {output}: is for --dot or --svg")


def _picture(session: Session, run_id: RunId, *, as_dot: bool) -> str:
    from ccat_assets.provenance.lineage_picture import dot, picture_of
    from ccat_assets.provenance.lineage_svg import svg

    picture = picture_of(session, run_id)
    return dot(picture) if as_dot else svg(picture)


def _deliver(text: str, output: Path | None, what: str) -> None:
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_lines(output, [text], what)
        console.print(f"written: {output}", markup=False)


def _members(session: Session, product: str, run_id: RunId) -> Iterator[tuple[str, Any]]:
    yield "product", product
    yield "run", run_id
    yield "products", iter(list_products(session, run_id=run_id))
    yield "runs", ancestor_runs(session, run_id)
    yield "producers", Entries(producers_read(session, run_id))
    by_run = groupby(packages_read(session, run_id), itemgetter(0))
    yield "packages", Entries((reader, (package for _, package in read)) for reader, read in by_run)


def _print_tree(session: Session, run_id: RunId, most: int | None) -> None:
    for line in tree_lines(lineage_of(session, run_id, most=most), list_products(session, run_id=run_id), most):
        console.print(line)
    summary = summary_of(session, run_id)
    console.print(f"{summary.runs:,} runs, {summary.packages:,} raw packages")
