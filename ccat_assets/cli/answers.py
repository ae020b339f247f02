from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.markup import escape
from rich.tree import Tree
from sqlalchemy.orm import Session

from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready, size_text
from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.lineage.closure import Lineage, PackageNode, lineage_of
from ccat_models.pipeline.view import StepView, load_pipeline
from ccat_models.product.listing import find_run_of, list_products
from ccat_models.tables.base import RunId
from ccat_models.tables.pipelines import SubGroup
from ccat_models.tables.products import DataProductType


def products(
    pipeline: Annotated[str | None, typer.Argument(help="Only of this pipeline.")] = None,
    step: Annotated[str | None, typer.Argument(help="Only of this step.")] = None,
    sub_group: Annotated[str | None, typer.Argument(help="Only of this sub-group.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List data products, the newest first."""
    wanted = None if kind is None else _product_type(kind)
    with ready().ops_db.read() as session:
        if pipeline is not None:
            view = load_pipeline(session, pipeline)
            if step is not None:
                _known_sub_group(session, view.step(step), sub_group)
        rows = list_products(session, pipeline=pipeline, step=step, sub_group=sub_group, kind=wanted, limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ["id", "pipeline/step", "sub-group", "type", "path", "size", "sha256", "run"]
    print_table(
        "Products",
        columns,
        (
            (
                p.id,
                f"{p.pipeline}/{p.step}",
                p.sub_group,
                p.type,
                p.path,
                size_text(p.size_bytes),
                p.sha256[:12],
                p.run_id,
            )
            for p in rows
        ),
    )


def lineage(
    product: Annotated[str, typer.Argument(help="A product's number, or PIPELINE/STEP[/SUB_GROUP[/PATH]].")],
    as_json: AsJson = False,
) -> None:
    """Show what a product was made from, back to the raw files."""
    with ready().ops_db.read() as session:
        run_id = find_run_of(session, product)
        found = lineage_of(session, run_id)
        made = list_products(session, run_id=run_id)
    if as_json:
        print_json({"product": product, "run": run_id, "products": made, **_as_json(found)})
        return
    tree = Tree(_run_label(found, run_id), guide_style="dim")
    outputs = tree.add("[bold]products[/bold]")
    for row in made:
        outputs.add(f"{escape(row.path)}  {row.type.value}  {size_text(row.size_bytes)}  sha256 {row.sha256[:12]}…")
    _grow(tree, found, run_id, set())
    console.print(tree, soft_wrap=False)
    packages = {package.id for read in found.packages.values() for package in read}
    console.print(f"{len(found.runs)} runs, {len(packages)} raw packages")


def _grow(tree: Tree, found: Lineage, run_id: RunId, shown: set[RunId]) -> None:
    shown.add(run_id)
    for package in found.packages.get(run_id, ()):
        _add_package(tree, package)
    for producer in found.producers.get(run_id, ()):
        label = _run_label(found, producer)
        if producer in shown:
            tree.add(f"{label} [dim](shown above)[/dim]")
        else:
            _grow(tree.add(label), found, producer, shown)


def _add_package(tree: Tree, package: PackageNode) -> None:
    branch = tree.add(f"raw package [bold]{escape(package.name)}[/bold]  sha256 {package.checksum[:12]}…")
    for file in package.files:
        branch.add(f"raw file {escape(file.path)}  {size_text(file.size_bytes)}  sha256 {file.sha256[:12]}…")


def _run_label(found: Lineage, run_id: RunId) -> str:
    run = found.runs[run_id]
    digest = f" ({run.digest[:12]}…)" if run.digest else ""
    name = f"[bold]{run.pipeline}/{run.step}[/bold] {escape(run.sub_group)}"
    return f"{name}  run {run.id}  {run.software} {run.version}{digest}"


def _as_json(found: Lineage) -> dict[str, Any]:
    return {"runs": list(found.runs.values()), "producers": found.producers, "packages": found.packages}


def _known_sub_group(session: Session, step: StepView, key: str | None) -> None:
    keys = sa.select(SubGroup.key).where(SubGroup.partitioning_id == step.partitioning_id)
    if key is not None and session.scalar(keys.where(SubGroup.key == key)) is None:
        known = session.scalars(keys.order_by(SubGroup.key).limit(20)).all()
        raise NotFound(f"sub-group of step {step.name}", key, list(known))


def _product_type(text: str) -> DataProductType:
    try:
        return DataProductType(text)
    except ValueError:
        choices = ", ".join(member.value for member in DataProductType)
        raise InvalidDeclaration(f"--type: no product type {text!r}; choose from: {choices}") from None
