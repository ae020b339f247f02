"""A batch that cannot be sent now holds up no other, is sent in smaller parts, and says why it waits."""

import pytest

from ccat_models.run.listing import list_runs
from ccat_models.tables.execution import AttemptState
from resources.errors import SubmissionDoubtful, SubmissionPostponed
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.worlds.manual import NO_RETRIES, step
from tests.support.worlds.ticked import TickedWorld

pytestmark = pytest.mark.slow


def declare_two_shapes(bench: TickedWorld) -> None:
    for number in range(2):
        bench.works.observatory.scan(number, "a")
    steps = [
        step(name, resources={"cpus": cpus, "memory_gb": 0.1, "time_hours": 0.1}, parameters=bench.parameters)
        for name, cpus in (("first", 2), ("second", 1))
    ]
    bench.works.declare(*steps)
    bench.works.request()


def sizes(fake: FakeDoubtfulBackEnd) -> list[int]:
    return [len(batch.requests) for batch in fake.batches]


def waits(bench: TickedWorld) -> set[str | None]:
    with bench.works.cluster.ops_db.read() as session:
        return {row.waits for row in list_runs(session)}


@pytest.mark.parametrize("error", [SubmissionPostponed, SubmissionDoubtful])
def test_a_batch_that_is_not_taken_holds_up_no_other(bench: TickedWorld, error: type[Exception]) -> None:
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, trouble={2: error("Partition in DOWN state")}))
    declare_two_shapes(bench)
    bench.tick()
    assert [batch.shape.cpus for batch in fake.batches] == [2, 1]
    bench.until(lambda: bench.statuses().count("COMPLETED") == 2)
    assert waits(bench) == {None, "Partition in DOWN state"}
    bench.tick(0.1)
    sent = len(fake.batches)
    bench.tick(0.1)
    assert len(fake.batches) == sent, "not before resend_after has passed"
    fake.trouble = {}
    assert set(bench.until_ended()) == {"COMPLETED"}
    assert waits(bench) == {None}


def test_a_back_end_that_does_not_answer_is_not_asked_for_ever(bench: TickedWorld) -> None:
    bench.declare(*"abcdef")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, largest=1, doubts=99, arrives=False))
    bench.works.request()
    bench.tick()
    first = {key for batch in fake.batches for key in [batch.requests[0].submission_key]}
    assert len(first) == 3
    bench.tick()
    assert len({key for batch in fake.batches for key in [batch.requests[0].submission_key]}) == 4, "the others first"


def test_a_batch_above_a_limit_is_sent_in_parts(bench: TickedWorld) -> None:
    bench.declare(*"abcd")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, most=2))
    bench.works.request()
    bench.tick()
    assert sizes(fake) == [4, 2, 2]
    assert len({batch.key for batch in fake.batches}) == 3
    assert set(bench.until_ended()) == {"COMPLETED"}
    assert set(bench.called().values()) == {1}


def test_a_queue_that_is_full_takes_as_many_as_there_is_room_for_and_is_asked_again_later(bench: TickedWorld) -> None:
    bench.declare(*"abcd")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, room=1))
    bench.works.request()
    bench.tick()
    assert sizes(fake) == [4, 2, 1, 1]
    states = [attempt.state for attempt in bench.attempts()]
    assert states == [AttemptState.SENT] + [AttemptState.SENDING] * 3
    assert [attempt.sends for attempt in bench.attempts()] == [1, 0, 0, 0]
    assert [attempt.batch_key for attempt in bench.attempts()][1:] == [None] * 3
    fake.room = 99
    bench.tick(1.1)
    assert sizes(fake)[4:] == [3]
    assert set(bench.until_ended()) == {"COMPLETED"}


def test_parts_of_a_batch_in_doubt_keep_its_key_and_their_places(bench: TickedWorld) -> None:
    bench.declare(*"abcd")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, arrives=False))
    bench.works.request()
    bench.tick()
    fake.most = 2
    bench.tick(1.1)
    assert sizes(fake) == [4, 4, 2, 2]
    assert len({batch.key for batch in fake.batches}) == 1
    assert [[request.index for request in batch.requests] for batch in fake.batches[2:]] == [[0, 1], [2, 3]]
    assert set(bench.until_ended()) == {"COMPLETED"}


def test_a_doubt_lasts_from_when_it_arose(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    clock = bench.works.observatory.clock
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, arrives=False, seconds_a_call=25, clock=clock))
    bench.works.request()
    bench.tick()
    bench.tick(1)
    assert len(fake.sent) == 1
    bench.tick(0.1)
    assert len(fake.sent) == 2
    assert bench.until_ended() == ["COMPLETED"]
