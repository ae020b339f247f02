"""Runs as rows together with what they were made with: for whatever needs more of a run than a list shows."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.orm.interfaces import LoaderOption

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, Purpose
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import ReductionSoftwareVersion, ReductionStepRevision


def whole_runs(
    session: Session, run_ids: Collection[RunId] | sa.Select[tuple[RunId]], *more: LoaderOption
) -> Mapping[RunId, Run]:
    """Return runs by number, the oldest first, in one query.

    Each has its revision, sub-group, software version and configuration, and what `more` options load: only those who
    need the pipeline or the partitioning of the step pay for the joins.
    """
    query = (
        sa.select(Run)
        .where(Run.id.in_(run_ids))
        .options(
            joinedload(Run.step_revision).joinedload(ReductionStepRevision.pipeline_revision),
            joinedload(Run.sub_group),
            joinedload(Run.software_version).joinedload(ReductionSoftwareVersion.software),
            joinedload(Run.config),
            *more,
        )
        .order_by(Run.id)
    )
    return {run.id: run for run in session.scalars(query)}


def last_attempts(session: Session, run_ids: Collection[RunId]) -> Mapping[RunId, Attempt]:
    """Return the last attempt that executed each run; attempts that reproduced it are left out."""
    executing = (Attempt.run_id.in_(run_ids), Attempt.purpose == Purpose.EXECUTE)
    query = sa.select(Attempt).where(*executing).order_by(Attempt.number)
    return {attempt.run_id: attempt for attempt in session.scalars(query)}
