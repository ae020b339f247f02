"""Regenerating purged products that a run needs, with the same version, parameters and inputs as the first time.

Only what is needed is regenerated: the purged products that open gaps read, and the purged products those were made
from, as far up as necessary. A run is regenerated once all its inputs are present.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.gap.inputs import sub_group_links
from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import Scope
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.inherited_taints import inherit_taints
from ccat_models.run.made_of import cannot_regenerate
from ccat_models.run.request import attempt_row, free_places, record_use, request_rerun
from ccat_models.tables.base import RunId, StepId, SubGroupId
from ccat_models.tables.execution import (
    ENDED_BADLY,
    IN_FLIGHT,
    Attempt,
    FailureClass,
    Purpose,
    RerunRequest,
    RunStatus,
)
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import ReductionStep
from ccat_models.tables.products import INPUT_TYPES, DataProduct
from ccat_models.tables.space import NOT_THERE, RunSpace, SpaceState

REASON = "regeneration"
# After these failures the program will not reproduce its products; after others a retry may succeed.
HOPELESS = (FailureClass.SCIENCE, FailureClass.PERMANENT, FailureClass.COLLECTION)
_COPIED = ("step_id", "step_revision_id", "sub_group_id", "software_version_id", "config_id", "priority")
_INPUTS = ("input_count", "input_lane_0", "input_lane_1", "input_lane_2")
Runs = sa.Select[tuple[RunId]] | sa.CompoundSelect[tuple[RunId]]
"""Runs as a query: there may be a million of them, which need not leave the database."""


def runs_numbered(run_ids: Collection[RunId]) -> Runs:
    """Return the runs that have these numbers."""
    return sa.select(Run.id.label("run_id")).where(Run.id.in_(run_ids))


def runs_awaited(
    session: Session, pipeline: PipelineView, step: StepView, gaps: sa.Select[Any], known: sa.Table
) -> Runs | None:
    """Return the runs whose purged products some sub-groups of a step wait for; None if none waits."""
    waiting = gaps.where(known.c.reason == Reason.INPUTS_PURGED.value)
    if not step.upstream_ids or not session.scalar(sa.select(waiting.exists())):
        return None
    return runs_read(pipeline, step, waiting, known)


def regenerate(
    session: Session,
    pipeline: PipelineView,
    runs: Runs,
    *,
    backend: str,
    requested_by: str,
    now: datetime,
    at_location: int | None = None,
) -> Mapping[str, Mapping[RunId, SubGroupId]]:
    """Create the regenerations that can begin now of purged products of `runs`; return step → run → sub-group.

    Like `create_runs`, it must be called in a request's transaction.
    """
    check_fits("requested_by", requested_by, Run.requested_by)
    needed = needed_runs(runs)
    purged = sa.select(needed.c.run_id).join(RunSpace, RunSpace.run_id == needed.c.run_id).where(_purged())
    wanted = session.scalars(purged).all()
    created: dict[str, Mapping[RunId, SubGroupId]] = {}
    if wanted:
        lost = session.scalars(cannot_regenerate(wanted)).all()
        _lose(session, RunSpace.run_id.in_(lost), now)
        for step in pipeline.steps:
            limit = free_places(session, pipeline, step, at_location)
            created[step.name] = _create(session, step, wanted, backend, requested_by, now, limit)
    return {name: made for name, made in created.items() if made}


def can_regenerate_more(session: Session, pipeline: PipelineView, runs: Runs) -> bool:
    """Say whether `regenerate` would create a run if the limits allowed it; False if all attempts have failed."""
    steps = [step.step_id for step in pipeline.steps]
    query = (
        sa.select(Run.id)
        .join(RunSpace, RunSpace.run_id == Run.id)
        .where(Run.id.in_(sa.select(needed_runs(runs).c.run_id)), Run.step_id.in_(steps), *_can_be_regenerated())
    )
    return bool(session.scalar(sa.select(query.exists())))


def renew(session: Session, pipeline: PipelineView, runs: Runs, *, by: str, now: datetime) -> None:
    """Let failed or cancelled regenerations, of what the products of `runs` need, be retried."""
    needed = needed_runs(runs)
    tried = (Run.regenerates_run_id.in_(sa.select(needed.c.run_id)), Run.status.in_(ENDED_BADLY))
    in_vain = session.execute(sa.select(Run.step_id, Run.sub_group_id).where(*tried).distinct()).tuples().all()
    for step in pipeline.steps:
        sub_groups = [sub_group for step_id, sub_group in in_vain if step_id == step.step_id]
        request_rerun(session, step, sub_groups, force=False, by=by, now=now)


def regenerations_in_flight(session: Session, runs: Runs) -> dict[RunId, str]:
    """Return the runs in flight that regenerate what the products of `runs` need, and the names of their steps."""
    needed = needed_runs(runs)
    query = (
        sa.select(Run.id, ReductionStep.name)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .where(Run.regenerates_run_id.in_(sa.select(needed.c.run_id)), Run.status.in_(IN_FLIGHT))
    )
    return dict(session.execute(query).tuples().all())


def runs_read(pipeline: PipelineView, step: StepView, gaps: sa.Select[Any], known: sa.Table) -> Runs:
    """Return the runs whose products some sub-groups of a step would read now; the step must have upstreams."""
    steps = {other.step_id: other for other in pipeline.steps}
    scope = Scope(known, lambda _: gaps)
    return sa.union(*(_read_from(step, steps[upstream], scope) for upstream in step.upstream_ids))


def needed_runs(runs: Runs) -> sa.CTE:
    """Return the runs, and the runs whose purged products are needed to regenerate theirs."""
    begun = runs.subquery("begun")
    needed = sa.select(begun.c.run_id).cte("needed", recursive=True)
    space, read = RunSpace, RunInputProduct
    behind = sa.func.coalesce(read.producer_run_id, space.replaced_by_run_id)
    further = (
        sa.select(behind)
        .select_from(needed)
        .join(space, sa.and_(space.run_id == needed.c.run_id, space.state.in_((*NOT_THERE, SpaceState.REPLACED))))
        .outerjoin(read, sa.and_(read.run_id == needed.c.run_id, space.state != SpaceState.REPLACED))
        .where(behind.is_not(None))
    )
    return needed.union(further)


def lose(session: Session, first: RunId, now: datetime) -> None:
    """Mark a run's purged products as lost: they cannot be regenerated."""
    _lose(session, RunSpace.run_id == first, now)


