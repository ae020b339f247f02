"""A request for a whole pipeline without a waiter begins a round, in which other processes run what follows."""

from datetime import datetime

import pytest
import sqlalchemy as sa

from ccat_models.errors import NotFound
from ccat_models.tables.gaps import PipelineRound
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions, ensure, ensure_pipeline
from tests.support.worlds.manual import step
from tests.support.worlds.ticked import TickedWorld


def rounds(bench: TickedWorld) -> list[tuple[int, datetime | None, str | None, datetime | None]]:
    begun = PipelineRound
    query = sa.select(begun.pipeline_id, begun.begun_at, begun.begun_by, begun.ended_at)
    with bench.works.cluster.ops_db.read() as session:
        return list(session.execute(query).tuples())


def test_a_request_to_follow_begins_a_round_with_its_first_runs(bench: TickedWorld) -> None:
    bench.works.observatory.scan(0)
    view = bench.works.declare(step("read"), step("clean", depends_on=["read"]))
    answers = ensure_pipeline(bench.works.cluster, "letters", RequestOptions("ada", follow=True))
    assert [len(answer.created) for answer in answers.values()] == [1, 0]
    assert rounds(bench) == [(view.pipeline_id, bench.works.cluster.clock(), "ada", None)]


def test_a_request_without_follow_begins_no_round(bench: TickedWorld) -> None:
    bench.declare("a")
    ensure_pipeline(bench.works.cluster, "letters", RequestOptions("ada"))
    ensure(bench.works.cluster, "letters", "read", None, RequestOptions("ada", follow=True))
    bench.works.complete()
    Attached(bench.executor, "ada", 0.1).run_pipeline("letters", RequestOptions("ada"))
    with pytest.raises(NotFound):
        ensure_pipeline(bench.works.cluster, "nothing", RequestOptions("ada", follow=True))
    assert rounds(bench) == []
