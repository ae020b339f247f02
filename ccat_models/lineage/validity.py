"""Whether the products of a run are valid, and why not."""

import enum

import sqlalchemy as sa

from ccat_models.gap.blocked import is_blocked, is_gone
from ccat_models.run.newest import is_current
from ccat_models.tables.base import RunId, stored_enum
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.space import RunSpace, SpaceState


class Validity(enum.Enum):
    """Whether the products of a completed run are valid: the first of these that applies."""

    GONE = "gone"  # purged, then lost or replaced
    BLOCKED = "blocked"  # tainted, or blocked by a check
    EVIDENCE = "evidence"  # logs, plots and numbers of a run that regenerated another's products
    CURRENT = "current"
    SUPERSEDED = "superseded"


_WORD: sa.types.TypeEngine[Validity] = stored_enum(Validity)  # type: ignore[assignment]  # SQLAlchemy's own is untyped


def validity() -> sa.ColumnElement[Validity]:
    """Return the validity of the completed run of an enclosing query."""
    word = sa.case(
        (is_gone(Run.id), Validity.GONE.value),
        (is_blocked(Run.id), Validity.BLOCKED.value),
        (has_restored(Run.id), Validity.EVIDENCE.value),
        (is_current(), Validity.CURRENT.value),
        else_=Validity.SUPERSEDED.value,
    )
    return sa.type_coerce(word, _WORD)


def has_restored(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that a run has regenerated another's products equally, so that those were restored."""
    run = sa.alias(Run.__table__, "again")
    again = (run.c.regenerates_run_id.is_not(None), run.c.status == RunStatus.COMPLETED, sa.not_(run.c.is_result))
    repeated = sa.select(sa.literal(1)).select_from(run).where(run.c.id == run_id, *again)
    taken = sa.select(sa.literal(1)).where(RunSpace.replaced_by_run_id == run_id)
    replaced = sa.select(sa.literal(1)).where(RunSpace.run_id == run_id, RunSpace.state == SpaceState.REPLACED)
    return sa.and_(
        repeated.correlate_except(run).exists(),
        sa.not_(taken.correlate_except(RunSpace).exists()),
        sa.not_(replaced.correlate_except(RunSpace).exists()),
    )
