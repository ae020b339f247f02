import sqlalchemy as sa
from sqlalchemy.orm import aliased

from ccat_models.tables.pipelines import ReductionStepRevision


def last_revisions() -> sa.Select[tuple[int]]:
    """Return the last revision of each step: what its pipeline's declaration says now, or said last."""
    revision = aliased(ReductionStepRevision)
    return sa.select(sa.func.max(revision.id)).group_by(revision.step_id)
