import sqlalchemy as sa
from sqlalchemy.orm import aliased

from ccat_models.gap.blocked import is_blocked
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus


def is_newest_completed() -> sa.ColumnElement[bool]:
    """Return the condition that a completed run of an enclosing query is its sub-group's newest result."""
    later = aliased(Run)
    return sa.and_(Run.is_result, _is_last(later))


def is_current() -> sa.ColumnElement[bool]:
    """Return the condition that a run of an enclosing query is the newest usable one of its sub-group.

    Usable are completed results that are not blocked: if the newest is blocked, an older one is current.
    """
    later = aliased(Run)
    counts = sa.and_(Run.status == RunStatus.COMPLETED, Run.is_result, sa.not_(is_blocked(Run.id)))
    return sa.and_(counts, _is_last(later, sa.not_(is_blocked(later.id))))


def _is_last(later: type[Run], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    newer = sa.select(later.id).where(
        later.step_id == Run.step_id,
        later.sub_group_id == Run.sub_group_id,
        later.status == RunStatus.COMPLETED,
        later.is_result,
        later.id > Run.id,
        *conditions,
    )
    return sa.not_(newer.correlate(Run).exists())
