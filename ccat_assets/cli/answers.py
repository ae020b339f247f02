from typing import Annotated

import typer

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, print_json, print_table, ready
from ccat_assets.sizes import size_text
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.view import check_sub_group, load_pipeline
from ccat_models.product.listing import list_products
from ccat_models.tables.products import DataProductType


def products(
    pipeline: Annotated[str | None, typer.Argument(help="Only those of this pipeline.")] = None,
    step: Annotated[str | None, typer.Argument(help="Only those of this step.")] = None,
    sub_group: Annotated[str | None, typer.Argument(help="Only those of this sub-group.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only those of this type.")] = None,
    limit: Annotated[int, at_most("Maximum number of rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List data products, the newest first."""
    wanted = None if kind is None else _product_type(kind)
    with ready().ops_db.read() as session:
        if pipeline is not None:
            view = load_pipeline(session, pipeline)
            if step is not None:
                check_sub_group(session, view.step(step), sub_group)
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


def _product_type(text: str) -> DataProductType:
    try:
        return DataProductType(text)
    except ValueError:
        choices = ", ".join(member.value for member in DataProductType)
        raise InvalidDeclaration(f"--type: no product type {text!r}; choose from: {choices}") from None
