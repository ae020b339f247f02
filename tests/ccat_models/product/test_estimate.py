from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.gap.answer import StepCounts
from ccat_models.pipeline.view import PipelineView
from ccat_models.product.collect import register
from ccat_models.product.estimate import Cost, Estimate, cost, estimates, newest_runs
from ccat_models.run.attempt import cancelled, failed
from ccat_models.tables.base import StepId
from ccat_models.tables.execution import FailureClass
from tests.support.worlds.manual import ManualWorld, made_up, release, start, step

HISTORY = {"science/a.txt": "x" * 100, "plots/b.png": "y" * 20}


def complete(
    works: ManualWorld, step_name: str, key: str, wall_seconds: float, outputs: dict[str, str] = HISTORY
) -> None:
    """Let a sub-group's run complete after so many seconds."""
    (run,) = works.ask(step_name, key).created.values()
    with works.cluster.ops_db.write() as session:
        attempt = start(session, run, works.cluster)
        collected = made_up(session, attempt, outputs)
        result = collected.result.model_copy(update={"wall_seconds": wall_seconds})
        assert register(session, attempt, run, replace(collected, result=result), works.cluster.clock())


def estimated(works: ManualWorld, view: PipelineView) -> dict[str, Estimate]:
    with works.cluster.ops_db.read() as session:
        found = estimates(session, view)
    return {one.name: found[one.step_id] for one in view.steps}


def test_the_mean_of_what_was_completed(works: ManualWorld) -> None:
    view = works.declare(step("read", resources={"cpus": 4}))
    complete(works, "read", "scan-0", 30.0)
    assert estimated(works, view) == {"read": Estimate(120.0, 30.0, 120.0, "from 1 run")}
    complete(works, "read", "scan-1", 90.0, {})
    assert estimated(works, view) == {"read": Estimate(240.0, 60.0, 60.0, "from 2 runs")}


def test_each_run_counts_with_the_cpus_that_it_had(works: ManualWorld) -> None:
    works.declare(step("read", resources={"cpus": 4}))
    complete(works, "read", "scan-0", 30.0)
    view = works.declare(step("read", resources={"cpus": 2}))
    complete(works, "read", "scan-1", 30.0)
    assert estimated(works, view)["read"].core_seconds == (4 + 2) * 30 / 2


def test_only_attempts_that_completed_are_measured(works: ManualWorld) -> None:
    view = works.declare(step("read", retries={"science": 1}))
    now = works.cluster.clock()
    for number in range(2):
        (run,) = works.ask("read", f"scan-{number}").created.values()
        with works.cluster.ops_db.write() as session:
            attempt = start(session, run, works.cluster)
            result = made_up(session, attempt, {}).result.model_copy(update={"wall_seconds": 9.0})
            if number:
                cancelled(session, attempt, run, now, result)
            else:
                failed(session, attempt, FailureClass.SCIENCE, "made up", now, result=result)
    works.complete()  # at the second attempt, after no time at all
    works.ask("read", "scan-2")
    works.fail(failure=FailureClass.PERMANENT)
    works.ask("read", "scan-3")
    assert estimated(works, view) == {"read": Estimate(0.0, 0.0, 4.0, "from 1 run")}


def test_the_newest_runs_are_measured(works: ManualWorld) -> None:
    view = works.declare(step("read"))
    for number in range(4):
        complete(works, "read", f"scan-{number}", 10.0 * number)
    with works.cluster.ops_db.read() as session:
        assert session.scalars(newest_runs(sa.true(), 2)).all() == [4, 3]
    assert estimated(works, view)["read"].wall_seconds == 15.0


def test_a_step_without_history_is_like_others_of_its_software(works: ManualWorld) -> None:
    works.declare(step("read", resources={"cpus": 2}))
    complete(works, "read", "scan-0", 50.0)
    works.releases.append(release("2.0.0"))
    view = works.declare(step("read", resources={"cpus": 2}), step("other", version="2.0.0", resources={"cpus": 8}))
    assert estimated(works, view) == {
        "read": Estimate(100.0, 50.0, 120.0, "from 1 run"),
        "other": Estimate(100.0, 50.0, 120.0, "from 1 run of other steps with software letters"),
    }


