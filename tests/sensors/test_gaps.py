import dagster as dg
import sqlalchemy as sa

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import ObserverLease, RunStatus
from resources.run.executor import Executor
from sensors.gaps import GapFilling, gaps_sensor
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld


def test_a_tick_requests_what_is_missing_and_sends_it(lab: DagsterWorld) -> None:
    lab.declare("one", "two", mode="standing", trigger="continuous")
    gaps = Ticks(lab, "gaps")
    assert gaps.tick().endswith(", 2 runs requested")
    with lab.application.ops_db.read() as session:
        statuses = session.scalars(sa.select(Run.status)).all()
        assert session.scalars(sa.select(ObserverLease.holder)).all() == [None]
    assert set(statuses) <= {RunStatus.SUBMITTED, RunStatus.RUNNING}
    assert gaps.tick() == "nothing has changed"


def test_a_tick_during_another_one_does_nothing(lab: DagsterWorld) -> None:
    lab.declare("one")
    said: list[str] = []

    def executor() -> Executor:
        if not said:
            said.append("begun")
            said.append(tick())
        return lab.application.executor

    sensor = gaps_sensor(GapFilling(executor, lambda _instance: ()))

    def tick() -> str:
        with dg.build_sensor_context(instance=lab.instance) as context:
            answer = sensor(context)
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or ""

    assert tick().startswith("evaluated ")
    assert said == ["begun", "an earlier tick is still at work"]
