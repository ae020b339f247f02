import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.errors import InvalidDeclaration, Refused
from ccat_models.raw.catalogue import parse_catalogue
from ccat_models.raw.ingest import IngestReport, MeasuredFile, ingest
from ccat_models.raw.locations import files_of, record_archived
from ccat_models.raw.staging import STAGED_DIGITS, STAGED_DIRECTORY, readable_directories
from ccat_models.tables import Base
from ccat_models.tables.places import (
    DiskDataLocation,
    LocationType,
    PhysicalCopyStatus,
    RawDataPackagePhysicalCopy,
    Site,
)
from ccat_models.tables.raw_data import PackageContent, PackageState, RawDataFile, RawDataPackage
from resources.ops_db import OpsDb
from tests.support.hands.cli import catalogue

NOON = datetime(2026, 4, 2, 12, tzinfo=UTC)


@pytest.fixture
def database(ops_db: OpsDb) -> OpsDb:
    """Give an ops-db with two locations."""
    with ops_db.write() as session:
        session.add(Site(id=1, short_name="here"))
        session.flush()
        archive = LocationType.LONG_TERM_ARCHIVE
        session.add_all(
            DiskDataLocation(id=n, site_id=1, name=f"disk-{n}", location_type=archive, path=f"/disk-{n}")
            for n in (1, 2)
        )
    return ops_db


def deliver(
    database: OpsDb, content: Any, texts: Mapping[str, str] | None = None, *, location: int = 1, hours: int = 0
) -> IngestReport:
    import json

    parsed = parse_catalogue(json.dumps(content), file="catalogue.json")
    chosen = {package.name: "counts" for package in parsed.packages} | dict(texts or {})
    measured: dict[str, Sequence[MeasuredFile]] = {
        name: [MeasuredFile("scan.dat", len(text), hashlib.sha256(text.encode()).hexdigest())] if text else []
        for name, text in chosen.items()
    }
    with database.request() as session:
        return ingest(session, parsed, measured, location_id=location, now=NOON + timedelta(hours=hours))


def dump(database: OpsDb) -> dict[str, list[tuple[Any, ...]]]:
    with database.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(sa.select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        }


def package(database: OpsDb, name: str) -> RawDataPackage:
    with database.read() as session:
        return session.scalars(sa.select(RawDataPackage).where(RawDataPackage.name == name)).one()


def copies(database: OpsDb) -> list[tuple[int, str]]:
    with database.read() as session:
        copy = RawDataPackagePhysicalCopy
        query = sa.select(copy.data_location_id, copy.path).order_by(copy.data_location_id, copy.path)
        return list(session.execute(query).tuples().all())


