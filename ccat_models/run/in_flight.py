from collections import defaultdict
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep


def count_in_flight(session: Session, pipeline: str) -> Mapping[str, Mapping[str, int]]:
    """Return how many runs of a pipeline are on their way, by step and status."""
    query = (
        sa.select(ReductionStep.name, Run.status, sa.func.count())
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(ReductionStep.pipeline)
        .where(Pipeline.name == pipeline, Run.status.in_(IN_FLIGHT))
        .group_by(ReductionStep.id, ReductionStep.name, Run.status)
        .order_by(ReductionStep.id, Run.status)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for step, status, count in session.execute(query):
        found[step][status.value] = count
    return dict(found)
