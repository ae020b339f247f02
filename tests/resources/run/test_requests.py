"""A request writes only what it changes, and reads only what it needs."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from benchmarks.world import counting_statements
from ccat_models.pipeline.view import PipelineView
from ccat_models.run.request import free_places
from ccat_models.tables.execution import RerunRequest
from resources.request.ensure import RequestOptions, ensure, ensure_pipeline
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.manual import step
from tests.support.worlds.ticked import TickedWorld


@pytest.fixture
def bench_of_four(bench: TickedWorld) -> TickedWorld:
    """Give scans of which 0 completed, 1 failed for good, 2 is in flight and 3 was never run."""
    bench.declare("a", "b", "c", "d")
    bench.works.ask("read", "scan-0")
    bench.works.complete()
    bench.works.ask("read", "scan-1")
    bench.works.fail()
    bench.works.ask("read", "scan-2")
    reasons = bench.works.reasons("read")
    assert list(reasons.values()) == ["up_to_date", "retries_exhausted", "in_flight", "missing"]
    return bench


def asked_again(bench: TickedWorld) -> list[tuple[int, bool, int | None, str]]:
    request = RerunRequest
    query = sa.select(request.sub_group_id, request.force, request.last_run_id, request.requested_by)
    with bench.works.cluster.ops_db.read() as session:
        return [tuple(row) for row in session.execute(query.order_by(request.id))]


def test_retry_renews_only_what_is_spent(bench_of_four: TickedWorld) -> None:
    spent = bench_of_four.works.gaps("read")["scan-1"]
    answer = bench_of_four.works.ask("read", retry=True)
    assert asked_again(bench_of_four) == [(spent.sub_group_id, False, spent.latest_run_id, "test")]
    assert set(answer.created) == {"executed_obs_unit=scan-1", "executed_obs_unit=scan-3"}


def test_retry_of_what_is_not_spent_writes_nothing(bench_of_four: TickedWorld) -> None:
    bench_of_four.works.ask("read", "scan-0", "scan-2", "scan-3", retry=True)
    assert asked_again(bench_of_four) == []


@pytest.mark.parametrize("retry", [True, False])
def test_force_is_kept_for_all_that_are_named(bench_of_four: TickedWorld, retry: bool) -> None:
    gaps = bench_of_four.works.gaps("read")
    named = [gaps[name] for name in ("scan-0", "scan-2", "scan-3")]
    bench_of_four.works.ask("read", "scan-0", "scan-2", "scan-3", force=True, retry=retry)
    assert asked_again(bench_of_four) == [(gap.sub_group_id, True, gap.latest_run_id, "test") for gap in named]


def test_a_brief_answer_names_held_sub_groups_only_when_no_run_is_in_flight(bench_of_four: TickedWorld) -> None:
    cluster = bench_of_four.works.cluster
    answer = ensure(cluster, "letters", "read", None, RequestOptions("test"), brief=True)
    keys = [f"executed_obs_unit=scan-{number}" for number in range(4)]
    assert (list(answer.joined), list(answer.created)) == ([keys[2]], [keys[3]])
    assert (answer.up_to_date, answer.held, answer.counts) == ({}, {}, {})
    bench_of_four.works.complete()
    brief = ensure_pipeline(cluster, "letters", RequestOptions("test"), brief=True)
    assert list(brief["read"].up_to_date) == [keys[0], keys[2], keys[3]]
    assert list(brief["read"].held) == [keys[1]]
    assert brief == ensure_pipeline(cluster, "letters", RequestOptions("test"))


@pytest.fixture
def view_of_busy(bench: TickedWorld) -> PipelineView:
    """Give a pipeline that has two runs on their way in `read`, one in `clean`, while another pipeline has one."""
    for number in (0, 1):
        bench.works.observatory.scan(number)
    bench.works.observatory.declare(pipeline_yaml(bench.works.observatory.base, name="others"), bench.works.code)
    view = bench.works.declare(step("read"), step("clean"))
    first = ["executed_obs_unit=scan-0"]
    for pipeline, name, keys in (("letters", "read", None), ("letters", "clean", first), ("others", "read", first)):
        assert ensure(bench.works.cluster, pipeline, name, keys, RequestOptions("test")).created
    return view


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of_step", "of_pipeline", "at_location", "free"),
    [
        (None, None, None, None),
        (3, None, None, 1),
        (None, 5, None, 2),
        (None, None, 7, 3),
        (3, 5, 7, 1),
        (9, 5, 7, 2),
        (9, 9, 7, 3),
        (1, None, None, 0),
        (None, None, 1, 0),
    ],
)
def test_the_smallest_of_three_caps_counts_in_one_query(
    bench: TickedWorld,
    view_of_busy: PipelineView,
    of_step: int | None,
    of_pipeline: int | None,
    at_location: int | None,
    free: int | None,
) -> None:
    view = replace(view_of_busy, max_in_flight=of_pipeline)
    read = replace(view.step("read"), max_in_flight=of_step)
    ops_db = bench.works.cluster.ops_db
    with ops_db.read() as session, counting_statements(ops_db) as statements:
        assert free_places(session, view, read, at_location) == free
    assert len([each for each in statements if each != "BEGIN"]) == (0 if free is None else 1)