def _lose(session: Session, which: sa.ColumnElement[bool], now: datetime) -> None:
    session.execute(
        sa.update(RunSpace)
        .where(which, _purged())
        .values(state=SpaceState.LOST, changed_at=now)
        .execution_options(synchronize_session=False)
    )


def _purged() -> sa.ColumnElement[bool]:
    return RunSpace.state == SpaceState.PURGED


_there = aliased(RunSpace, name="there_space")
_instead = aliased(RunSpace, name="instead_space")


def _read_from(step: StepView, upstream: StepView, scope: Scope) -> sa.Select[tuple[RunId]]:
    links, there = sub_group_links(step, upstream, scope), scope.known.alias("there")
    same = sa.and_(there.c.step_id == upstream.step_id, there.c.sub_group_id == links.c.upstream_sub_group_id)
    found = sa.select(there.c.current_run_id.label("run_id")).select_from(links).join(there, same)
    return found.where(there.c.current_run_id.is_not(None))


def _create(
    session: Session, step: StepView, wanted: Sequence[RunId], backend: str, by: str, now: datetime, limit: int | None
) -> Mapping[RunId, SubGroupId]:
    last = session.scalar(sa.select(sa.func.max(Run.id))) or RunId(0)
    constants: dict[str, Any] = {
        "status": RunStatus.PENDING,
        "status_changed_at": now,
        "reason": REASON,
        "requested_by": by,
        "created_at": now,
        "is_result": False,
    }
    copied = [*_COPIED, *_INPUTS]
    rows = (
        sa.select(
            *(sa.literal(value, Run.__table__.c[name].type) for name, value in constants.items()),
            *(getattr(Run, name) for name in copied),
            Run.id,
        )
        .join(RunSpace, RunSpace.run_id == Run.id)
        .where(Run.id.in_(wanted), Run.step_id == step.step_id, *_can_be_regenerated())
        .order_by(Run.id)
        .limit(limit)
    )
    columns = [*constants, *copied, "regenerates_run_id"]
    session.execute(insert_or_ignore(session, Run).from_select(columns, rows))
    new = sa.select(Run.id, Run.sub_group_id).where(Run.step_id == step.step_id, Run.id > last).order_by(Run.id)
    created = dict(session.execute(new).tuples().all())
    if created:
        _link(session, step.step_id, last)
        record_use(session, step.step_id, min(created), now)
        session.execute(sa.insert(Attempt), _attempts(session, created, backend, now))
    return created


