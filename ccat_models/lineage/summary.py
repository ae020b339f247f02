"""A lineage of any size, summed by step: numbers of runs and packages, and which step read products of which."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.lineage.scope import Scope, ancestors
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import Pipeline, ReductionSoftware, ReductionSoftwareVersion, ReductionStep


@dataclass(frozen=True)
class StepNode:
    """The runs of one step with one software version, and how many packages they read directly."""

    step_id: StepId
    pipeline: str
    step: str
    software: str
    version: str
    version_id: int
    runs: int
    packages: int


@dataclass(frozen=True)
class StepLink:
    """How often runs of one step and version read products of another; both are positions in `steps`."""

    producer: int
    reader: int
    products: int


@dataclass(frozen=True)
class Summary:
    """A lineage by step; each run and package is counted once."""

    root: RunId
    root_place: int  # position of its step in `steps`
    steps: tuple[StepNode, ...]
    links: tuple[StepLink, ...]
    runs: int
    packages: int


def summary_of(session: Session, run_id: RunId) -> Summary:
    """Return the lineage of a run, summed by step."""
    closure = ancestors(run_id)
    steps = _steps(session, closure)
    packages = sa.select(sa.func.count(sa.distinct(RunInputPackage.raw_data_package_id)))
    count = session.scalar(packages.join(closure, closure.c.run_id == RunInputPackage.run_id))
    places = {(step.step_id, step.version_id): place for place, step in enumerate(steps)}
    root = session.get_one(Run, run_id)
    links = _links(session, closure, places)
    runs = sum(step.runs for step in steps)
    return Summary(run_id, places[root.step_id, root.software_version_id], steps, links, runs, count or 0)


def _steps(session: Session, closure: Scope) -> tuple[StepNode, ...]:
    version = ReductionSoftwareVersion
    packages = (
        sa.select(Run.step_id, Run.software_version_id)
        .add_columns(sa.func.count(sa.distinct(RunInputPackage.raw_data_package_id)).label("packages"))
        .join(closure, closure.c.run_id == Run.id)
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .group_by(Run.step_id, Run.software_version_id)
        .subquery()
    )
    runs = (
        sa.select(Run.step_id, Run.software_version_id, sa.func.count().label("runs"))
        .join(closure, closure.c.run_id == Run.id)
        .group_by(Run.step_id, Run.software_version_id)
        .subquery()
    )
    same = sa.and_(packages.c.step_id == runs.c.step_id, packages.c.software_version_id == runs.c.software_version_id)
    query = (
        sa.select(runs.c.step_id, Pipeline.name, ReductionStep.name, ReductionSoftware.name, version.version)
        .add_columns(version.id, runs.c.runs, sa.func.coalesce(packages.c.packages, 0))
        .join(ReductionStep, ReductionStep.id == runs.c.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(version, version.id == runs.c.software_version_id)
        .join(ReductionSoftware, ReductionSoftware.id == version.software_id)
        .outerjoin(packages, same)
        .order_by(runs.c.step_id, version.id)
    )
    return tuple(StepNode(*row) for row in session.execute(query).tuples())


def _links(session: Session, closure: Scope, places: Mapping[tuple[StepId, int], int]) -> tuple[StepLink, ...]:
    producer = aliased(Run)
    ends = (producer.step_id, producer.software_version_id, Run.step_id, Run.software_version_id)
    query = (
        sa.select(*ends, sa.func.count())
        .select_from(closure)
        .join(Run, Run.id == closure.c.run_id)
        .join(RunInputProduct, RunInputProduct.run_id == Run.id)
        .join(producer, producer.id == RunInputProduct.producer_run_id)
        .group_by(*ends)
        .order_by(*ends)
    )
    rows = session.execute(query).tuples()
    return tuple(StepLink(places[made, by], places[read, wi], count) for made, by, read, wi, count in rows)
