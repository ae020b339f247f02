import sqlalchemy as sa
from sqlalchemy.orm import aliased

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus


def is_newest_completed() -> sa.ColumnElement[bool]:
    """Say whether no later run of the same step and sub-group has completed, of the run of an enclosing query."""
    later = aliased(Run)
    newer = sa.select(later.id).where(
        later.step_id == Run.step_id,
        later.sub_group_id == Run.sub_group_id,
        later.status == RunStatus.COMPLETED,
        later.stands,
        later.id > Run.id,
    )
    return sa.not_(newer.correlate(Run).exists())
