"""Keeping the table `sub_group_gap` up to date: only what has changed since the last look is evaluated.

A look follows the changes that the database's triggers have recorded, step by step, upstreams first. It evaluates the
sub-groups that changed, and those whose `due_at` has come. Where a row differs from the stored one, the downstream
sub-groups are evaluated too. The result is the same as that of an evaluation of everything.
"""

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap import table
from ccat_models.gap.evaluate import EvaluationOptions, judge
from ccat_models.gap.history import circuit_failures
from ccat_models.gap.reason_counts import record_counts
from ccat_models.gap.table import COLUMNS, TOUCHED, WHOLE_STEP, changed, gap_now, sub_group_gap, touched
from ccat_models.pipeline.forget import forget_gaps
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.sub_group.follow import packages_changed
from ccat_models.tables.base import StepId
from ccat_models.tables.gaps import StepLook, SubGroupChange, SubGroupGap
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.pipelines import ReductionStep, SubGroupMember
from ccat_models.temporary import analyze

MANY = 20_000
# `+ 0` keeps SQLite from using the key: without statistics it expects fewer rows of the step than rows that are due.
_STEP_ID = sub_group_gap.c.step_id + 0
_DATA = [name for name in COLUMNS if name not in ("step_id", "sub_group_id")]


@dataclass(frozen=True)
class Looked:
    """What a look did, by step: the number of sub-groups evaluated, and of those whose row changed."""

    judged: dict[StepId, int] = field(default_factory=dict)
    changed: dict[StepId, int] = field(default_factory=dict)


def look(session: Session, pipeline: PipelineView, now: datetime, *, many: int = MANY) -> Looked:
    """Follow all changes of a pipeline's sub-groups, in a request's transaction; memberships must be up to date.

    After more than `many` changes of a step, all sub-groups of its downstream steps are evaluated.
    """
    table.start(session)
    whole = _take_changes(session, pipeline, now)
    _forget_other_steps(session, pipeline, now)
    looked = Looked()
    for step in pipeline.steps:
        circuit_open = _judge(session, pipeline, step, whole, looked, now)
        if circuit_open is None:
            continue
        looked.changed[step.step_id] = _compare(session, step, everything=step.step_id in whole)
        if looked.changed[step.step_id]:
            if looked.changed[step.step_id] > many:
                whole |= {other.step_id for other in pipeline.steps if step.step_id in other.upstream_ids}
            _touch_downstream(session, pipeline, step, whole)
            record_counts(session, step, now)
            _store_changed(session, step)
        if step.step_id in whole:
            analyze(session, sub_group_gap)
        _record_look(session, step, now, circuit_open=circuit_open)
    return looked


def is_current(session: Session, pipeline: PipelineView, now: datetime) -> bool:
    """Say whether `sub_group_gap` equals what an evaluation of the pipeline would find now."""
    ids = [step.step_id for step in pipeline.steps]
    looked = sa.select(sa.func.count()).select_from(StepLook).where(StepLook.step_id.in_(ids))
    due = sa.or_(packages_changed(), is_due(sa.literal(pipeline.pipeline_id), now))
    return session.scalar(looked) == len(ids) and not session.scalar(sa.select(due))


def has_due(session: Session, pipeline: PipelineView, now: datetime) -> bool:
    """Say whether there is something to look at in a pipeline."""
    return bool(session.scalar(sa.select(is_due(sa.literal(pipeline.pipeline_id), now))))


def leave_due(session: Session, pipeline: PipelineView) -> None:
    """Record a change of the pipeline, so that it is visited again for its runs: a look removes those it follows."""
    step_id = pipeline.steps[0].step_id
    some = session.scalar(sa.select(sa.func.min(SubGroupGap.sub_group_id)).where(SubGroupGap.step_id == step_id))
    if some is not None:
        session.add(SubGroupChange(step_id=step_id, sub_group_id=some))
        session.flush()


