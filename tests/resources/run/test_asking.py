"""The back end is asked once an interval, whatever other machines' clocks say."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ccat_models.run.cancel import request_cancel
from ccat_models.run.lease import record_observed
from ccat_models.tables.base import RunId
from resources.backend import Job, Sent
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.worlds.ticked import TickedWorld

AHEAD = timedelta(minutes=5)


@dataclass
class FakeCountingBackEnd(FakeDoubtfulBackEnd):
    """One that counts how often it is asked for jobs."""

    found: list[int] = field(default_factory=list)

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return the jobs there are."""
        self.found.append(len(sent))
        return super().find(sent)


def asked_once_a_minute(bench: TickedWorld) -> FakeCountingBackEnd:
    bench.declare("a", "b")
    bench.behind(fake := FakeCountingBackEnd(bench.local, queued=[], deaf=True))
    timing = replace(bench.works.cluster.timing, observe_every=timedelta(seconds=60), lease=timedelta(hours=9))
    bench.works.cluster = replace(bench.works.cluster, timing=timing)
    bench.works.request()
    bench.tick()
    bench.tick(60)
    fake.found.clear()
    return fake


def cancel(bench: TickedWorld, run: int, ahead: timedelta = timedelta(0)) -> None:
    with bench.works.cluster.ops_db.write() as session:
        request_cancel(session, [RunId(run)], by="ada", now=bench.works.cluster.clock() + ahead)


def test_a_request_by_a_clock_that_is_ahead_does_not_cause_a_query_at_every_look(bench: TickedWorld) -> None:
    fake = asked_once_a_minute(bench)
    cancel(bench, 1, AHEAD)
    for _ in range(50):
        bench.tick(0.1)
    assert len(fake.found) == 0
    cancel(bench, 2)
    for _ in range(50):
        bench.tick(0.1)
    assert len(fake.found) == 1, "a request by a correct clock is seen at once, and once"
    fake.deaf = False
    bench.tick(60)
    assert len(fake.cancelled) == 2, "the other one is seen when the interval is over"


def test_an_observation_time_by_a_clock_that_is_ahead_does_not_prevent_queries(bench: TickedWorld) -> None:
    fake = asked_once_a_minute(bench)
    cluster = bench.works.cluster
    with cluster.ops_db.write() as session:
        record_observed(session, cluster.name, cluster.clock() + AHEAD)
    bench.tick()
    bench.tick()
    assert len(fake.found) == 1
