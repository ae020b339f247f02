import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ccat_assets.cli.options import PRODUCT
from ccat_assets.cli.output import AsJson, console, error_console, print_json, print_table, ready
from ccat_assets.cli.running import Interruption
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration, Refused
from ccat_models.lineage.completed import current_runs
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.copies import makers_of, select_named
from ccat_models.tables.base import RunId
from resources.product.comparison import FileComparison, FileFinding
from resources.product.reproduction import Reproducer
from resources.product.reproduction_report import Outcome, Reproduction, Surroundings
from resources.product.scratch_attempts import ProgressCallback


def reproduce(
    product: Annotated[list[str] | None, typer.Argument(help=PRODUCT)] = None,
    pipeline: Annotated[str | None, typer.Option(help="The current run of each sub-group of this pipeline.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the files of the repeated runs.")] = False,
    verify_inputs: Annotated[
        bool, typer.Option("--verify-inputs/--no-verify-inputs", help="First verify the inputs' checksums.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Repeat recorded runs in scratch directories and compare their files; exit code 1 if any differs."""
    app = ready()
    runs = _runs(app, product or [], pipeline)
    interruption = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM):  # the jobs are ended and their files removed
        signal.signal(number, interruption)
    with _progress(len(runs), quiet=as_json) as on_progress:
        reproducer = Reproducer(
            app.cluster, app.settings.poll_seconds, keep, verify_inputs, on_progress, interruption.sleep
        )
        found = reproducer.reproduce(runs)
    if as_json:
        print_json({"counts": _counts(found), "runs": found})
    else:
        _print(found)
    if any(one.outcome is not Outcome.IDENTICAL for one in found):
        raise typer.Exit(1)


def _runs(app: Application, products: list[str], pipeline: str | None) -> list[RunId]:
    if bool(products) == (pipeline is not None):
        raise InvalidDeclaration("say which products: PRODUCT… or --pipeline, one of the two")
    with app.ops_db.read() as session:
        if pipeline is not None:
            runs = current_runs(session, load_pipeline(session, pipeline).name)
        else:  # a run without products can be repeated, too
            selection = select_named(session, products, even_none=True)
            runs = sorted({*selection.run_ids, *makers_of(session, selection)})
    if not runs:
        raise Refused(f"pipeline {pipeline}: has no run that counts, so there is nothing to reproduce")
    return runs


def _counts(found: list[Reproduction]) -> dict[Outcome, int]:
    counted = Counter(one.outcome for one in found)
    return {outcome: counted[outcome] for outcome in Outcome}


def _print(found: list[Reproduction]) -> None:
    columns = ["run", "step", "sub-group", "outcome", "files", "recorded on", "now on", "message"]
    print_table("Reproduced", columns, map(_row, found))
    for one in found:
        for file in one.files:
            if file.finding is not FileFinding.IDENTICAL:
                console.print(f"run {one.run_id} {file.path}: {_difference(file)}", markup=False)
        if one.not_in_ops_db:
            fields = ", ".join(one.not_in_ops_db)
            console.print(f"run {one.run_id}: run with its original manifest; changed since: {fields}", markup=False)
        if one.kept is not None:
            console.print(f"run {one.run_id}: kept in {one.kept}", markup=False)
    summary = ", ".join(f"{number} {outcome.value}" for outcome, number in _counts(found).items() if number)
    console.print(f"{len(found)} runs: {summary or 'none'}")


def _row(one: Reproduction) -> tuple[object, ...]:
    identical = sum(file.finding is FileFinding.IDENTICAL for file in one.files)
    files = f"{identical} of {len(one.files)} identical" if one.files else ""
    step = f"{one.pipeline}/{one.step}"
    return one.run_id, step, one.sub_group, one.outcome, files, _where(one.recorded), _where(one.now), one.message


def _where(surroundings: Surroundings | None) -> str:
    if surroundings is None:
        return ""
    image = "" if surroundings.image_sha256 is None else f", image {surroundings.image_sha256[:12]}…"
    return f"{surroundings.host or '?'} ({surroundings.runtime or '?'}{image})"


def _difference(file: FileComparison) -> str:
    """Return how a file differs from the recorded one, as text."""
    if file.finding is not FileFinding.DIFFERS:
        return str(file.finding.value)
    sizes = f"{file.recorded_size_bytes} bytes sha256 {file.recorded_sha256}, now {file.size_bytes} bytes {file.sha256}"
    numbers = "".join(f"; {number.name} {number.recorded}, now {number.now}" for number in file.numbers)
    return f"differs: {sizes}{numbers}"


@contextmanager
def _progress(runs: int, *, quiet: bool) -> Iterator[ProgressCallback]:
    """Show progress on a terminal; yield the function that updates it."""
    progress = Progress(
        TextColumn("reproduce"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[running]} running"),
        TimeElapsedColumn(),
        console=error_console,
        disable=quiet or not error_console.is_terminal,
    )
    task = progress.add_task("", total=runs, running=0)

    def on_progress(ended: int, running: int) -> None:
        progress.update(task, completed=ended, running=running)

    with progress:
        yield on_progress
