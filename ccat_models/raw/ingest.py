import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.errors import InvalidDeclaration
from ccat_models.fingerprint import Lanes, files_checksum
from ccat_models.raw.catalogue import Catalogue, PackageEntry
from ccat_models.raw.observations import register_observations
from ccat_models.tables.places import READABLE, PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.raw_data import PackageState, RawDataFile, RawDataPackage

_ROWS = 5_000  # in one statement
_FILES = uuid.UUID("6d5a2d53-9c42-4a3f-9c2a-0f4c6a1a3f10")  # namespace of the UUIDs of raw files


@dataclass(frozen=True)
class MeasuredFile:
    """A raw file and what was measured of it; the path is relative to its package."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class IngestReport:
    """How many packages an ingest added, changed, withdrew, and left unchanged."""

    added: int
    changed: int
    withdrawn: int
    unchanged: int


@dataclass(frozen=True)
class _Known:
    id: int
    checksum: str | None
    state: PackageState
    metadata: Mapping[str, Any]
    executed_obs_unit_id: int
    instrument_module_id: int
    created_at: datetime


def ingest(
    session: Session,
    catalogue: Catalogue,
    measured: Mapping[str, Sequence[MeasuredFile]],
    *,
    location_id: int,
    now: datetime,
) -> IngestReport:
    """Register a catalogue and the measured files of its packages (package name → files) at a location.

    A second ingest of the same catalogue changes nothing. A package with other files, state or metadata is updated. The
    number of statements does not grow with every package: rows are written thousands at a time. Raises
    InvalidDeclaration, with nothing changed, for an archived package without files, and for an entry that ops-db has
    with other values.
    """
    for i, package in enumerate(catalogue.packages):
        if package.state is PackageState.ARCHIVED and not measured.get(package.name):
            raise InvalidDeclaration(
                f"packages[{i}].path: archived package {package.name!r} has no file in {package.path}"
            )
    ids = register_observations(session, catalogue)
    known = _known_packages(session, [package.name for package in catalogue.packages])
    new = [package for package in catalogue.packages if package.name not in known]
    rows = {package.name: _row(package, measured.get(package.name, ()), ids, now) for package in catalogue.packages}
    _check_identity(catalogue, known, rows, ids)
    changed = [p for p in catalogue.packages if p.name in known and _differs(known[p.name], rows[p.name])]
    _insert_packages(session, [rows[package.name] for package in new])
    _update_packages(session, [{"id": known[p.name].id, **_changing(rows[p.name])} for p in changed])
    _insert_files(session, [*new, *changed], measured, ids)
    with_files = [package for package in catalogue.packages if measured.get(package.name)]
    _forget_copies(session, [known[p.name].id for p in changed if measured.get(p.name)])
    _record_copies(session, with_files, location_id, now)
    withdrawn = sum(
        known[p.name].state is PackageState.ARCHIVED and p.state is not PackageState.ARCHIVED for p in changed
    )
    unchanged = len(catalogue.packages) - len(new) - len(changed)
    return IngestReport(len(new), len(changed) - withdrawn, withdrawn, unchanged)


def _known_packages(session: Session, names: Sequence[str]) -> dict[str, _Known]:
    table = RawDataPackage
    known = {}
    for chunk in chunks(names, _ROWS):
        query = (
            sa.select(table.name, table.id, table.checksum, table.state, table.metadata_)
            .add_columns(table.executed_obs_unit_id, table.instrument_module_id, table.created_at)
            .where(table.name.in_(chunk))
        )
        known.update({name: _Known(*rest) for name, *rest in session.execute(query).tuples()})
    return known


def _row(
    package: PackageEntry, files: Sequence[MeasuredFile], ids: Mapping[str, Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    checksum = files_checksum({file.path: file.sha256 for file in files}) if files else None
    lanes = Lanes.of("package", package.name, checksum).values if checksum else (None, None, None)
    return {
        "name": package.name,
        "executed_obs_unit_id": ids["executed_obs_unit"][package.executed_obs_unit],
        "instrument_module_id": ids["instrument_module"][package.instrument_module],
        "state": package.state,
        "checksum": checksum,
        "size_bytes": sum(file.size_bytes for file in files),
        "metadata_": package.metadata,
        "created_at": package.created_at,
        "archived_at": now if package.state is PackageState.ARCHIVED else None,
        **{f"lane_{i}": lane for i, lane in enumerate(lanes)},
    }


def _check_identity(
    catalogue: Catalogue,
    known: Mapping[str, _Known],
    rows: Mapping[str, Mapping[str, Any]],
    ids: Mapping[str, Mapping[str, Any]],
) -> None:
    for i, package in enumerate(catalogue.packages):
        before = known.get(package.name)
        if before is None:
            continue
        for field in ("executed_obs_unit", "instrument_module"):
            was = getattr(before, f"{field}_id")
            if was != rows[package.name][f"{field}_id"]:
                names = {number: name for name, number in ids[field].items()}
                raise _redefined(i, field, names.get(was, f"another one (number {was})"), getattr(package, field))
        if before.created_at != package.created_at:
            raise _redefined(i, "created_at", before.created_at.isoformat(), package.created_at.isoformat())


def _redefined(i: int, field: str, known: str, wanted: str) -> InvalidDeclaration:
    return InvalidDeclaration(f"packages[{i}].{field}: ops-db knows {known!r}, the catalogue says {wanted!r}")


def _differs(known: _Known, row: Mapping[str, Any]) -> bool:
    # The files of a withdrawn package may be missing: that does not mean that its content has changed.
    other_files = row["checksum"] is not None and row["checksum"] != known.checksum
    return other_files or row["state"] is not known.state or row["metadata_"] != known.metadata


def _changing(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ["state", "metadata_", "archived_at"]
    if row["checksum"] is not None:
        names += ["checksum", "size_bytes", "lane_0", "lane_1", "lane_2"]
    return {name: row[name] for name in names}


def _insert_packages(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    for chunk in chunks(rows, _ROWS):
        session.execute(sa.insert(RawDataPackage), chunk)


def _update_packages(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    for chunk in chunks(rows, _ROWS):
        session.execute(sa.update(RawDataPackage), chunk)  # by primary key, many rows at once


def _insert_files(
    session: Session,
    packages: Sequence[PackageEntry],
    measured: Mapping[str, Sequence[MeasuredFile]],
    ids: Mapping[str, Mapping[str, Any]],
) -> None:
    """Insert the files of each package whose present content is new; the files of earlier contents are kept."""
    known = _known_packages(session, [package.name for package in packages])
    with_files = [package for package in packages if measured.get(package.name)]
    existing = _contents(session, [known[package.name].id for package in with_files])
    rows = [
        {
            "id": uuid.uuid5(_FILES, f"{package.name}\0{known[package.name].checksum}\0{file.path}"),
            "raw_data_package_id": known[package.name].id,
            "package_checksum": known[package.name].checksum,
            "instrument_module_id": ids["instrument_module"][package.instrument_module],
            "path": file.path,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
        }
        for package in with_files
        if (known[package.name].id, known[package.name].checksum) not in existing
        for file in measured[package.name]
    ]
    for chunk in chunks(rows, _ROWS):
        session.execute(sa.insert(RawDataFile), chunk)


def _contents(session: Session, package_ids: Sequence[int]) -> set[tuple[int, str]]:
    """Return (package id, checksum) of every content of the packages, present or earlier, whose files are recorded."""
    query = sa.select(RawDataFile.raw_data_package_id, RawDataFile.package_checksum).distinct()
    return {
        content
        for chunk in chunks(package_ids, _ROWS)
        for content in session.execute(query.where(RawDataFile.raw_data_package_id.in_(chunk))).tuples()
    }


def _forget_copies(session: Session, package_ids: Sequence[int]) -> None:
    """Delete the records of copies of the packages' earlier content."""
    for chunk in chunks(package_ids, _ROWS):
        session.execute(sa.delete(Copy).where(Copy.raw_data_package_id.in_(chunk)))