def _can_be_regenerated() -> Sequence[sa.ColumnElement[bool]]:
    return _purged(), _inputs_are_present(Run.id), ~_is_spent()


def _inputs_are_present(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that all products a run has read, or their replacements, are present."""
    read = RunInputProduct
    present = sa.or_(_there.state == SpaceState.PRESENT, _instead.state == SpaceState.PRESENT)
    absent = (
        sa.select(sa.literal(1))
        .select_from(read)
        .join(_there, _there.run_id == read.producer_run_id)
        .outerjoin(_instead, _instead.run_id == _there.replaced_by_run_id)
        .where(read.run_id == run_id, sa.not_(sa.func.coalesce(present, sa.false())))
        .correlate_except(read, _there, _instead)
    )
    return sa.not_(absent.exists())


def _is_spent() -> sa.ColumnElement[bool]:
    """Return the condition that a run's regeneration failed or was cancelled, and no retry was requested since."""
    again = aliased(Run)
    renewed = (
        sa.select(sa.func.max(sa.func.coalesce(RerunRequest.last_run_id, 0)))
        .where(RerunRequest.step_id == Run.step_id, RerunRequest.sub_group_id == Run.sub_group_id)
        .correlate(Run)
        .scalar_subquery()
    )
    return (
        sa.select(sa.literal(1))
        .where(
            again.regenerates_run_id == Run.id,
            again.status.in_(ENDED_BADLY),
            again.id > sa.func.coalesce(renewed, -1),
        )
        .correlate(Run)
        .exists()
    )


def _link(session: Session, step_id: StepId, last: RunId) -> None:
    """Link the new runs to the inputs of the runs they regenerate, or to the replacements of these, tainted or not."""
    new = (Run.step_id == step_id, Run.id > last, Run.regenerates_run_id.is_not(None))
    package = RunInputPackage
    packages = sa.select(Run.id, package.raw_data_package_id, package.checksum).join(
        package, package.run_id == Run.regenerates_run_id
    )
    names = ["run_id", "raw_data_package_id", "checksum"]
    session.execute(sa.insert(package).from_select(names, packages.where(*new)))
    read = RunInputProduct
    of_record = (
        sa.select(Run.id, read.data_product_id, read.producer_run_id, read.sha256)
        .join(read, read.run_id == Run.regenerates_run_id)
        .join(_there, _there.run_id == read.producer_run_id, isouter=True)
        .where(*new, _there.replaced_by_run_id.is_(None))
    )
    instead = (
        sa.select(Run.id, DataProduct.id, DataProduct.run_id, DataProduct.sha256)
        .join(read, read.run_id == Run.regenerates_run_id)
        .join(_there, _there.run_id == read.producer_run_id)
        .join(DataProduct, DataProduct.run_id == _there.replaced_by_run_id)
        .where(*new, DataProduct.type.in_(INPUT_TYPES))
    )
    names = ["run_id", "data_product_id", "producer_run_id", "sha256"]
    session.execute(sa.insert(read).from_select(names, sa.union(of_record, instead)))
    inherit_taints(session, *new)


def _attempts(session: Session, created: Collection[RunId], backend: str, now: datetime) -> list[dict[str, Any]]:
    """Return a first attempt for each run, with the resources with which the regenerated run completed."""
    query = (
        sa.select(Run.id, Attempt.resources)
        .join(Attempt, Attempt.run_id == Run.regenerates_run_id)
        .where(Run.id.in_(created), Attempt.purpose == Purpose.EXECUTE)
        .order_by(Run.id, Attempt.number)
    )
    resources = dict(session.execute(query).tuples().all())
    return [attempt_row(run_id, 1, backend, resources[run_id], now) for run_id in created]
