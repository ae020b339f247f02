import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.gap.history import versions_of
from ccat_models.gap.inputs import sub_group_links
from ccat_models.gap.table import Scope, gap_now, is_actionable
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.inherited_taints import inherit_taints
from ccat_models.tables.base import RunId, StepId, SubGroupId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RerunRequest, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup, SubGroupMember
from ccat_models.tables.products import INPUT_TYPES, DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import RunSpace


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
    at_location: int | None = None,
    known: sa.Table = gap_now,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> Mapping[RunId, SubGroupId]:
    """Create a run with its inputs and first attempt for each gap of the step; return run → sub-group.

    Gaps beyond `limit` and `free_places` stay gaps. `known` must hold the pipeline's present gaps; `only` and
    `conditions` select some of them. The caller's transaction must be a request's (`OpsDb.request`).
    """
    check_fits("requested_by", requested_by, Run.requested_by)
    limit = _smallest(limit, free_places(session, pipeline, step, at_location))
    last = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Run.id), 0)))
    wanted = [*conditions, *([] if only is None else [known.c.sub_group_id.in_(only)])]
    session.execute(_insert_runs(session, pipeline, step, requested_by, now, limit, known, wanted))
    new = sa.select(Run.id, Run.sub_group_id).where(Run.step_id == step.step_id, Run.id > last).order_by(Run.id)
    created = dict(session.execute(new).tuples().all())
    if created:
        _link_inputs(session, pipeline, step, next(iter(created)), known)
        inherit_taints(session, Run.step_id == step.step_id, Run.id >= next(iter(created)))
        record_use(session, step.step_id, next(iter(created)), now)
        session.execute(
            sa.insert(Attempt),
            [attempt_row(run_id, 1, backend, step.resources.model_dump(), now) for run_id in created],
        )
    return created


def keys_of_new(session: Session, step_id: StepId, created: Collection[RunId]) -> dict[str, RunId]:
    """Return by sub-group key the runs of a step that a request has created, in the order of the keys.

    In the request's transaction: it is alone in creating runs, so that none is newer.
    """
    if not created:
        return {}
    new = (Run.step_id == step_id, Run.id >= min(created))
    query = sa.select(SubGroup.key, Run.id).join(SubGroup, SubGroup.id == Run.sub_group_id).where(*new)
    return dict(session.execute(query.order_by(SubGroup.key)).tuples().all())


def add_attempt(
    session: Session, run_id: RunId, number: int, backend: str, resources: dict[str, Any], now: datetime
) -> None:
    """Add an attempt with a submission key of its own; attempts share nothing."""
    session.execute(sa.insert(Attempt), [attempt_row(run_id, number, backend, resources, now)])


def request_rerun(
    session: Session, step: StepView, sub_groups: Collection[SubGroupId], *, force: bool, by: str, now: datetime
) -> None:
    """Record that these sub-groups may be retried, or, with `force`, must be run again even if they are up to date."""
    check_fits("by", by, RerunRequest.requested_by)
    columns = RerunRequest.__table__.c
    constants = {"step_id": step.step_id, "force": force, "requested_at": now, "requested_by": by}
    rows = (
        sa.select(
            *(sa.literal(value, columns[name].type) for name, value in constants.items()),
            SubGroup.id,
            sa.func.max(Run.id),
        )
        .outerjoin(Run, sa.and_(Run.step_id == step.step_id, Run.sub_group_id == SubGroup.id))
        .group_by(SubGroup.id)
        .order_by(SubGroup.id)
    )
    for chunk in chunks(sub_groups):
        session.execute(
            sa.insert(RerunRequest).from_select(
                [*constants, "sub_group_id", "last_run_id"], rows.where(SubGroup.id.in_(chunk))
            )
        )


