from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ccat_assets.cli.options import PRODUCT
from ccat_assets.cli.output import AsJson, console, error_console, print_json, print_table, ready
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.copies import Selection, select_named
from resources.ops_db import OpsDb
from resources.product.verification import FINE, Finding, ProgressCallback, Verification, Verified, no_progress

_LISTED = 1000


def verify(
    product: Annotated[list[str] | None, typer.Argument(help=PRODUCT)] = None,
    pipeline: Annotated[str | None, typer.Option(help="All products of this pipeline.")] = None,
    step: Annotated[str | None, typer.Option(help="Only those of this step (with --pipeline).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All products.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Also the raw files that the products were made from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare files with their registered size and sha256, where they are; exit code 1 if one is not as registered.

    Purged products are reported with exit code 0, and so are raw files whose package was delivered again since.
    """
    app = ready()
    selection = select(app.ops_db, product or [], pipeline, step, everything=everything)
    with _progress(quiet=as_json) as (progress, on_progress):
        verification = Verification(app.cluster, on_progress)
        files, size_bytes = verification.extent(selection, raw=raw)
        progress.add_task("verify", total=size_bytes, files=0, of=files)
        found = verification.products(selection)
        counts, listed = _sort(chain(found, verification.raw(selection)) if raw else found, whole=selection.is_named)
    if as_json:
        print_json({"counts": {finding: counts[finding] for finding in Finding}, "files": listed})
    else:
        _print(counts, listed)
    if any(finding not in FINE for finding in counts):
        raise typer.Exit(1)


def select(
    ops_db: OpsDb, products: list[str], pipeline: str | None, step: str | None, *, everything: bool = False
) -> Selection:
    """Return the products that a command's arguments select; raise InvalidDeclaration if they contradict."""
    if step is not None and pipeline is None:
        raise InvalidDeclaration("--step needs --pipeline: whose step?")
    if sum((bool(products), pipeline is not None, everything)) != 1:
        raise InvalidDeclaration("say which products: PRODUCT…, --pipeline or --all, one of these")
    with ops_db.read() as session:
        if products:
            return select_named(session, products)
        if pipeline is not None:
            view = load_pipeline(session, pipeline)
            if step is not None:
                view.step(step)
    return Selection(pipeline=pipeline, step=step)


def _sort(found: Iterator[Verified], *, whole: bool) -> tuple[Counter[Finding], list[Verified]]:
    """Return the number of files by finding, and the files to list: all with `whole`, else those with a problem."""
    counts: Counter[Finding] = Counter()
    listed: list[Verified] = []
    for one in found:
        counts[one.finding] += 1
        if (whole or one.finding not in FINE) and len(listed) < _LISTED:
            listed.append(one)
    return counts, listed


def _print(counts: Counter[Finding], listed: list[Verified]) -> None:
    rows = ((one.product_id or "raw", one.owner, one.path, one.finding, one.detail) for one in listed)
    if listed:
        print_table("Files", ["product", "of", "path", "finding", "detail"], rows)
    for one in listed:
        if one.remedy:
            console.print(f"{one.owner} {one.path}: {one.remedy}", markup=False)
    summary = ", ".join(f"{counts[finding]} {finding.value}" for finding in Finding if counts[finding])
    bad = sum(number for finding, number in counts.items() if finding not in FINE)
    more = f"; the first {_LISTED} are listed" if len(listed) == _LISTED else ""
    console.print(f"{counts.total()} files: {summary or 'none'}{more if bad else ''}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Progress, ProgressCallback]]:
    """Show progress on a terminal; yield the display and the function that updates it."""
    progress = Progress(
        TextColumn("{task.description} {task.fields[files]}/{task.fields[of]} files"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=error_console,
        disable=quiet or not error_console.is_terminal,
    )

    def on_progress(files: int, size_bytes: int) -> None:
        task = progress.tasks[0]
        progress.update(task.id, advance=size_bytes, files=task.fields["files"] + files)

    with progress:
        yield progress, no_progress if progress.disable else on_progress
