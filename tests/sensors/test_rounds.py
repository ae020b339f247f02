"""Schedules of pipelines with a cron trigger; the clock of the observatory stands at noon."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.build import build
from ccat_assets.wiring.application import Application
from ccat_models.gap.rounds import begin_round
from ccat_models.pipeline.apply import switch
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.ops_db import OpsDb
from tests.support.hands.ticks import Ticks
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

DAILY = "cron, expression: 0 18 * * *, time_zone: Etc/GMT-1"  # at 17:00 UTC
FIVE, NEXT_DAY = datetime(2026, 4, 1, 17, tzinfo=UTC), datetime(2026, 4, 2, 17, tzinfo=UTC)
NAME = "letters_rounds"


@pytest.fixture
def daily(ops_db: OpsDb, tmp_path: Path) -> Iterator[DagsterWorld]:
    """Give a lab with two scans and a pipeline with a daily round, which has seen them and waits for it."""
    with DagsterWorld.at_home(ops_db, tmp_path) as plain:
        lab = replace(plain, application=Application(plain.application.settings, plain.observatory.clock))
        lab.declare("a", "b", mode="standing", trigger=DAILY)
        Ticks(lab, "gaps").tick()
        assert runs(lab) == 0
        yield lab


def schedule(lab: DagsterWorld) -> dg.ScheduleDefinition:
    return build(lab.snapshot(), lab.application).get_repository_def().get_schedule_def(NAME)


def tick(lab: DagsterWorld, at: datetime) -> str:
    """Let the schedule see a time, which has come; return what it says."""
    lab.observatory.clock.now = max(lab.observatory.clock.now, at)
    with dg.build_schedule_context(instance=lab.instance, scheduled_execution_time=at) as context:
        answer = schedule(lab)(context)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message or ""


def runs(lab: DagsterWorld) -> int:
    with lab.application.ops_db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Run)) or 0


def gaps(lab: DagsterWorld) -> str:
    return Ticks(lab, "gaps").tick()


def pass_to(lab: DagsterWorld, at: datetime) -> None:
    lab.observatory.clock.now = at


def switched_off(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr("ccat_assets.dagit.build.stopped_schedules", lambda _instance: names)


def test_a_cron_pipeline_has_a_schedule(lab: DagsterWorld) -> None:
    lab.declare("a", mode="standing", trigger=DAILY)
    for name, trigger in (("by-hand", "manual"), ("always", "continuous")):
        lab.observatory.declare(pipeline_yaml(lab.calls, name=name, mode="standing", trigger=trigger), lab.code)
    definitions = build(lab.snapshot(), lab.application)
    dg.Definitions.validate_loadable(definitions)
    (found,) = definitions.get_repository_def().schedule_defs
    assert (found.name, found.cron_schedule, found.execution_timezone) == (NAME, "0 18 * * *", "Etc/GMT-1")
    assert found.default_status is dg.DefaultScheduleStatus.RUNNING
    assert "Begins a round of the pipeline letters" in (found.description or "")


def test_a_disabled_pipeline_has_no_schedule(daily: DagsterWorld) -> None:
    with daily.application.ops_db.request() as session:
        switch(session, "letters", enabled=False)
    assert build(daily.snapshot(), daily.application).get_repository_def().schedule_defs == []


def test_times_that_dagster_does_not_accept_cost_only_the_schedule(
    lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: object) -> dg.ScheduleDefinition:
        raise dg.DagsterInvalidDefinitionError("invalid cron schedule")

    lab.declare("a", mode="standing", trigger=DAILY)
    monkeypatch.setattr(dg, "schedule", refuse)
    assert build(lab.snapshot(), lab.application).get_repository_def().schedule_defs == []
    assert "no schedule for pipeline letters, whose rounds begin nevertheless: invalid cron schedule" in caplog.text


def test_a_tick_begins_the_round_and_says_so(daily: DagsterWorld) -> None:
    said = tick(daily, FIVE)
    assert said.startswith(
        "the round that began at 17:00:00 UTC is in progress, the next one is due at 2026-04-02 17:00"
    )
    assert said.endswith(", 2 runs requested")
    assert runs(daily) == 2
    assert gaps(daily) == "nothing has changed"


def test_a_time_that_the_sensor_has_seen_begins_no_second_round(daily: DagsterWorld) -> None:
    pass_to(daily, FIVE)
    assert gaps(daily).endswith(", 2 runs requested")
    said = tick(daily, FIVE)
    assert said.startswith("the round that began at 17:00:00 UTC is in progress")
    assert said.endswith("; nothing has changed")
    assert runs(daily) == 2


def test_a_tick_before_the_time_begins_nothing(daily: DagsterWorld) -> None:
    early = FIVE.replace(hour=16)
    assert tick(daily, early).startswith("no round was due, the next one is due at 2026-04-01 17:00 UTC")
    assert runs(daily) == 0


def test_a_round_that_a_dead_daemon_missed_begins_once(daily: DagsterWorld) -> None:
    pass_to(daily, NEXT_DAY.replace(hour=20))
    assert gaps(daily).endswith(", 2 runs requested")
    assert tick(daily, NEXT_DAY).endswith("; nothing has changed")
    assert runs(daily) == 2


def test_switched_off_no_round_begins_and_switched_on_again_one_does(
    daily: DagsterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched_off(monkeypatch, NAME)
    pass_to(daily, NEXT_DAY)
    assert gaps(daily) == "nothing has changed", "an idle tick writes nothing"
    daily.observatory.scan(2, "c")
    assert gaps(daily).endswith(", 0 runs requested")
    assert runs(daily) == 0
    switched_off(monkeypatch)
    assert gaps(daily).endswith(", 3 runs requested")
    assert runs(daily) == 3


def test_switched_off_a_requested_round_begins(daily: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    switched_off(monkeypatch, NAME)
    with daily.application.ops_db.request() as session:
        begin_round(session, load_pipeline(session, "letters").pipeline_id, by="ada", now=daily.application.clock())
    assert gaps(daily).endswith(", 2 runs requested")


def test_another_schedule_that_is_switched_off_holds_up_nothing(
    daily: DagsterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched_off(monkeypatch, "others_rounds")
    assert tick(daily, FIVE).endswith(", 2 runs requested")


def test_a_pipeline_that_was_disabled_since_says_so(daily: DagsterWorld) -> None:
    known = schedule(daily)
    with daily.application.ops_db.request() as session:
        switch(session, "letters", enabled=False)
    pass_to(daily, FIVE)
    with dg.build_schedule_context(instance=daily.instance, scheduled_execution_time=FIVE) as context:
        answer = known(context)
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message == "the pipeline is disabled: ccat pipeline enable letters"
    assert runs(daily) == 0
