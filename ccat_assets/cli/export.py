import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ccat_assets.cli.output import error_console, ready
from ccat_assets.cli.output_file import disk_asked, in_place_of, write_lines
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration, Refused
from ccat_models.lineage.record_reading import read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.lineage.record_things import copies_here

CRATE = "ro-crate"
FORMATS = ("prov-json", "prov-n", "ivoa-votable", "ivoa-json", CRATE, "openlineage")


def export(
    what: Annotated[
        str,
        typer.Argument(help="A product (its number, or PIPELINE/STEP[/SUB_GROUP[/PATH]]), run:ID or pipeline:NAME."),
    ],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")],
    output: Annotated[Path | None, typer.Option(help="File; for ro-crate a directory or a .zip file.")] = None,
    with_files: Annotated[bool, typer.Option("--with-files", help="Copy the products' files (ro-crate).")] = False,
    license_text: Annotated[str, typer.Option("--license", help="License of the data, by name or URL (ro-crate).")] = (
        "not stated"
    ),
) -> None:
    """Write the provenance of products, a run or a pipeline in a standard format."""
    if form not in FORMATS:
        raise InvalidDeclaration(f"--format: no format {form!r}; choose from: {', '.join(FORMATS)}")
    if form == CRATE:
        if output is None:
            raise InvalidDeclaration(f"--format {CRATE} needs --output: a directory, or a file that ends in .zip")
        _write_crate(ready(), what, output, license_text, with_files=with_files)
    elif with_files:
        raise InvalidDeclaration(f"--with-files: only a {CRATE} holds files, {form} does not")
    else:
        _write_text(ready(), what, form, output)


def _write_text(app: Application, what: str, form: str, output: Path | None) -> None:
    from ccat_assets.provenance.formats import TextFormat, text_of  # astropy and prov take seconds

    with app.ops_db.read() as session:
        scope = find_scope(session, what)
        lines = text_of(session, scope, TextFormat(form), app.settings.openlineage_namespace)
        if output is None:
            sys.stdout.writelines(lines)
        else:
            write_lines(output, lines, form)


def _write_crate(app: Application, what: str, output: Path, license_text: str, *, with_files: bool) -> None:
    from ccat_assets.provenance import ro_crate_files as files  # takes seconds, likewise

    as_archive = output.suffix == ".zip"
    with disk_asked(output):
        taken = output.is_dir() if as_archive else output.exists() and not _is_empty_directory(output)
    if taken:
        raise Refused(f"--output {output}: exists, and is neither an archive nor an empty directory; choose another")
    with app.ops_db.read() as session:
        record = read_record(session, find_scope(session, what))
        declaration = files.declaration_of(session, record)
        copies = copies_here(session, record.products) if with_files else {}
    with in_place_of(output) as directory:
        crate = directory / "crate"
        crate.mkdir()
        files.write_crate(record, declaration, copies, crate, license_text=license_text, now=app.clock())
        if as_archive:
            Path(shutil.make_archive(str(directory / "export"), "zip", crate)).replace(output)
        else:
            crate.replace(output)
    absent = len(files.missing(record, copies)) if with_files else 0
    if absent:
        error_console.print(
            f"{absent} of {len(record.products)} products have no file on this machine: the crate only names them"
        )


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
