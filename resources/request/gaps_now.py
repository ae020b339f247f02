from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ccat_models.gap.look import is_current
from ccat_models.gap.table import GapTable, gap_now, sub_group_gap
from ccat_models.pipeline.view import PipelineView, load_pipeline
from resources.location import Cluster
from resources.ops_db import Session
from resources.request.ensure import RequestOptions, refresh_and_evaluate


@dataclass(frozen=True)
class GapsNow:
    """A pipeline and its gaps as they are now: the rows of `known` in this session."""

    session: Session
    pipeline: PipelineView
    known: GapTable


@contextmanager
def gaps_now(cluster: Cluster, name: str, by: str) -> Iterator[GapsNow]:
    """Give a pipeline's gaps to read, changing nothing; raise NotFound for an unknown pipeline.

    If nothing has changed since the gaps were last evaluated and kept, those are read. Otherwise they are evaluated
    here, which takes seconds for a million sub-groups, and rolled back: a process that keeps an evaluation must also
    request the runs that follow from it.
    """
    with cluster.ops_db.read() as session:
        pipeline = load_pipeline(session, name)
        if is_current(session, pipeline, cluster.clock()):
            yield GapsNow(session, pipeline, sub_group_gap)
            return
    with cluster.ops_db.request() as session:
        pipeline = load_pipeline(session, name)
        refresh_and_evaluate(session, cluster, pipeline, RequestOptions(by=by))
        try:
            yield GapsNow(session, pipeline, gap_now)
        finally:
            session.rollback()
