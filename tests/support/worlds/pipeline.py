"""What surrounds a pipeline, a small declaration of one, and runs that refer to it."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.apply import Applied, apply
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.tables import Base
from ccat_models.tables.execution import ExecutedReductionStep, RunStatus
from ccat_models.tables.observatory import Instrument, InstrumentModule, Observatory, Telescope
from ccat_models.tables.pipelines import ReductionStepRevision, SubGroup
from ccat_models.tables.places import DiskDataLocation, LocationType, Site
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 8, 12, tzinfo=UTC)
DIGESTS = {
    ("calibration", "1.0.0"): CodeDigest("/programs", "c" * 64),
    ("calibration", "1.1.0"): CodeDigest("/programs", "d" * 64),
}
ARCHIVED = {"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"}
CO43 = {"table": "ObsUnit", "column": "line_id", "operator": "eq", "value": "CO43"}


def furnish(session: Session) -> None:
    """Add an observatory with two modules, and two locations of which one is for processing."""
    chain = [Observatory(id=1, name="CCAT Observatory"), Telescope(id=1, observatory_id=1, name="FYST")]
    for row in [*chain, Instrument(id=1, telescope_id=1, name="CHAI"), Site(id=1, short_name="here")]:
        session.add(row)
        session.flush()
    session.add_all(InstrumentModule(instrument_id=1, name=name) for name in ("CHAI-HFA", "CHAI-LFA"))
    kinds = {"archive": LocationType.LONG_TERM_ARCHIVE, "cluster": LocationType.PROCESSING}
    kinds["local"] = LocationType.PROCESSING
    session.add_all(DiskDataLocation(site_id=1, name=name, location_type=kinds[name], path="/") for name in kinds)
    session.flush()


def refurnish(ops_db: OpsDb) -> None:
    """Remove all that a test or an example has added."""
    empty(ops_db)
    with ops_db.write() as session:
        furnish(session)


def version(number: str = "1.0.0", **changes: Any) -> dict[str, Any]:
    return {"version": number, "command": ["{python}", "calibrate.py"], "code": ["calibrate.py"]} | changes


def step(name: str = "calibrate", **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "group_by": ["executed_obs_unit"], "software": "calibration", "version": "1.0.0"}
    return plain | changes


def grouping(name: str = "chai-all", **changes: Any) -> dict[str, Any]:
    return {"name": name, "rules": [ARCHIVED], "instrument_module": "CHAI-LFA"} | changes


def document(**changes: Any) -> dict[str, Any]:
    """Return a pipeline of two steps, calibrate → map."""
    plain = {
        "schema_version": 1,
        "name": "chai",
        "mode": "standing",
        "processing_location": "local",
        "data_grouping": grouping(),
        "software": [{"name": "calibration", "versions": [version()]}],
        "steps": [step(), step("map", group_by=[], depends_on=["calibrate"], parameters={"cell_arcsec": 6})],
    }
    return plain | changes


def declared(**changes: Any) -> PipelineDeclaration:
    return PipelineDeclaration.model_validate(document(**changes))


def put(ops_db: OpsDb, declaration: PipelineDeclaration, now: datetime = NOON) -> Applied:
    with ops_db.write() as session:
        return apply(session, declaration, code_digests=DIGESTS, applied_by="ada", now=now)


def add_run(ops_db: OpsDb, step_name: str = "calibrate", *, pipeline: str = "chai", count: int = 1) -> None:
    """Add completed runs of a step on a sub-group of their own."""
    with ops_db.write() as session:
        newest = sa.select(ReductionStepRevision).order_by(ReductionStepRevision.id.desc())
        found = [
            one for one in session.scalars(newest) if (one.step.name, one.step.pipeline.name) == (step_name, pipeline)
        ]
        revision = found[0]
        for number in range(count):
            key = f"{pipeline}-{step_name}-{number}"
            cell = {"partitioning_id": revision.step.partitioning_id, "dimensions": {}, "created_at": NOON}
            sub_group = SubGroup(key=key, natural_key=key, **cell)
            session.add(sub_group)
            session.flush()
            session.add(_run(revision, sub_group))


def _run(revision: ReductionStepRevision, sub_group: SubGroup) -> ExecutedReductionStep:
    return ExecutedReductionStep(
        step_id=revision.step_id,
        step_revision_id=revision.id,
        sub_group_id=sub_group.id,
        software_version_id=revision.pinned_version_id,
        config_id=revision.config_id,
        status=RunStatus.PENDING,
        status_changed_at=NOON,
        reason="missing",
        requested_by="ada",
        created_at=NOON,
        input_count=0,
        **{f"input_lane_{lane}": 0 for lane in range(3)},
    )


def dump(ops_db: OpsDb) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""
    with ops_db.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(sa.select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        }
