"""A schedule where it really is: on Dagit's page, ticked by Dagster's daemon, with its switch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.gap.rounds import round_now
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.ops_db import OpsDb
from sensors.gaps import INTERVAL_SECONDS
from tests.support.parts.dagit import Dagit
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.served_dagster import served_lab

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

EVERY_MINUTE = "cron, expression: '* * * * *'"
SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "ccat", "scheduleName": "letters_rounds"}
SCHEDULE = """
query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) { ... on Schedule {
  cronSchedule executionTimezone description futureTicks(limit: 1) { results { timestamp } }
  scheduleState { id status ticks(limit: 100) { status skipReason error { message } } }
} } }
"""
START = """
mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) { __typename } }
"""
STOP = """
mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }
"""


def until(condition: Callable[[], object], within_seconds: float = 240) -> None:
    end = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.5)


def schedule(running: Dagit) -> dict[str, Any]:
    found: dict[str, Any] = running.graphql(SCHEDULE, selector=SELECTOR)["scheduleOrError"]
    return found


def runs_of_read(lab: DagsterWorld) -> int:
    query = sa.select(sa.func.count()).select_from(Run).where(Run.step_id == lab.name("read").step_id)
    with lab.application.ops_db.read() as session:
        return session.scalar(query) or 0


def waits_seconds(lab: DagsterWorld) -> float:
    """Return for how long a round of the pipeline has been due; 0 while one is in progress."""
    with lab.application.ops_db.read() as session:
        now = round_now(session, load_pipeline(session, "letters"))
    assert now.next_at is not None
    return 0 if now.ended_at is None else (lab.application.clock() - now.next_at).total_seconds()


def test_a_schedule_shows_its_ticks_and_its_switch_holds_up_rounds(sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    def fill(lab: DagsterWorld) -> None:
        lab.declare("a", "b", mode="standing", trigger=EVERY_MINUTE)

    with served_lab(sqlite_ops_db, tmp_path, fill) as (lab, running):
        shown = schedule(running)
        assert (shown["cronSchedule"], shown["executionTimezone"]) == ("* * * * *", "UTC")
        assert 0 < shown["futureTicks"]["results"][0]["timestamp"] - time.time() <= 60
        until(lambda: schedule(running)["scheduleState"]["ticks"])
        until(lambda: runs_of_read(lab) == 2)
        ticks = schedule(running)["scheduleState"]["ticks"]
        assert {tick["status"] for tick in ticks} <= {"SKIPPED", "STARTED"}, ticks
        until(lambda: any("the round that began at" in (tick["skipReason"] or "") for tick in ticks_of(running)))
        stopped = running.graphql(STOP, id=schedule(running)["scheduleState"]["id"])["stopRunningSchedule"]
        assert stopped["__typename"] == "ScheduleStateResult", stopped
        until(lambda: waits_seconds(lab) > INTERVAL_SECONDS)  # it would belong to a round in progress
        lab.observatory.scan(2, "c")
        until(lambda: waits_seconds(lab) > 4 * INTERVAL_SECONDS)
        assert runs_of_read(lab) == 2
        running.graphql(START, selector=SELECTOR)
        until(lambda: runs_of_read(lab) == 3)


def ticks_of(running: Dagit) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = schedule(running)["scheduleState"]["ticks"]
    return found
