import time

import sqlalchemy as sa

from ccat_models.tables.execution import ObserverLease
from resources.request.ensure import RequestOptions, ensure_pipeline
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld


def test_detached_runs_are_carried_to_their_products_by_ticks_alone(lab: DagsterWorld) -> None:
    lab.declare("one", "two")
    jobs = Ticks(lab, "jobs")
    assert jobs.tick() == "no run is in flight"
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    deadline = time.monotonic() + 60
    while jobs.tick() != "no run is in flight" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lab.called() == {f"read executed_obs_unit=scan-{n} 1": 1 for n in (0, 1)}
    with lab.application.ops_db.read() as session:
        assert session.scalars(sa.select(ObserverLease.holder)).all() == [None]


def test_an_idle_tick_reads_once_and_writes_nothing(lab: DagsterWorld) -> None:
    lab.declare("one")
    statements: list[str] = []
    sa.event.listen(
        lab.application.ops_db.engine, "before_cursor_execute", lambda *words: statements.append(str(words[2]))
    )
    jobs = Ticks(lab, "jobs")
    assert jobs.tick() == "no run is in flight"
    statements.clear()
    assert jobs.tick() == "no run is in flight"
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT"]
