"""Circuits: a step with too many consecutive science failures creates no runs until its circuit is reset."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.history import failed_in_a_row
from ccat_models.pipeline.view import StepView, list_pipelines, load_pipeline
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import CircuitReset
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lengths import check_fits


@dataclass(frozen=True)
class Circuit:
    """A step's consecutive science failures, the newest of them, and when they reached the threshold."""

    pipeline: str
    step: str
    failures: int
    threshold: int
    open_since: datetime | None
    last_failed_run: RunId | None
    last_failure: str | None

    @property
    def is_open(self) -> bool:
        """Say whether the step creates no runs until the circuit is reset."""
        return self.failures >= self.threshold


def list_circuits(session: Session) -> list[Circuit]:
    """Return the circuit of every step of every pipeline."""
    return [_circuit(session, pipeline.name, step) for pipeline in list_pipelines(session) for step in pipeline.steps]


def find_circuit(session: Session, pipeline: str, step: str) -> Circuit:
    """Return a step's circuit; raise NotFound with the known pipelines or steps."""
    return _circuit(session, pipeline, load_pipeline(session, pipeline).step(step))


def reset_circuit(session: Session, pipeline: str, step: str, *, by: str, now: datetime) -> Circuit:
    """Close a step's circuit if it is open and return it as it was; in a request's transaction.

    Failures of runs that exist now no longer count. Raises NotFound with the known pipelines or steps.
    """
    check_fits("by", by, CircuitReset.reset_by)
    view = load_pipeline(session, pipeline).step(step)
    found = _circuit(session, pipeline, view)
    if found.is_open:
        last = session.scalar(sa.select(sa.func.max(Run.id)).where(Run.step_id == view.step_id))
        session.add(CircuitReset(step_id=view.step_id, last_run_id=last, reset_at=now, reset_by=by))
        session.flush()
    return found


def _circuit(session: Session, pipeline: str, step: StepView) -> Circuit:
    query = (
        sa.select(Run.id, Run.status_changed_at, Run.failure_message)
        .where(*failed_in_a_row(step))
        .order_by(Run.status_changed_at, Run.id)
    )
    counted = session.execute(query).all()
    count = len(counted)
    last = counted[-1] if counted else None
    return Circuit(
        pipeline=pipeline,
        step=step.name,
        failures=count,
        threshold=step.circuit_threshold,
        open_since=counted[step.circuit_threshold - 1].status_changed_at if count >= step.circuit_threshold else None,
        last_failed_run=None if last is None else last.id,
        last_failure=None if last is None else last.failure_message,
    )