def _record_copies(session: Session, packages: Sequence[PackageEntry], location_id: int, now: datetime) -> None:
    """Record a readable copy of each package at the location where its files were measured."""
    known = _known_packages(session, [package.name for package in packages])
    existing = _copies(session, [known[package.name].id for package in packages], location_id)
    moved: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for package in packages:
        package_id = known[package.name].id
        values = {"path": package.path, "status": PhysicalCopyStatus.STAGED}
        if package_id not in existing:
            where = {"raw_data_package_id": package_id, "data_location_id": location_id}
            new.append({**where, **values, "created_at": now})
        elif existing[package_id].path != package.path or existing[package_id].status not in READABLE:
            moved.append({"id": existing[package_id].id, **values})
    for rows in chunks(moved, _ROWS):
        session.execute(sa.update(Copy), rows)
    for rows in chunks(new, _ROWS):
        session.execute(sa.insert(Copy), rows)


def _copies(session: Session, package_ids: Sequence[int], location_id: int) -> dict[int, Any]:
    query = sa.select(Copy.raw_data_package_id, Copy.id, Copy.path, Copy.status)
    return {
        row.raw_data_package_id: row
        for chunk in chunks(package_ids, _ROWS)
        for row in session.execute(
            query.where(Copy.raw_data_package_id.in_(chunk), Copy.data_location_id == location_id)
        )
        if row.raw_data_package_id is not None
    }
