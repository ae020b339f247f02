"""Writing the rows of an applied declaration; revisions are added, never changed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.application import Application
from ccat_models.pipeline.diff import differences
from ccat_models.pipeline.document import Document
from ccat_models.pipeline.forget import forget_gaps
from ccat_models.pipeline.known import Known
from ccat_models.pipeline.versions import parse_version, version_rank
from ccat_models.pipeline.write_steps import write_steps
from ccat_models.tables.execution import RerunRequest
from ccat_models.tables.gaps import SubGroupGap
from ccat_models.tables.pipelines import (
    DataGrouping,
    Partitioning,
    Pipeline,
    ReductionSoftware,
    ReductionSoftwareVersion,
    SubGroup,
    SubGroupMember,
)


def write_revision(session: Session, application: Application, known: Known, pipeline: Pipeline | None) -> int:
    """Write programs, data grouping, pipeline and a new revision; return the revision's number."""
    _write_software(session, application, known)
    grouping_id = _write_grouping(session, application, known)
    location_id = known.locations[application.declaration.processing_location]
    if pipeline is None:
        pipeline = Pipeline(name=application.declaration.name, revision=0, created_at=application.now)
        session.add(pipeline)
    pipeline.data_grouping_id = grouping_id
    pipeline.processing_location_id = location_id
    pipeline.enabled = application.wanted["enabled"]
    pipeline.revision += 1
    session.flush()
    write_steps(session, application, known, pipeline)
    return pipeline.revision


def _write_software(session: Session, application: Application, known: Known) -> None:
    for program in application.declaration.software:
        row = known.software.get(program.name)
        if row is None:
            row = ReductionSoftware(name=program.name)
            session.add(row)
            known.software[program.name] = row
        row.description = program.description
        for version in program.versions:
            stored = known.versions.get((program.name, version.version))
            if stored is None:
                stored = ReductionSoftwareVersion(software=row, version=version.version, created_at=application.now)
                session.add(stored)
                known.versions[program.name, version.version] = stored
            fill_version(stored, application.wanted["software"][program.name]["versions"][version.version])
    session.flush()


def fill_version(row: ReductionSoftwareVersion, document: Document) -> None:
    """Give a version's row the values of its document; equal values are not written."""
    same = ("command", "code", "code_directory", "code_sha256", "released", "withdrawn", "cosmetic")
    values = {name: document[name] for name in same} | {
        "major": parse_version(row.version)[0],
        "rank": version_rank(row.version),
        "image_reference": document["image"],
        "image_sha256": document["sha256"],
        "reprocess_from_rank": document["reprocess_from"] and version_rank(document["reprocess_from"]),
    }
    for name, value in values.items():
        if getattr(row, name) != value:
            setattr(row, name, value)


def _write_grouping(session: Session, application: Application, known: Known) -> int:
    declared = application.declaration.data_grouping
    if isinstance(declared, str):
        return known.groupings[declared].id
    row = known.groupings.get(declared.name)
    if row is None:
        row = DataGrouping(name=declared.name, created_at=application.now)
        session.add(row)
        known.groupings[declared.name] = row
    old = application.found["data_groupings"].get(declared.name)
    new = application.wanted["data_groupings"][declared.name]
    row.description = declared.description
    if old is None or differences(old | {"description": ""}, new | {"description": ""}):
        row.filter_rules = new["rules"]
        row.instrument_module_id = (
            None if declared.instrument_module is None else known.modules[declared.instrument_module]
        )
        _forget_sub_groups(session, row, application.now)
    session.flush()
    return row.id


def _forget_sub_groups(session: Session, grouping: DataGrouping, now: datetime) -> None:
    """Delete the sub-groups of the old rules, which have no runs; the next refresh creates those of the new rules."""
    partitionings = sa.select(Partitioning.id).where(Partitioning.data_grouping_id == grouping.id)
    sub_groups = sa.select(SubGroup.id).where(SubGroup.partitioning_id.in_(partitionings))
    session.execute(sa.delete(RerunRequest).where(RerunRequest.sub_group_id.in_(sub_groups)))
    forget_gaps(session, SubGroupGap.sub_group_id.in_(sub_groups), now)
    session.execute(sa.delete(SubGroupMember).where(SubGroupMember.partitioning_id.in_(partitionings)))
    session.execute(sa.delete(SubGroup).where(SubGroup.partitioning_id.in_(partitionings)))