def is_due(pipeline_ids: sa.SQLColumnExpression[int], now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a pipeline of an enclosing query has changes to follow."""
    steps = sa.select(ReductionStep.id).where(ReductionStep.pipeline_id == pipeline_ids).correlate_except(ReductionStep)
    noted = sa.select(sa.literal(1)).where(SubGroupChange.step_id.in_(steps)).correlate_except(SubGroupChange)
    passed = sa.select(sa.literal(1)).where(*_due(now), _STEP_ID.in_(steps)).correlate_except(sub_group_gap)
    return sa.or_(noted.exists(), passed.exists())


def _due(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return sub_group_gap.c.due_at.is_not(None), sub_group_gap.c.due_at <= now


def _take_changes(session: Session, pipeline: PipelineView, now: datetime) -> set[StepId]:
    """Move recorded changes, and sub-groups that are due, into `touched`; return the steps to evaluate as a whole."""
    ids = [step.step_id for step in pipeline.steps]
    noted = SubGroupChange
    looked = set(session.scalars(sa.select(StepLook.step_id).where(StepLook.step_id.in_(ids))))
    everywhere = sa.select(noted.step_id).where(noted.step_id.in_(ids), noted.sub_group_id.is_(None)).distinct()
    whole = (set(ids) - looked) | set(session.scalars(everywhere))
    rest = [step_id for step_id in ids if step_id not in whole]
    marks = sa.select(noted.step_id, noted.sub_group_id).where(noted.step_id.in_(rest)).distinct()
    gap = sub_group_gap.c
    due = sa.select(gap.step_id, gap.sub_group_id).where(*_due(now), _STEP_ID.in_(rest))
    for found in (marks, due):
        session.execute(insert_or_ignore(session, touched).from_select(["step_id", "sub_group_id"], found))
    steps = sa.select(ReductionStep.id).where(ReductionStep.pipeline_id == pipeline.pipeline_id)
    session.execute(_quietly(sa.delete(noted).where(noted.step_id.in_(steps))))
    return whole


def _forget_other_steps(session: Session, pipeline: PipelineView, now: datetime) -> None:
    """Delete the gaps of steps that the pipeline's current revision no longer has."""
    others = sa.select(ReductionStep.id).where(
        ReductionStep.pipeline_id == pipeline.pipeline_id,
        ReductionStep.id.not_in([step.step_id for step in pipeline.steps]),
    )
    forget_gaps(session, SubGroupGap.step_id.in_(others), now)
    session.execute(_quietly(sa.delete(StepLook).where(StepLook.step_id.in_(others))))


def _judge(
    session: Session, pipeline: PipelineView, step: StepView, whole: set[StepId], looked: Looked, now: datetime
) -> bool | None:
    """Fill `gap_now` for a step's touched sub-groups; return whether its circuit is open, None if none is touched."""
    any_touched = sa.select(sa.select(touched).where(touched.c.step_id == step.step_id).exists())
    if step.step_id not in whole and not session.scalar(any_touched):
        return None
    is_open = (session.scalar(sa.select(circuit_failures(step))) or 0) >= step.circuit_threshold
    was_open = session.scalar(sa.select(StepLook.circuit_open).where(StepLook.step_id == step.step_id))
    if was_open is not None and was_open != is_open:
        whole.add(step.step_id)
    analyze(session, touched)
    judge(session, pipeline, step, EvaluationOptions(now), WHOLE_STEP if step.step_id in whole else TOUCHED)
    analyze(session, gap_now)
    judged = sa.select(sa.func.count()).select_from(gap_now).where(gap_now.c.step_id == step.step_id)
    looked.judged[step.step_id] = session.scalar(judged) or 0
    return is_open


def _compare(session: Session, step: StepView, *, everything: bool) -> int:
    """Fill `changed` with the sub-groups whose row differs from the stored one; return their number."""
    session.execute(sa.delete(changed))
    there, here = sub_group_gap, gap_now
    same = sa.and_(there.c.step_id == here.c.step_id, there.c.sub_group_id == here.c.sub_group_id)
    differs = sa.or_(there.c.sub_group_id.is_(None), *(there.c[n].is_distinct_from(here.c[n]) for n in _DATA))
    rows = sa.select(here.c.sub_group_id).select_from(here.outerjoin(there, same))
    _fill_changed(session, rows.where(here.c.step_id == step.step_id, differs))
    if everything:  # sub-groups that the step no longer has
        found = sa.select(sa.literal(1)).where(same).correlate(there)
        gone = sa.select(there.c.sub_group_id).where(there.c.step_id == step.step_id, ~found.exists())
        _fill_changed(session, gone)
    analyze(session, changed)
    return session.scalar(sa.select(sa.func.count()).select_from(changed)) or 0


def _fill_changed(session: Session, rows: sa.Select[tuple[int]]) -> None:
    session.execute(sa.insert(changed).from_select(["sub_group_id"], rows))


def _touch_downstream(session: Session, pipeline: PipelineView, step: StepView, whole: set[StepId]) -> None:
    for downstream in pipeline.steps:
        if step.step_id not in downstream.upstream_ids or downstream.step_id in whole:
            continue
        # Without a WHERE, SQLite reads the ON of ON CONFLICT as part of a join (lang_UPSERT.html, section 2.2).
        into = _falling_into(step, downstream)
        rows = sa.select(sa.literal(downstream.step_id), into.c.sub_group_id).where(sa.true())
        session.execute(insert_or_ignore(session, touched).from_select(["step_id", "sub_group_id"], rows))


def _falling_into(step: StepView, downstream: StepView) -> sa.Subquery:
    """Return the downstream step's sub-groups that share a package with a changed one."""
    if step.partitioning_id == downstream.partitioning_id:
        return sa.select(changed.c.sub_group_id).subquery()
    here, there = sa.alias(SubGroupMember.__table__, "here"), sa.alias(SubGroupMember.__table__, "there")
    return (
        sa.select(there.c.sub_group_id)
        .select_from(changed)
        .join(here, here.c.sub_group_id == changed.c.sub_group_id)
        .join(there, there.c.raw_data_package_id == here.c.raw_data_package_id)
        .where(there.c.partitioning_id == downstream.partitioning_id)
        .distinct()
        .subquery()
    )


def _store_changed(session: Session, step: StepView) -> None:
    some = sa.select(changed.c.sub_group_id)
    judged = (sub_group_gap.c.step_id == step.step_id, sub_group_gap.c.sub_group_id.in_(some))
    session.execute(sa.delete(sub_group_gap).where(*judged))
    rows = sa.select(gap_now).where(gap_now.c.step_id == step.step_id, gap_now.c.sub_group_id.in_(some))
    session.execute(sa.insert(sub_group_gap).from_select(COLUMNS, rows))


def _record_look(session: Session, step: StepView, now: datetime, *, circuit_open: bool) -> None:
    session.execute(_quietly(sa.delete(StepLook).where(StepLook.step_id == step.step_id)))
    session.execute(sa.insert(StepLook).values(step_id=step.step_id, looked_at=now, circuit_open=circuit_open))


def _quietly(statement: sa.Delete) -> sa.Delete:
    return statement.execution_options(synchronize_session=False)