@contextmanager
def counted(database: OpsDb) -> Iterator[list[str]]:
    """Give the list of the statements that were sent to the database."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(database.engine, "before_cursor_execute", note)


def test_a_delivery_is_registered_once(database: OpsDb) -> None:
    assert deliver(database, catalogue(3)) == IngestReport(3, 0, 0, 0)
    before = dump(database)
    assert deliver(database, catalogue(3), hours=1) == IngestReport(0, 0, 0, 3)
    assert dump(database) == before
    assert deliver(database, catalogue(4)) == IngestReport(1, 0, 0, 3)
    assert copies(database) == [(1, f"scan-{n}") for n in range(4)]


def test_other_files_change_checksum_lanes_size_and_files(database: OpsDb) -> None:
    deliver(database, catalogue(2))
    before, neighbour = package(database, "scan-0"), package(database, "scan-1")
    assert deliver(database, catalogue(2), {"scan-0": "more counts"}) == IngestReport(0, 1, 0, 1)
    after = package(database, "scan-0")
    assert (after.id, before.size_bytes, after.size_bytes) == (before.id, 6, 11)
    assert after.checksum != before.checksum
    assert (after.lane_0, after.lane_1, after.lane_2) != (before.lane_0, before.lane_1, before.lane_2)
    assert package(database, "scan-1").checksum == neighbour.checksum
    with database.read() as session:
        assert [file.size_bytes for file in files_of(session, after.id)] == [11]


def test_files_of_earlier_content_stay_and_are_used_again(database: OpsDb) -> None:
    deliver(database, catalogue(2))
    first, neighbours = files(database, "scan-0"), files(database, "scan-1")
    deliver(database, catalogue(2), {"scan-0": "more counts"})
    both = files(database, "scan-0")
    assert both.items() > first.items()
    assert [sha256 for _, _, sha256 in both.values()] != [sha256 for _, _, sha256 in first.values()] * 2
    assert deliver(database, catalogue(2)) == IngestReport(0, 1, 0, 1)
    assert files(database, "scan-0") == both
    assert files(database, "scan-1") == neighbours
    with database.read() as session:
        of_today = session.get_one(RawDataPackage, package(database, "scan-0").id)
        assert {file.id for file in of_today.files} == first.keys()


def files(database: OpsDb, name: str) -> dict[uuid.UUID, tuple[str, str, str]]:
    file = RawDataFile
    query = sa.select(file.id, file.package_checksum, file.path, file.sha256).join(file.package)
    with database.read() as session:
        rows = session.execute(query.where(RawDataPackage.name == name)).tuples()
        return {number: (checksum, path, sha256) for number, checksum, path, sha256 in rows}


def test_what_was_brought_or_packed_of_earlier_content_is_no_copy(database: OpsDb) -> None:
    deliver(database, catalogue(1))
    old = package(database, "scan-0")
    path = f"{STAGED_DIRECTORY}/scan-0-{(old.checksum or '')[:STAGED_DIGITS]}"

    def readable() -> dict[PackageContent, str]:
        with database.write() as session:
            query = sa.delete(RawDataPackagePhysicalCopy).where(RawDataPackagePhysicalCopy.data_location_id == 2)
            session.execute(query)
            copy = {"raw_data_package_id": old.id, "data_location_id": 2, "path": path, "created_at": NOON}
            session.add(RawDataPackagePhysicalCopy(status=PhysicalCopyStatus.STAGED, **copy))
            session.flush()
            return readable_directories(session, [old.id], location_id=2)

    assert readable() == {(old.id, old.checksum): f"/disk-2/{path}"}
    deliver(database, catalogue(1), {"scan-0": "more counts"})
    new = package(database, "scan-0")
    assert readable() == {(new.id, new.checksum): "/disk-1/scan-0"}
    with database.request() as session:
        record_archived(session, (new.id, new.checksum or ""), 1, "scan-0.tar", NOON)
        with pytest.raises(Refused, match="package scan-0: was delivered again with other content meanwhile"):
            record_archived(session, (old.id, old.checksum or ""), 1, "scan-0.tar", NOON)


def test_a_withdrawn_package_keeps_what_it_was_and_may_come_back(database: OpsDb) -> None:
    deliver(database, catalogue(2))
    checksum = package(database, "scan-1").checksum
    gone = catalogue(2)
    gone["packages"][1]["state"] = "failed"
    assert deliver(database, gone, {"scan-1": ""}) == IngestReport(0, 0, 1, 1)
    withdrawn = package(database, "scan-1")
    assert (withdrawn.state, withdrawn.checksum, withdrawn.archived_at) == (PackageState.FAILED, checksum, None)
    assert deliver(database, catalogue(2), hours=2) == IngestReport(0, 1, 0, 1)
    assert package(database, "scan-1").archived_at == NOON + timedelta(hours=2)


def test_a_package_that_is_announced_has_no_copy_until_it_is_there(database: OpsDb) -> None:
    announced = catalogue(1)
    announced["packages"][0]["state"] = "waiting"
    assert deliver(database, announced, {"scan-0": ""}) == IngestReport(1, 0, 0, 0)
    assert copies(database) == []
    assert deliver(database, catalogue(1)) == IngestReport(0, 1, 0, 0)
    assert copies(database) == [(1, "scan-0")]


def test_copies_are_recorded_where_the_files_are(database: OpsDb) -> None:
    deliver(database, catalogue(1))
    assert deliver(database, catalogue(1), location=2) == IngestReport(0, 0, 0, 1)
    assert copies(database) == [(1, "scan-0"), (2, "scan-0")]
    moved = catalogue(1)
    moved["packages"][0]["path"] = "below/scan-0"
    deliver(database, moved, location=2)
    assert copies(database) == [(1, "scan-0"), (2, "below/scan-0")]
    deliver(database, moved, {"scan-0": "more counts"}, location=2)
    assert copies(database) == [(2, "below/scan-0")]


REDEFINED = [
    ("telescope", {"name": "FYST", "altitude_m": 5600}, "telescope.altitude_m: ops-db knows 5612.0, the catalogue says 5600.0"),
    ("sources.0.ra_deg", 11.0, "sources[0].ra_deg: ops-db knows 10.0, the catalogue says 11.0"),
    ("sources.0", {"kind": "solar_system_object", "name": "source-1", "naif_id": 5}, "sources[0].kind: ops-db knows 'fixed_source', the catalogue says 'solar_system_object'"),
    ("lines.0.rest_frequency_ghz", 115.0, "lines[0].rest_frequency_ghz: ops-db knows 461.04, the catalogue says 115.0"),
    ("obs_units.1.source", "source-1", "obs_units[1].source: ops-db knows 'source-2', the catalogue says 'source-1'"),
    ("obs_units.1.line", None, "obs_units[1].line: ops-db knows 'CO43', the catalogue says None"),
    ("executed_obs_units.0.obs_unit", "unit-2", "executed_obs_units[0].obs_unit: ops-db knows 'unit-1', the catalogue says 'unit-2'"),
    ("executed_obs_units.0.end_time", "2026-04-01T13:00:00Z", "end_time: ops-db knows '2026-04-01T12:00:00+00:00', the catalogue says '2026-04-01T13"),
    ("packages.0.executed_obs_unit", "scan-1", "packages[0].executed_obs_unit: ops-db knows 'scan-0', the catalogue says 'scan-1'"),
    ("packages.0.created_at", "2026-04-01T13:00:00Z", "packages[0].created_at: ops-db knows '2026-04-01T12:00:00+00:00', the"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "message"), REDEFINED, ids=[place for place, _, _ in REDEFINED])
def test_another_meaning_of_a_known_name_is_refused_and_nothing_changes(
    sqlite_ops_db: OpsDb, place: str, value: Any, message: str
) -> None:
    with sqlite_ops_db.write() as session:
        session.add(Site(id=1, short_name="here"))
        session.flush()
        session.add(
            DiskDataLocation(id=1, site_id=1, name="disk", location_type=LocationType.LONG_TERM_ARCHIVE, path="/")
        )
    deliver(sqlite_ops_db, catalogue(2))
    before = dump(sqlite_ops_db)
    other: Any = catalogue(3)
    where = other
    *way, last = (int(part) if part.isdigit() else part for part in place.split("."))
    for part in way:
        where = where[part]
    where[last] = value
    with pytest.raises(InvalidDeclaration) as refusal:
        deliver(sqlite_ops_db, other)
    assert message in str(refusal.value)
    assert dump(sqlite_ops_db) == before


def test_the_number_of_statements_does_not_depend_on_the_number_of_packages(database: OpsDb) -> None:
    with counted(database) as few:
        deliver(database, catalogue(10))
    with counted(database) as many:
        deliver(database, catalogue(1010), {f"scan-{n}": "more counts" for n in range(5)})
    assert len(many) - len(few) <= 3  # to change a package, its files and its copies; to add some costs nothing more
    with counted(database) as again:
        deliver(database, catalogue(1010), {f"scan-{n}": "more counts" for n in range(5)})
    assert len(again) < len(few)
