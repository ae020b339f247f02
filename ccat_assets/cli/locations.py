import re
from pathlib import PurePosixPath
from typing import Annotated

import typer

from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.operate.archiving import archive_packages
from ccat_assets.sizes import size_text
from ccat_assets.wiring.s3_credentials import s3_variables
from ccat_models.errors import InvalidDeclaration, Refused
from ccat_models.raw.locations import add_location, all_locations, list_locations, where
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.places import DataLocation, DiskDataLocation, LocationType, S3DataLocation
from resources.ops_db import Session

_TYPES = ", ".join(kind.value for kind in LocationType)
_S3 = re.compile(r"(https?://[^/\s@?#]+)/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([^\s?#]*[^\s?#/]))?/?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """List data locations, with the copies that can be read there."""
    if context.invoked_subcommand is not None:
        return
    app = ready()
    with app.ops_db.read() as session:
        found = list_locations(session)
    if as_json:
        print_json(found)
        return
    rows = ((row.name, row.type, row.storage, row.where, row.copies, size_text(row.size_bytes)) for row in found)
    print_table("Data locations", ["name", "type", "storage", "where", "copies", "size"], rows)


def add(
    name: Annotated[str, typer.Argument(help="Name of the new data location.")],
    s3: Annotated[str | None, typer.Option(help="ENDPOINT/BUCKET[/PREFIX] of an object store.")] = None,
    path: Annotated[str | None, typer.Option(help="Directory on a disk.")] = None,
    host: Annotated[str, typer.Option(help="Host of the disk; default: the one of the processing location.")] = "",
    kind: Annotated[str, typer.Option("--type", help=f"What it is for: {_TYPES}.")] = "long_term_archive",
    as_json: AsJson = False,
) -> None:
    """Add a data location; repeating it changes nothing."""
    if (s3 is None) == (path is None):
        raise InvalidDeclaration("give either --s3 ENDPOINT/BUCKET[/PREFIX] or --path DIR, one of the two")
    if not _NAME.fullmatch(name):
        raise InvalidDeclaration(f"NAME: must be 1 to 100 of A-Z a-z 0-9 . _ -, got {name!r}")
    location = _s3_location(s3, host) if s3 is not None else _disk_location(path or "", host)
    location.name, location.location_type = name, _type(kind)
    _check_lengths(location)
    app = ready()
    with app.ops_db.write() as session:
        is_new = _add(session, location)
    variables = s3_variables(name) if s3 is not None else ()
    if as_json:
        print_json({"name": name, "added": is_new, "where": where(location), "variables": list(variables)})
        return
    console.print(f"{name}: {where(location)}: {'added' if is_new else 'exists already'}", markup=False)
    if variables:
        console.print(f"its credentials are read from {' and '.join(variables)}", markup=False)


def archive(
    packages: Annotated[list[str], typer.Argument(help="Packages whose unpacked files are on this machine.")],
    to: Annotated[str, typer.Option(help="Data location to copy them to.")],
    as_json: AsJson = False,
) -> None:
    """Pack packages and copy them into an archive, verified; those that are there already are not copied again."""
    done = archive_packages(ready(), packages, to)
    if as_json:
        print_json(done)
        return
    for one in done:
        console.print(f"{one.package}: {one.path} {'is in' if one.copied else 'was in'} {one.location}", markup=False)


def _s3_location(text: str, host: str) -> S3DataLocation:
    found = _S3.fullmatch(text)
    if not found:
        raise InvalidDeclaration(
            f"--s3: must be ENDPOINT/BUCKET[/PREFIX], e.g. https://s3.example.org/raw, got {text!r}"
        )
    if host:
        raise InvalidDeclaration(f"--host: goes with --path, an object store has none; got {host!r}")
    return S3DataLocation(storage_type="s3", endpoint_url=found[1], bucket=found[2], prefix=found[3] or "")


def _disk_location(path: str, host: str) -> DiskDataLocation:
    if not PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise InvalidDeclaration(f"--path: must be an absolute path without '..', got {path!r}")
    return DiskDataLocation(storage_type="disk", path=str(PurePosixPath(path)), host=host)


def _check_lengths(location: S3DataLocation | DiskDataLocation) -> None:
    if isinstance(location, DiskDataLocation):
        check_fits("--path", location.path, DiskDataLocation.path)
        check_fits("--host", location.host, DiskDataLocation.host)
    else:
        check_fits("--s3: ENDPOINT", location.endpoint_url, S3DataLocation.endpoint_url)
        check_fits("--s3: PREFIX", location.prefix, S3DataLocation.prefix)


def _type(text: str) -> LocationType:
    try:
        return LocationType(text)
    except ValueError:
        raise InvalidDeclaration(f"--type: unknown type {text!r}; choose from: {_TYPES}") from None


def _add(session: Session, location: DataLocation) -> bool:
    """Add a location; return False if it exists already. Raises Refused where another location has its name."""
    for known in all_locations(session):
        if known.name == location.name:
            if (where(known), known.location_type) != (where(location), location.location_type):
                there = f"{where(known)} for {known.location_type.value}"
                raise Refused(f"data location {known.name!r} is {there}: choose another name")
            return False
        both_s3 = isinstance(known, S3DataLocation) and isinstance(location, S3DataLocation)
        if both_s3 and s3_variables(known.name) == s3_variables(location.name):
            shared = " and ".join(s3_variables(known.name))
            raise Refused(f"data location {known.name!r} reads its credentials from {shared} too: choose another name")
    add_location(session, location)
    return True
