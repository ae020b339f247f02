"""`ccat diff`: how the origins of two products differ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from ccat_assets.cli.options import PRODUCT, at_most
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.sizes import size_text
from ccat_models.lineage.comparison import Comparison, OutputPair, Pair, compare
from ccat_models.lineage.upstream import StepCompared
from ccat_models.lineage.ways import RunNode
from ccat_models.pipeline.digests import canonical_json
from ccat_models.product.listing import find_run_of


def diff(
    left: Annotated[str, typer.Argument(help=PRODUCT)],
    right: Annotated[str, typer.Argument(help="The product to compare it with.")],
    limit: Annotated[int, at_most("Maximum number of raw packages.", least=0)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show how two products differ: inputs, software, parameters, environment, files and metrics."""
    with ready().ops_db.read() as session:
        found = compare(session, find_run_of(session, left), find_run_of(session, right), most=limit)
    if as_json:
        print_json({"same": found.same, **{name: getattr(found, name) for name in found.__dataclass_fields__}})
    else:
        _print(found)


def _print(found: Comparison) -> None:
    for side, run in (("left", found.left), ("right", found.right)):
        console.print(f"{side:6}{_label(run)}", markup=False)
    console.print(f"{'same' if found.same else 'different'} origin\n")
    _print_inputs(found)
    sections = {
        "Software": found.software,
        "Parameters": found.parameters,
        "Environment": found.environment,
        "Execution": found.execution,
    }
    for title, pairs in sections.items():
        _section(title, ["", "left", "right"], ((pair.name, _cell(pair.left), _cell(pair.right)) for pair in pairs))
    _section("Files", ["path", "type", "left", "right"], map(_output_cells, found.outputs))
    _section("Quality metrics", ["name", "left", "right", "change"], map(_metric_cells, found.metrics))


def _print_inputs(found: Comparison) -> None:
    inputs = found.inputs
    shown = ((pair.name, _cell(pair.left), _cell(pair.right)) for pair in inputs.packages)
    _section("Raw packages, by checksum", ["package", "left", "right"], shown)
    if len(inputs.packages) < inputs.differing:
        console.print(f"… and {inputs.differing - len(inputs.packages):,} more\n")
    console.print(f"{inputs.left:,} raw packages left, {inputs.right:,} right, {inputs.differing:,} differ\n")
    columns = ["step", "shared", "only left", "only right", "replaced", "of these with other …"]
    changed = [step for step in found.upstream if step.only_left or step.only_right or step.replaced]
    _section("Upstream runs", columns, map(_step_cells, changed))


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    listed = list(rows)
    if listed:
        print_table(title, columns, listed)
        console.print()


def _label(run: RunNode) -> str:
    name = f"{run.pipeline}/{run.step} {run.sub_group}  run {run.id}"
    return f"{name}  {run.software} {run.version}  revision {run.revision}  {run.created_at:%Y-%m-%d %H:%M} UTC"


def _step_cells(step: StepCompared) -> tuple[Any, ...]:
    others = {
        "software": step.other_software,
        "parameters": step.other_parameters,
        "products": step.other_products,
    }
    changes = ", ".join(f"{name}: {count:,}" for name, count in others.items() if count)
    return f"{step.pipeline}/{step.step}", step.shared, step.only_left, step.only_right, step.replaced, changes


def _output_cells(pair: OutputPair) -> tuple[Any, ...]:
    return pair.path, pair.type, _file(pair.left), _file(pair.right)


def _file(file: Mapping[str, Any] | None) -> str:
    return "—" if file is None else f"{size_text(file['size_bytes'])} sha256 {file['sha256'][:12]}…"


def _metric_cells(pair: Pair) -> tuple[Any, ...]:
    if pair.left is None or pair.right is None:
        return pair.name, _cell(pair.left), _cell(pair.right), ""
    return pair.name, pair.left, pair.right, f"{pair.right - pair.left:+g}" if pair.left != pair.right else ""


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    return value if isinstance(value, str) else canonical_json(value)
