"""Databases large enough to measure on, made by SQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ccat_models.fingerprint import Lanes
from ccat_models.gap.answer import counts
from ccat_models.gap.evaluate import Asked, evaluate
from ccat_models.pipeline.apply import apply
from ccat_models.pipeline.view import load_pipeline
from ccat_models.pipeline.yaml_source import parse
from ccat_models.sub_group.refresh import refresh
from ccat_models.tables.observation import ExecutedObsUnit, FixedSource, ObservingProgram, ObsMode, ObsUnit
from ccat_models.tables.observatory import Instrument, InstrumentModule, Observatory, Telescope
from ccat_models.tables.pipelines import Partitioning
from ccat_models.tables.places import DiskDataLocation, LocationType, Site
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from resources.ops_db import OpsDb

PIPELINE = "bench"
NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
_CHUNK = 10_000
_STEP = "software: bench, version: 1.0.0, resources: {cpus: 1, memory_gb: 1, time_hours: 1}"
_YAML = f"""schema_version: 1
name: {PIPELINE}
description: Three steps, the last one per ten scans.
owners: [bench@example.org]
mode: ad_hoc
trigger: {{type: manual}}
processing_location: local
data_grouping: {{name: bench, rules: [{{table: RawDataPackage, column: state, operator: eq, value: archived}}]}}
software: [{{name: bench, versions: [{{version: 1.0.0, command: ["true"]}}]}}]
steps:
  - {{name: calibrate, group_by: [executed_obs_unit], {_STEP}}}
  - {{name: clean, depends_on: [calibrate], group_by: [executed_obs_unit], {_STEP}}}
  - {{name: map, depends_on: [clean], group_by: [obs_unit], {_STEP}}}
"""


def observe(ops_db: OpsDb, scans: int, per_unit: int) -> None:
    """Archive so many scans of one package each, `per_unit` of them to an observation unit."""
    with ops_db.write() as session:
        for row in (
            Observatory(id=1, name="CCAT Observatory"),
            Telescope(id=1, observatory_id=1, name="FYST"),
            Instrument(id=1, telescope_id=1, name="CHAI"),
            InstrumentModule(id=1, instrument_id=1, name="CHAI"),
            ObservingProgram(id=1, short_name="GEco"),
            FixedSource(id=1, name="NGC253", ra_deg=11.9, dec_deg=-25.3),
            ObsMode(id=1, name="OTF"),
            Site(id=1, short_name="local"),
            DiskDataLocation(id=1, site_id=1, name="local", location_type=LocationType.PROCESSING, path="/nowhere"),
        ):
            session.add(row)
            session.flush()
        _insert(session, ObsUnit, (_unit(n) for n in range(scans // per_unit)))
        _insert(session, ExecutedObsUnit, (_scan(n, per_unit) for n in range(scans)))
        _insert(session, RawDataPackage, (_package(n) for n in range(scans)))


def declare(ops_db: OpsDb) -> None:
    """Apply the pipeline."""
    with ops_db.request() as session:
        apply(session, parse(_YAML, file="bench.yaml"), code_digests={}, applied_by="bench", now=NOON)


def plan_counts(ops_db: OpsDb, name: str) -> int:
    """Plan the pipeline and return how many runs that would be."""
    with ops_db.request() as session:
        pipeline = load_pipeline(session, name)
        for partitioning_id in sorted({step.partitioning_id for step in pipeline.steps}):
            refresh(session, session.get_one(Partitioning, partitioning_id), NOON)
        evaluate(session, pipeline, Asked(NOON))
        return sum(count.now + count.afterwards for count in counts(session).values())


@contextmanager
def counting_statements(ops_db: OpsDb) -> Iterator[list[str]]:
    """Collect the statements that reach the database."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(ops_db.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(ops_db.engine, "before_cursor_execute", note)


def _insert(session: Any, table: type[Any], rows: Iterator[dict[str, Any]]) -> None:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            session.execute(sa.insert(table.__table__), chunk)
            chunk = []
    if chunk:
        session.execute(sa.insert(table.__table__), chunk)


def _unit(n: int) -> dict[str, Any]:
    return {"id": n + 1, "name": f"unit-{n:07}", "observing_program_id": 1, "source_id": 1, "obs_mode_id": 1}


def _scan(n: int, per_unit: int) -> dict[str, Any]:
    start = NOON + timedelta(minutes=n)
    unit = n // per_unit + 1
    return {"id": n + 1, "name": f"scan-{n:07}", "obs_unit_id": unit, "start_time": start, "end_time": start}


def _package(n: int) -> dict[str, Any]:
    checksum = f"{n:064x}"
    lanes = Lanes.of("package", f"package-{n}", checksum).values
    return {
        "id": n + 1,
        "name": f"package-{n}",
        "executed_obs_unit_id": n + 1,
        "instrument_module_id": 1,
        "state": PackageState.ARCHIVED,
        "checksum": checksum,
        "size_bytes": 0,
        "metadata": {},
        "created_at": NOON,
        **{f"lane_{i}": lane for i, lane in enumerate(lanes)},
    }