def test_without_any_history_what_is_declared_counts(works: ManualWorld) -> None:
    view = works.declare(step("read", resources={"cpus": 2, "time_hours": 0.5}))
    assert estimated(works, view) == {"read": Estimate(3600.0, 1800.0, None, "declared resources, no history")}


def reckoned(
    works: ManualWorld,
    *steps: dict[str, Any],
    runs: dict[str, tuple[int, int]],
    capacity: int | None = None,
    **caps: Any,
) -> Cost:
    """Return the cost of runs, now and afterwards, of steps of which each run takes 10 s on 2 CPUs and writes 5 B."""
    view = replace(works.declare(*steps), **caps)
    each = {one.step_id: Estimate(20.0, 10.0, 5.0, "from 1 run") for one in view.steps}
    counts: dict[StepId, StepCounts] = {
        one.step_id: StepCounts({}, *runs[one.name]) for one in view.steps if one.name in runs
    }
    return cost(view, counts, each, capacity)


def test_all_runs_are_paid_now_and_afterwards(works: ManualWorld) -> None:
    found = reckoned(works, step("read"), runs={"read": (2, 3)})
    assert (found.runs, found.core_hours, found.wall_seconds, found.written_bytes) == (5, 100 / 3600, 10.0, 25.0)
    read = found.steps["read"]
    assert (read.runs, read.core_hours, read.wall_seconds, read.written_bytes) == (5, 100 / 3600, 10.0, 25.0)
    assert (read.cap, read.capped_by, read.basis, read.written_basis) == (None, None, "from 1 run", "from 1 run")


@pytest.mark.parametrize(
    ("step_cap", "pipeline_cap", "capacity", "cap", "capped_by", "seconds"),
    [
        (None, None, None, None, None, 10.0),
        (3, None, None, 3, "step", 40.0),
        (3, 2, None, 2, "pipeline", 50.0),
        (3, 2, 1, 1, "location", 100.0),
        (3, 3, 3, 3, "step", 40.0),
        (None, 5, 7, 5, "pipeline", 20.0),
        (None, None, 0, 1, "location", 100.0),
        (20, None, None, 20, "step", 10.0),
    ],
)
def test_the_smallest_cap_binds(
    works: ManualWorld,
    step_cap: int | None,
    pipeline_cap: int | None,
    capacity: int | None,
    cap: int | None,
    capped_by: str | None,
    seconds: float,
) -> None:
    capped = step("read", max_in_flight=step_cap)
    found = reckoned(works, capped, runs={"read": (10, 0)}, capacity=capacity, max_in_flight=pipeline_cap)
    assert (found.steps["read"].cap, found.steps["read"].capped_by, found.wall_seconds) == (cap, capped_by, seconds)


def test_the_longest_path_decides(works: ManualWorld) -> None:
    steps = [
        step("a"),
        step("b", depends_on=["a"]),
        step("c", depends_on=["a"], max_in_flight=1),
        step("d", depends_on=["b", "c"]),
        step("e"),
    ]
    found = reckoned(works, *steps, runs={"a": (1, 0), "b": (0, 9), "c": (0, 3), "d": (0, 1), "e": (3, 0)})
    assert (found.wall_seconds, found.longest_path) == (50.0, ("a", "c", "d"))
    assert found.runs == 17
    found = reckoned(works, *steps, runs={"e": (1, 0)})
    assert (found.wall_seconds, found.longest_path) == (10.0, ("e",))


def test_where_nothing_is_wanted_nothing_is_paid(works: ManualWorld) -> None:
    found = reckoned(works, step("read"), runs={})
    assert (found.runs, found.core_hours, found.wall_seconds, found.longest_path) == (0, 0.0, 0.0, ())


def test_steps_of_unknown_size_are_named(works: ManualWorld) -> None:
    view = works.declare(step("read"), step("clean", depends_on=["read"]), step("join", depends_on=["read"]))
    read, clean, join = (one.step_id for one in view.steps)
    known, unknown = Estimate(1.0, 1.0, 7.0, "from 1 run"), Estimate(1.0, 1.0, None, "declared resources, no history")
    counts = {read: StepCounts({}, 2, 0), clean: StepCounts({}, 0, 2)}
    found = cost(view, counts, {read: known, clean: unknown, join: unknown}, None)
    assert (found.written_bytes, found.unknown_bytes) == (14.0, ("clean",))
    assert (found.steps["clean"].written_bytes, found.steps["clean"].written_basis) == (None, "unknown, no history")
