"""Jobs of attempts that have ended are cancelled, and no others."""

import sqlalchemy as sa

from ccat_models.run.work import left_behind
from ccat_models.tables.execution import MAY_LEAVE_JOB, AttemptState, FailureClass, RunStatus
from resources.backend import JobState, Sent
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld


def test_the_second_job_of_an_attempt_that_has_ended_leaves_the_queue(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, arrives=False))
    bench.works.request()
    bench.tick()
    bench.tick(1.1)
    (batch,) = fake.batches[1:]
    assert bench.until_ended() == ["COMPLETED", "COMPLETED"]
    both = sorted(attempt.submission_key for attempt in bench.attempts())
    fake.queued = [batch]
    bench.tick()
    assert fake.queued == []
    assert fake.cancelled == both
    bench.tick()
    assert fake.cancelled == both


def test_no_job_of_an_attempt_that_continues_or_was_sent_once_is_cancelled(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, queued=[]))
    bench.works.request()
    bench.tick()
    batches = list(fake.queued or [])
    bench.tick()
    fake.start_queued()
    assert bench.until_ended() == ["COMPLETED", "COMPLETED"]
    fake.queued = batches
    bench.tick()
    assert fake.cancelled == []


def test_a_lost_job_that_turns_up_again_is_ended(bench: TickedWorld) -> None:
    bench.declare("a", seconds=60, retries=NO_RETRIES)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local))
    bench.works.request()
    bench.until(bench.has(RunStatus.RUNNING))
    fake.blind = True
    bench.until(bench.has(RunStatus.FAILED))
    (lost,) = bench.attempts()
    assert (lost.state, lost.failure_class) == (AttemptState.ENDED, FailureClass.LOST)
    assert fake.real.find([Sent(lost.submission_key)])[lost.submission_key].state is JobState.RUNNING
    fake.blind = False
    bench.until(lambda: not fake.real.find([Sent(lost.submission_key)]))
    assert bench.statuses() == ["FAILED"]


def test_attempts_that_may_have_left_a_job_are_found_by_their_index(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    statements: list[tuple[str, object]] = []
    engine = bench.works.cluster.ops_db.engine

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    with bench.works.cluster.ops_db.read() as session:
        assert left_behind(session, 1, "local", bench.works.cluster.clock()) == []
        sa.event.remove(engine, "before_cursor_execute", note)
        assert MAY_LEAVE_JOB in statements[-1][0]
        if bench.works.cluster.ops_db.is_sqlite:
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[-1][0]}", statements[-1][1])  # type: ignore[arg-type]
            assert "ix_attempt_may_leave_job" in str(plan.all())
