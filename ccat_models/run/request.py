import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.history import versions_of
from ccat_models.gap.inputs import sub_group_links
from ccat_models.gap.reasons import ACTIONABLE
from ccat_models.gap.table import gap_now
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.tables.base import RunId, SubGroupId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RerunRequest, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import SubGroupMember
from ccat_models.tables.products import INPUT_TYPES, DataProduct
from ccat_models.tables.raw_data import RawDataPackage


def create_runs(
    session: Session,
    pipeline: PipelineView,
    step: StepView,
    *,
    backend: str,
    requested_by: str,
    now: datetime,
    only: Collection[SubGroupId] | None = None,
    limit: int | None = None,
) -> Mapping[RunId, SubGroupId]:
    """Create a run with its inputs and first attempt for each gap of the step; return run → sub-group.

    Gaps beyond the step's `max_in_flight` stay gaps. `gap_now` must be filled. Everything is committed, or not, with
    the caller's transaction, which must be a request's (`OpsDb.request`).
    """
    limit = _places(session, step, limit)
    last = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Run.id), 0)))
    session.execute(_insert_runs(session, pipeline, step, requested_by, now, only, limit))
    new = sa.select(Run.id, Run.sub_group_id).where(Run.step_id == step.step_id, Run.id > last).order_by(Run.id)
    created = dict(session.execute(new).tuples().all())
    if created:
        _link_inputs(session, pipeline, step, next(iter(created)))
        session.execute(
            sa.insert(Attempt), [_attempt(run_id, 1, backend, step.resources.model_dump(), now) for run_id in created]
        )
    return created


def add_attempt(
    session: Session, run_id: RunId, number: int, backend: str, resources: dict[str, Any], now: datetime
) -> None:
    """Add an attempt with a submission key of its own: nothing is shared between attempts."""
    session.execute(sa.insert(Attempt), [_attempt(run_id, number, backend, resources, now)])


def ask_again(
    session: Session, step: StepView, sub_groups: Collection[SubGroupId], *, force: bool, by: str, now: datetime
) -> None:
    """Record that these sub-groups may be tried again, or must be run again even if they are up to date."""
    latest = dict(
        session.execute(
            sa.select(Run.sub_group_id, sa.func.max(Run.id))
            .where(Run.step_id == step.step_id, Run.sub_group_id.in_(sub_groups))
            .group_by(Run.sub_group_id)
        )
        .tuples()
        .all()
    )
    rows = [
        {
            "step_id": step.step_id,
            "sub_group_id": sub_group,
            "force": force,
            "requested_at": now,
            "requested_by": by,
            "last_run_id": latest.get(sub_group),
        }
        for sub_group in sub_groups
    ]
    if rows:
        session.execute(sa.insert(RerunRequest), rows)


def _attempt(run_id: RunId, number: int, backend: str, resources: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "number": number,
        "submission_key": uuid.uuid4().hex,
        "state": AttemptState.INTENDED,
        "backend": backend,
        "created_at": now,
        "resources": resources,
    }


def _places(session: Session, step: StepView, limit: int | None) -> int | None:
    """Return how many runs may be created now: the limit, or fewer where that many would exceed the step's own."""
    if step.max_in_flight is None:
        return limit
    in_flight = sa.select(sa.func.count()).where(Run.step_id == step.step_id, Run.status.in_(IN_FLIGHT))
    free = max(0, step.max_in_flight - (session.scalar(in_flight) or 0))
    return free if limit is None else min(limit, free)


def _insert_runs(
    session: Session,
    pipeline: PipelineView,
    step: StepView,
    requested_by: str,
    now: datetime,
    only: Collection[SubGroupId] | None,
    limit: int | None,
) -> sa.Insert:
    constants = {
        "step_id": step.step_id,
        "step_revision_id": step.revision_id,
        "software_version_id": versions_of(session, step).target_id,
        "config_id": step.config_id,
        "status": RunStatus.PENDING,
        "status_changed_at": now,
        "requested_by": requested_by,
        "priority": pipeline.priority,
        "created_at": now,
    }
    from_gap = {"sub_group_id": "sub_group_id", "reason": "reason", "input_count": "input_count"}
    from_gap |= {f"input_lane_{i}": f"lane_{i}" for i in range(3)}
    rows = (
        sa.select(
            *(sa.literal(value, Run.__table__.c[name].type) for name, value in constants.items()),
            *(gap_now.c[name] for name in from_gap.values()),
        )
        .where(
            gap_now.c.step_id == step.step_id,
            gap_now.c.alive == 1,
            gap_now.c.reason.in_([reason.value for reason in ACTIONABLE]),
        )
        .order_by(gap_now.c.sub_group_id)
    )
    if only is not None:
        rows = rows.where(gap_now.c.sub_group_id.in_(only))
    if limit is not None:
        rows = rows.limit(limit)
    # Whoever was faster has the sub-group's one place in flight; joining that run is what the caller does then.
    return insert_or_ignore(session, Run).from_select([*constants, *from_gap], rows)


def _link_inputs(session: Session, pipeline: PipelineView, step: StepView, first: RunId) -> None:
    new = sa.and_(Run.step_id == step.step_id, Run.id >= first)
    if not step.upstream_ids:
        packages = (
            sa.select(Run.id, RawDataPackage.id, RawDataPackage.checksum)
            .join(SubGroupMember, SubGroupMember.sub_group_id == Run.sub_group_id)
            .join(RawDataPackage, RawDataPackage.id == SubGroupMember.raw_data_package_id)
            .where(new)
        )
        session.execute(sa.insert(RunInputPackage).from_select(["run_id", "raw_data_package_id", "checksum"], packages))
        return
    steps = {other.step_id: other for other in pipeline.steps}
    for upstream in (steps[upstream_id] for upstream_id in step.upstream_ids):
        links = sub_group_links(step, upstream)
        products = (
            sa.select(Run.id, DataProduct.id, DataProduct.run_id, DataProduct.sha256)
            .join(links, links.c.sub_group_id == Run.sub_group_id)
            .join(
                gap_now,
                sa.and_(gap_now.c.step_id == upstream.step_id, gap_now.c.sub_group_id == links.c.upstream_sub_group_id),
            )
            .join(DataProduct, DataProduct.run_id == gap_now.c.current_run_id)
            .where(new, DataProduct.type.in_(INPUT_TYPES))
        )
        columns = ["run_id", "data_product_id", "producer_run_id", "sha256"]
        session.execute(sa.insert(RunInputProduct).from_select(columns, products))
