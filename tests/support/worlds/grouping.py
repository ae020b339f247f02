import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from ccat_models.tables import Base
from ccat_models.tables.observation import (
    ConstantElevationSource,
    ExecutedObsUnit,
    FixedSource,
    Line,
    ObservingProgram,
    ObsMode,
    ObsUnit,
    SolarSystemObject,
    Source,
    SubObservingProgram,
)
from ccat_models.tables.observatory import Instrument, InstrumentModule, Observatory, Telescope
from ccat_models.tables.raw_data import PackageState, RawDataFile, RawDataPackage

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
CHECKSUM = "ab" * 32


def observatory(session: Session) -> None:
    """Add two instruments, three kinds of sources, two programmes, and one observation unit of each source."""
    for rows in _rows():
        session.add_all(rows)
        session.flush()


def _rows() -> list[list[Base]]:
    modules = ((1, 1, "CHAI"), (2, 1, "CHAI HFA"), (3, 2, "PC280"))
    units = ((1, 1, 1, "CO43"), (2, 2, None, None), (3, 1, None, "CO43"))
    return [
        [Observatory(id=1, name="CCAT Observatory")],
        [Telescope(id=1, observatory_id=1, name="FYST", altitude_m=5600.0)],
        [Instrument(id=i, telescope_id=1, name=name) for i, name in ((1, "CHAI"), (2, "Prime-Cam"))],
        [InstrumentModule(id=i, instrument_id=of, name=name) for i, of, name in modules],
        [ObservingProgram(id=i, short_name=name) for i, name in ((1, "GEco"), (2, "Cal"))],
        [SubObservingProgram(id=1, observing_program_id=1, short_name="GEco-N")],
        [*sources()],
        [Line(id="CO43", name="CO(4-3)", rest_frequency_ghz=461.04)],
        [ObsMode(id=1, name="OTF")],
        [
            ObsUnit(
                id=source,
                name=f"unit {source}",
                observing_program_id=program,
                sub_observing_program_id=sub_program,
                source_id=source,
                line_id=line,
                obs_mode_id=1,
            )
            for source, program, sub_program, line in units
        ],
    ]


def sources() -> list[Source]:
    return [
        FixedSource(id=1, name="NGC253", ra_deg=11.888, dec_deg=-25.288),
        SolarSystemObject(id=2, name="Jupiter", naif_id=599),
        ConstantElevationSource(id=3, name="CES 60", elevation_deg=60.0, azimuth_min_deg=100.0, azimuth_max_deg=140.0),
    ]


def execution(session: Session, number: int, obs_unit: int) -> int:
    """Add an execution, one an hour from START on, and return its id."""
    begin = START + timedelta(hours=number)
    one = ExecutedObsUnit(
        name=f"scan {number}", obs_unit_id=obs_unit, start_time=begin, end_time=begin + timedelta(minutes=30)
    )
    session.add(one)
    session.flush()
    return one.id


def package(
    session: Session,
    name: str,
    executed_obs_unit: int,
    *,
    module: int = 1,
    state: PackageState = PackageState.ARCHIVED,
    metadata: Mapping[str, Any] | None = None,
    files: Mapping[str, int] | None = None,
) -> RawDataPackage:
    """Add a package with a checksum, and its files by path and size."""
    one = RawDataPackage(
        name=name,
        executed_obs_unit_id=executed_obs_unit,
        instrument_module_id=module,
        state=state,
        metadata_=dict(metadata or {}),
        created_at=START,
    )
    one.set_checksum(CHECKSUM)
    session.add(one)
    session.flush()
    for path, size in (files or {}).items():
        file = RawDataFile(
            id=uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{path}"),
            raw_data_package_id=one.id,
            package_checksum=CHECKSUM,
            instrument_module_id=module,
            path=path,
            size_bytes=size,
            sha256=CHECKSUM,
        )
        session.add(file)
    session.flush()
    return one
