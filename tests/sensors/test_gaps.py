from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import ObserverLease, RunStatus
from resources.ops_db import OpsDb
from sensors.gaps import gaps_sensor
from tests.support.lab import Lab


def evaluate(lab: Lab) -> str:
    sensor = gaps_sensor(lambda: lab.application.executor)
    with dg.build_sensor_context(instance=lab.instance) as context:
        answer = sensor(context)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message or ""


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[Lab]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Lab.open(sqlite_ops_db, instance, tmp_path)


def test_a_tick_requests_what_is_missing_and_sends_it(lab: Lab) -> None:
    lab.declare("one", "two", mode="standing", trigger="continuous")
    assert evaluate(lab).endswith(", 2 runs requested")
    with lab.application.ops_db.read() as session:
        statuses = session.scalars(sa.select(Run.status)).all()
        assert session.scalars(sa.select(ObserverLease.holder)).all() == [None]
    assert set(statuses) <= {RunStatus.SUBMITTED, RunStatus.RUNNING}
    assert evaluate(lab) == "nothing has changed"
