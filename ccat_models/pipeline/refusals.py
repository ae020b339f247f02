"""Changes that a declaration may not make, because runs refer to what would change."""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import Refused
from ccat_models.pipeline.digests import canonical_json
from ccat_models.pipeline.document import CODE_IDENTITY
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import (
    DataGrouping,
    Partitioning,
    Pipeline,
    ReductionSoftwareVersion,
    ReductionStep,
    SubGroup,
)

GROUPING_IDENTITY = ("rules", "instrument_module")


def check_refusals(session: Session, old: Mapping[str, Any], new: Mapping[str, Any], pipeline_name: str) -> None:
    """Raise Refused with a line for each difference of two outlines that would change what runs refer to."""
    refusals = [
        *_groupings(session, old["data_groupings"], new["data_groupings"]),
        *_own(session, old, new, pipeline_name),
        *_versions(session, old["software"], new["software"]),
    ]
    if refusals:
        raise Refused("\n".join(refusals))


def _groupings(session: Session, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, changed in _changed(old, new, GROUPING_IDENTITY):
        runs = _count_by_pipeline(session, DataGrouping.name == name)
        if runs:
            who = f"data_grouping {name}: {changed} cannot change"
            yield f"{who}: its sub-groups are used by {_list(runs)}; declare a grouping under another name"


def _own(session: Session, old: Mapping[str, Any], new: Mapping[str, Any], pipeline: str) -> Iterator[str]:
    here = Pipeline.name == pipeline
    if "data_grouping" in old and old["data_grouping"] != new["data_grouping"]:
        runs = _count_by_pipeline(session, here)
        if runs:
            change = f"{old['data_grouping']} to {new['data_grouping']}"
            yield f"data_grouping: cannot change from {change}: used by {_list(runs)}; declare another pipeline"
    place = "processing_location"
    if place in old and old[place] != new[place]:  # runs in flight are found by their pipeline's location
        runs = _count_by_pipeline(session, here, Run.status.in_(IN_FLIGHT))
        if runs:
            yield (
                f"{place}: cannot change from {old[place]} to {new[place]} while {_list(runs)} in flight: let them end "
                f"(`ccat pipeline disable {pipeline}`) or cancel them (`ccat cancel`), then apply again"
            )
    for name, step in new["steps"].items():
        group_by = _group_by(session, pipeline, name)
        runs = {} if group_by in (None, step["group_by"]) else _count_by_pipeline(session, here, _step_named(name))
        if runs:
            change = f"{group_by} to {step['group_by']}"
            yield f"steps.{name}.group_by: cannot change from {change}: used by {_list(runs)}; rename the step"


def _versions(session: Session, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for software, program in new.items():
        known = old.get(software, {"versions": {}})["versions"]
        for version, changed in _changed(known, program["versions"], CODE_IDENTITY):
            of = (ReductionSoftwareVersion.software.has(name=software), ReductionSoftwareVersion.version == version)
            runs = _count_by_pipeline(session, *of)
            if runs:
                who = f"software {software} {version}: {changed} cannot change"
                yield f"{who}: used by {_list(runs)}; register a new version"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in old.keys() & new.keys():
        changed = [key for key in keys if canonical_json(old[name][key]) != canonical_json(new[name][key])]
        if changed:
            yield name, ", ".join(changed)


def _step_named(name: str) -> sa.ColumnElement[bool]:
    return ReductionStep.name == name


def _group_by(session: Session, pipeline: str, step: str) -> list[str] | None:
    partitioning = session.scalar(
        sa.select(Partitioning)
        .join(ReductionStep, ReductionStep.partitioning_id == Partitioning.id)
        .join(ReductionStep.pipeline)
        .where(Pipeline.name == pipeline, _step_named(step))
    )
    return None if partitioning is None else partitioning.dimensions


def _count_by_pipeline(session: Session, *which: sa.ColumnElement[bool]) -> dict[str, int]:
    query = (
        sa.select(Pipeline.name, sa.func.count(Run.id))
        .select_from(Run)
        .join(Run.step)
        .join(ReductionStep.pipeline)
        .join(Run.sub_group)
        .join(Partitioning, Partitioning.id == SubGroup.partitioning_id)
        .join(Partitioning.data_grouping)
        .join(Run.software_version)
        .where(*which)
        .group_by(Pipeline.name)
        .order_by(Pipeline.name)
    )
    return dict(session.execute(query).tuples().all())


def _list(runs: Mapping[str, int]) -> str:
    return ", ".join(f"{count} run{'' if count == 1 else 's'} of pipeline {name}" for name, count in runs.items())
