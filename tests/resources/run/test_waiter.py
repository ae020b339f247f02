"""Runs have a recorded waiter from the transaction on that creates them."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.run.cancel import FORGOTTEN_AFTER, abandon, wait_for
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunWaiter
from resources.ops_db import OpsDb
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions, ensure
from tests.resources.run.test_killed import run_victim
from tests.support.faults.moments import watched
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.observatory import ObservatoryWorld
from tests.support.worlds.ticked import TickedWorld

pytestmark = pytest.mark.slow


def waiters(ops_db: OpsDb) -> dict[int, list[str]]:
    """Return the waiters of each run."""
    query = sa.select(Run.id, RunWaiter.waiter).outerjoin(RunWaiter, RunWaiter.run_id == Run.id).order_by(Run.id)
    with ops_db.read() as session:
        found: dict[int, list[str]] = {}
        for run, waiter in session.execute(query).tuples():
            found.setdefault(run, []).extend([waiter] if waiter else [])
        return found


@pytest.mark.parametrize(("later", "given_up"), [(timedelta(0), False), (FORGOTTEN_AFTER, True)])
def test_a_requester_killed_right_after_its_request_is_recorded_as_waiting_and_soon_removed(
    observatory: ObservatoryWorld, code: Path, tmp_path: Path, later: timedelta, given_up: bool
) -> None:
    calls = tmp_path / "calls"
    observatory.scan(0)
    observatory.scan(1)
    observatory.declare(pipeline_yaml(calls), code)
    ops_db = observatory.ops_db
    assert run_victim(ops_db, tmp_path, "runs requested", 1) == -signal.SIGKILL
    assert waiters(ops_db) == {1: ["victim"], 2: ["victim"]}

    with ops_db.write() as session:
        seen = session.scalars(sa.select(RunWaiter.seen_at)).all()
        assert datetime.now(UTC) - min(seen) < timedelta(seconds=30)  # noqa: TID251 - the victim's clock
        now = min(seen) + later
        wait_for(session, list(session.scalars(sa.select(Run.id))), "bob", now)
        assert bool(abandon(session, "bob", by="bob", now=now)) is given_up
    if not given_up:
        assert run_victim(ops_db, tmp_path, "none", 1) == 0
        read = [line for line in calls.read_text().splitlines() if line.startswith("read")]
        assert Counter(read) == {f"read executed_obs_unit=scan-{number} 1": 1 for number in (0, 1)}


def interrupted(bench: TickedWorld, border: str) -> Attached:
    def interrupt(passed: str) -> None:
        if passed == border:
            raise KeyboardInterrupt

    cluster = watched(bench.works.cluster, interrupt)
    return Attached(replace(bench.executor, cluster=cluster), "ada", 0.1)


ASKING: list[Callable[[Attached], object]] = [
    lambda attached: attached.run_pipeline("letters", RequestOptions("ada")),
    lambda attached: attached.run_step("letters", "read", None, RequestOptions("ada")),
]


@pytest.mark.parametrize("ask", ASKING, ids=["pipeline", "step"])
def test_an_interruption_right_after_a_request_cancels_the_requested_runs(
    bench: TickedWorld, ask: Callable[[Attached], object]
) -> None:
    bench.declare("a", "b")
    with pytest.raises(KeyboardInterrupt):
        ask(interrupted(bench, "runs requested"))
    assert bench.statuses() == ["CANCELLED", "CANCELLED"]
    assert waiters(bench.works.cluster.ops_db) == {1: [], 2: []}
    assert bench.called() == {}


def test_joined_runs_are_waited_for_from_the_same_moment(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    assert bench.works.ask("read", "scan-0").created
    assert waiters(bench.works.cluster.ops_db) == {1: []}, "a detached requester does not wait"
    answer = ensure(bench.works.cluster, "letters", "read", None, RequestOptions("ada"), waiter="ada")
    assert (list(answer.joined.values()), list(answer.created.values())) == ([1], [2])
    assert waiters(bench.works.cluster.ops_db) == {1: ["ada"], 2: ["ada"]}


def test_an_interruption_leaves_joined_runs_to_the_remaining_waiter(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.works.ask("read", "scan-0")
    with bench.works.cluster.ops_db.write() as session:
        wait_for(session, list(session.scalars(sa.select(Run.id))), "bob", bench.works.cluster.clock())
    with pytest.raises(KeyboardInterrupt):
        interrupted(bench, "runs requested").run_step("letters", "read", None, RequestOptions("ada"))
    assert waiters(bench.works.cluster.ops_db) == {1: ["bob"], 2: []}
    assert bench.until_ended() == ["COMPLETED", "CANCELLED"]


def test_a_requester_that_has_seen_the_end_is_no_longer_a_waiter(bench: TickedWorld) -> None:
    bench.declare("a", "b")

    def sleep(seconds: float) -> None:
        bench.works.observatory.clock.pass_seconds(seconds)
        time.sleep(0.02)

    Attached(bench.executor, "ada", 0.1, sleep=sleep).run_step("letters", "read", None, RequestOptions("ada"))
    assert waiters(bench.works.cluster.ops_db) == {1: [], 2: []}
