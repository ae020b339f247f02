import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import ObserverLease
from resources.ensure import Wish, ensure_pipeline
from resources.ops_db import OpsDb
from sensors.jobs import jobs_sensor
from tests.support.lab import Lab


def evaluate(lab: Lab) -> str:
    sensor = jobs_sensor(lambda: lab.application.executor)
    with dg.build_sensor_context(instance=lab.instance) as context:
        answer = sensor(context)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message or ""


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[Lab]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Lab.open(sqlite_ops_db, instance, tmp_path)


def test_detached_runs_are_carried_to_their_products_by_ticks_alone(lab: Lab) -> None:
    lab.declare("one", "two")
    assert evaluate(lab) == "nothing is on its way"
    ensure_pipeline(lab.application.cluster, "letters", Wish(by="test"))
    deadline = time.monotonic() + 60
    while evaluate(lab) != "nothing is on its way" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lab.called() == {f"read executed_obs_unit=scan-{n} 1": 1 for n in (0, 1)}
    with lab.application.ops_db.read() as session:
        assert session.scalars(sa.select(ObserverLease.holder)).all() == [None]


def test_an_idle_tick_reads_once_and_writes_nothing(lab: Lab) -> None:
    lab.declare("one")
    statements: list[str] = []
    sa.event.listen(
        lab.application.ops_db.engine, "before_cursor_execute", lambda *words: statements.append(str(words[2]))
    )
    assert lab.application.cluster.name == "local:1"
    statements.clear()
    assert evaluate(lab) == "nothing is on its way"
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT"]
