"""A small observatory in ops-db: packages that come, change and go, and pipelines declared on them."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.fingerprint import files_checksum
from ccat_models.pipeline.apply import apply
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.view import PipelineView, load_pipeline
from ccat_models.pipeline.yaml_source import parse
from ccat_models.tables.observation import (
    ExecutedObsUnit,
    FixedSource,
    Line,
    ObservingProgram,
    ObsMode,
    ObsUnit,
)
from ccat_models.tables.observatory import Instrument, InstrumentModule, Observatory, Telescope
from ccat_models.tables.places import (
    DiskDataLocation,
    LocationType,
    PhysicalCopyStatus,
    RawDataPackagePhysicalCopy,
    Site,
)
from ccat_models.tables.raw_data import PackageState, RawDataFile, RawDataPackage
from resources.ops_db import OpsDb
from resources.workspace.software import code_sha256

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that advances only on request."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class ObservatoryWorld:
    """One module, two sources; scan n observes source n modulo 2, in one package of one file."""

    ops_db: OpsDb
    base: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def open(self) -> None:
        """Insert everything but scans; the processing location is `base`/workspace, the archive `base`/archive."""
        (self.base / "workspace").mkdir(parents=True, exist_ok=True)
        with self.ops_db.write() as session:
            for rows in _fixed_rows(self.base):
                session.add_all(rows)
                session.flush()

    def scan(self, number: int, content: str = "counts", state: PackageState = PackageState.ARCHIVED) -> str:
        """Let a scan's package arrive, or arrive again with other content; return its name."""
        name = f"scan-{number}"
        directory = self.base / "archive" / name
        directory.mkdir(parents=True, exist_ok=True)
        text = f"{name} {content}\n"
        (directory / "scan.dat").write_text(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        with self.ops_db.write() as session:
            package = session.scalar(sa.select(RawDataPackage).where(RawDataPackage.name == name))
            if package is None:
                package = self._new_package(session, number, name)
            checksum = files_checksum({"scan.dat": sha256})
            package.set_checksum(checksum)
            package.state = state
            package.archived_at = self.clock() if state is PackageState.ARCHIVED else None
            if not session.scalars(sa.select(RawDataFile).where(RawDataFile.of(package.id, checksum))).all():
                session.add(_file(package, text, sha256))
        return name

    def withdraw(self, number: int) -> None:
        """Take a scan's package out of the archive again."""
        with self.ops_db.write() as session:
            package = session.scalars(sa.select(RawDataPackage).where(RawDataPackage.name == f"scan-{number}")).one()
            package.state = PackageState.FAILED

    def declare(self, text: str, directory: Path | None = None, by: str = "test") -> PipelineView:
        """Apply a pipeline's YAML, its code being in `directory`, and return it."""
        declaration = parse(text, file="test.yaml")
        digests = {
            (software.name, version.version): CodeDigest(str(directory), code_sha256(directory, version.code))
            for software in declaration.software
            for version in software.versions
            if version.code and directory is not None
        }
        with self.ops_db.request() as session:
            apply(session, declaration, code_digests=digests, applied_by=by, now=self.clock())
        with self.ops_db.read() as session:
            return load_pipeline(session, declaration.name)

    def _new_package(self, session: Session, number: int, name: str) -> RawDataPackage:
        start = NOON + timedelta(hours=number)
        executed = ExecutedObsUnit(name=name, obs_unit_id=1 + number % 2, start_time=start, end_time=start)
        session.add(executed)
        session.flush()
        package = RawDataPackage(
            name=name,
            executed_obs_unit_id=executed.id,
            instrument_module_id=1,
            state=PackageState.WAITING,
            metadata_={"number": number},
            created_at=start,
            size_bytes=0,
        )
        session.add(package)
        session.flush()
        session.add(
            RawDataPackagePhysicalCopy(
                raw_data_package_id=package.id,
                data_location_id=2,
                path=name,
                status=PhysicalCopyStatus.STAGED,
                created_at=start,
            )
        )
        return package


def _file(package: RawDataPackage, text: str, sha256: str) -> RawDataFile:

    return RawDataFile(
        id=uuid.uuid4(),
        raw_data_package_id=package.id,
        package_checksum=package.checksum or "",
        instrument_module_id=1,
        path="scan.dat",
        size_bytes=len(text),
        sha256=sha256,
    )


def _fixed_rows(base: Path) -> Sequence[Sequence[object]]:
    sources = [FixedSource(id=n, name=f"source-{n}", ra_deg=10.0 * n, dec_deg=0.0) for n in (1, 2)]
    units = [
        ObsUnit(id=n, name=f"unit-{n}", observing_program_id=1, source_id=n, line_id="CO43", obs_mode_id=1)
        for n in (1, 2)
    ]
    return (
        [Observatory(id=1, name="CCAT Observatory")],
        [Telescope(id=1, observatory_id=1, name="FYST")],
        [Instrument(id=1, telescope_id=1, name="CHAI")],
        [InstrumentModule(id=1, instrument_id=1, name="CHAI")],
        [ObservingProgram(id=1, short_name="GEco")],
        sources,
        [Line(id="CO43", name="CO(4-3)", rest_frequency_ghz=461.04), ObsMode(id=1, name="OTF")],
        units,
        [Site(id=1, short_name="local")],
        [
            _disk(1, "local", LocationType.PROCESSING, base / "workspace"),
            _disk(2, "archive", LocationType.LONG_TERM_ARCHIVE, base / "archive"),
        ],
    )


def _disk(number: int, name: str, kind: LocationType, path: Path) -> DiskDataLocation:
    return DiskDataLocation(id=number, site_id=1, name=name, location_type=kind, path=str(path))
