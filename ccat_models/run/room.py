"""Admission control: which runs may start at a location with limited disk space.

A run is admitted if there is space for its products and for the raw data that must be staged for it, next to what is
stored now and what the runs in flight will add; and if one run of each later step would then still fit, so that its
products can be processed and purged. Runs of later steps come first: they end the need for stored inputs.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.pipeline.view import PipelineView, list_pipelines
from ccat_models.raw.staging import read_staged, readable_directories
from ccat_models.run.work import MOVING, ready_runs
from ccat_models.tables.base import PackageId, RunId, StepId, total
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import RunSpace

_NEWEST = 100  # runs of a step; the largest of them is the estimate for the next one


@dataclass(frozen=True)
class Waiting:
    """A run that waits for space, and the number of bytes that must be free for it."""

    run_id: RunId
    needed_bytes: int


@dataclass(frozen=True)
class Admission:
    """The admitted runs; the `first` run that waits for space, None if there is none; the bytes that remain free."""

    run_ids: tuple[RunId, ...]
    first: Waiting | None
    free_bytes: int
    in_flight: int  # runs that were admitted before


def used_bytes(session: Session, location_id: int) -> int:
    """Return the number of bytes that a location's products and staged raw data occupy."""
    products = sa.select(total(RunSpace.size_bytes)).where(RunSpace.data_location_id == location_id)
    return (session.scalar(products) or 0) + read_staged(session, location_id).size_bytes


def admit(session: Session, location_id: int, free_bytes: int, limit: int, now: datetime) -> Admission:
    """Return which of the waiting runs are admitted, at most `limit`.

    While the size of a step's products is unknown, one run of it at a time is admitted.
    """
    pipelines = [view for view in list_pipelines(session) if view.processing_location_id == location_id]
    leaves, behind = _leaves(session, pipelines), _behind(pipelines)
    moving = _moving(session, location_id)
    coming = _being_staged(session, location_id)
    free = free_bytes - sum(_size_of(leaves, step, first) * count for (step, first), count in moving.items())
    free -= sum(coming.values())
    probing = {step for step, _ in moving if leaves.get(step) is None}
    taken: list[RunId] = []
    ready = ready_runs(session, location_id, limit + 1, now)
    missing = _missing_packages(session, location_id, sa.select(Run.id).where(Run.id.in_([row[0] for row in ready])))
    for run_id, step, first in ready:
        to_stage = {package: size for package, size in missing[run_id].items() if package not in coming}
        size = _size_of(leaves, step, first) + sum(to_stage.values())
        needed = size + max((leaves.get(other) or 0 for other in behind.get(step, ())), default=0)
        unknown = first is None and leaves.get(step) is None
        if len(taken) == limit:
            break
        if needed > free or (unknown and step in probing):
            first_waiting = Waiting(run_id, needed) if needed > free else None
            return Admission(tuple(taken), first_waiting, free, sum(moving.values()))
        taken.append(run_id)
        free -= size
        coming |= to_stage
        probing |= {step} if unknown else set()
    return Admission(tuple(taken), None, free, sum(moving.values()))


def _being_staged(session: Session, location_id: int) -> dict[PackageId, int]:
    """Return the packages that are being staged for admitted runs, with the bytes that each will occupy."""
    runs = (
        sa.select(Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .where(Pipeline.processing_location_id == location_id, Run.status == RunStatus.STAGING_DATA)
    )
    found: dict[PackageId, int] = {}
    for packages in _missing_packages(session, location_id, runs).values():
        found |= packages
    return found


def _missing_packages(
    session: Session, location_id: int, runs: sa.Select[tuple[RunId]]
) -> Mapping[RunId, Mapping[PackageId, int]]:
    """Return, for each run, the packages that must be staged for it, with their sizes in bytes."""
    package = RawDataPackage
    reads = (
        sa.select(RunInputPackage.run_id, package.id, package.size_bytes)
        .join(package, package.id == RunInputPackage.raw_data_package_id)
        .where(RunInputPackage.run_id.in_(runs))
    )
    read = sa.select(RunInputPackage.raw_data_package_id).where(RunInputPackage.run_id.in_(runs))
    present = {package_id for package_id, _ in readable_directories(session, read, location_id)}
    found: dict[RunId, dict[PackageId, int]] = defaultdict(dict)
    for run_id, package_id, size in session.execute(reads).tuples():
        if package_id not in present:
            found[run_id][package_id] = size
    return found


def _size_of(leaves: Mapping[StepId, int | None], step: StepId, first: int | None) -> int:
    """Return the number of bytes that a run will leave: what the run it regenerates left, else the step's estimate."""
    return (leaves.get(step) or 0) if first is None else first


def _leaves(session: Session, pipelines: Collection[PipelineView]) -> dict[StepId, int | None]:
    """Return, for each step, the bytes that a run leaves: declared, or else the most of its newest runs, or None."""
    steps = [step for pipeline in pipelines for step in pipeline.steps]
    declared = {step.step_id: step.resources.disk_gb for step in steps}
    found: dict[StepId, int | None] = {}
    for step_id, disk_gb in declared.items():
        newest = (
            sa.select(Run.id)
            .where(Run.step_id == step_id, Run.status == RunStatus.COMPLETED, Run.is_result)
            .order_by(Run.id.desc())
            .limit(_NEWEST)
        )
        largest = sa.select(sa.func.max(RunSpace.made_bytes)).where(RunSpace.run_id.in_(newest))
        found[step_id] = session.scalar(largest) if disk_gb is None else round(disk_gb * 1e9)
    return found


def _behind(pipelines: Collection[PipelineView]) -> dict[StepId, set[StepId]]:
    """Return, for each step, the steps that depend on it, directly or not."""
    behind: dict[StepId, set[StepId]] = {}
    for pipeline in pipelines:
        for step in reversed(pipeline.steps):
            for upstream in step.upstream_ids:
                behind.setdefault(upstream, set()).update({step.step_id}, behind.get(step.step_id, set()))
    return behind


def _moving(session: Session, location_id: int) -> dict[tuple[StepId, int | None], int]:
    """Return the number of admitted runs, by step and by the size of the products they regenerate (None for others)."""
    first = aliased(RunSpace)
    query = (
        sa.select(Run.step_id, first.removable_bytes, sa.func.count())
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .outerjoin(first, first.run_id == Run.regenerates_run_id)
        .where(Pipeline.processing_location_id == location_id, Run.status.in_(MOVING))
        .group_by(Run.step_id, first.removable_bytes)
    )
    return {(step, size): count for step, size, count in session.execute(query).tuples()}