def has_asked(session: Session, step_id: int, by: str) -> bool:
    """Say whether the requester `by` has requested runs, or retries, of a step."""
    again = sa.select(RerunRequest.id).where(RerunRequest.step_id == step_id, RerunRequest.requested_by == by)
    made = sa.select(Run.id).where(Run.step_id == step_id, Run.requested_by == by)
    return bool(session.scalar(sa.select(sa.or_(again.exists(), made.exists()))))


def free_places(session: Session, pipeline: PipelineView, step: StepView, at_location: int | None) -> int | None:
    """Return how many more runs of the step may be in flight; None if there is no limit.

    The limits are the `max_in_flight` of the step and of its pipeline, and `at_location`, that of the location.
    """
    caps = (step.max_in_flight, pipeline.max_in_flight, at_location)
    if all(cap is None for cap in caps):
        return None
    in_flight = sa.select(
        sa.func.count(sa.case((Run.step_id == step.step_id, 1))),
        sa.func.count(sa.case((ReductionStep.pipeline_id == pipeline.pipeline_id, 1))),
        sa.func.count(),
    ).join_from(Run, ReductionStep)
    here = sa.select(Pipeline.id).where(Pipeline.processing_location_id == pipeline.processing_location_id)
    query = in_flight.where(Run.status.in_(IN_FLIGHT), ReductionStep.pipeline_id.in_(here))
    counted = session.execute(query).one()
    return _smallest(*(None if cap is None else max(0, cap - taken) for cap, taken in zip(caps, counted, strict=True)))


def record_use(session: Session, step_id: StepId, first: RunId, now: datetime) -> None:
    """Record that products are in use: those read by the runs of a step from the run `first` on."""
    new = (Run.step_id == step_id, Run.id >= first)
    read = sa.select(RunInputProduct.producer_run_id).join(Run, Run.id == RunInputProduct.run_id).where(*new)
    used = sa.update(RunSpace).where(RunSpace.run_id.in_(read)).values(last_used_at=now)
    session.execute(used.execution_options(synchronize_session=False))


def attempt_row(run_id: RunId, number: int, backend: str, resources: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the row of a new attempt."""
    return {
        "run_id": run_id,
        "number": number,
        "submission_key": uuid.uuid4().hex,
        "state": AttemptState.INTENDED,
        "backend": backend,
        "created_at": now,
        "resources": resources,
    }


def _smallest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _insert_runs(
    session: Session,
    pipeline: PipelineView,
    step: StepView,
    requested_by: str,
    now: datetime,
    limit: int | None,
    known: sa.Table,
    conditions: Sequence[sa.ColumnElement[bool]],
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
            *(known.c[name] for name in from_gap.values()),
        )
        .where(known.c.step_id == step.step_id, is_actionable(known), *conditions)
        .order_by(sa.func.coalesce(known.c.latest_run_id, 0), known.c.sub_group_id)  # the longest waiting first
    )
    if limit is not None:
        rows = rows.limit(limit)
    # A sub-group that got a run in flight in the meantime is skipped: the caller joins that run.
    return insert_or_ignore(session, Run).from_select([*constants, *from_gap], rows)


def _link_inputs(session: Session, pipeline: PipelineView, step: StepView, first: RunId, known: sa.Table) -> None:
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
    scope = Scope(known, lambda _: sa.select(Run.sub_group_id).where(new))
    for upstream in (steps[upstream_id] for upstream_id in step.upstream_ids):
        links = sub_group_links(step, upstream, scope)
        products = (
            sa.select(Run.id, DataProduct.id, DataProduct.run_id, DataProduct.sha256)
            .join(links, links.c.sub_group_id == Run.sub_group_id)
            .join(
                known,
                sa.and_(known.c.step_id == upstream.step_id, known.c.sub_group_id == links.c.upstream_sub_group_id),
            )
            .join(DataProduct, DataProduct.run_id == known.c.current_run_id)
            .where(new, DataProduct.type.in_(INPUT_TYPES))
        )
        columns = ["run_id", "data_product_id", "producer_run_id", "sha256"]
        session.execute(sa.insert(RunInputProduct).from_select(columns, products))
