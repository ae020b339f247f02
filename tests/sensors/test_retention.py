from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from ccat_assets.dagit.publish import publish
from ccat_models.clock import system_clock
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(4)]
STEPS = ("read", "clean", "join")


def later(lab: DagsterWorld, days: float) -> None:
    """Let all that follows happen so many days from now."""
    moment = system_clock() + timedelta(days=days)
    lab.application = replace(lab.application, clock=lambda: moment)


def noted(lab: DagsterWorld) -> Mapping[str, Mapping[str, str | None]]:
    """Return what Dagit shows, as Dagster has noted it."""
    return {step: lab.statuses(step) for step in STEPS}


def found(lab: DagsterWorld) -> tuple[Mapping[str, Mapping[str, str | None]], Mapping[tuple[str, str | None], str]]:
    """Return what Dagit shows, as Dagster finds it out anew, and which run materialized each partition last."""
    for step in STEPS:
        lab.instance.wipe_asset_cached_status([lab.name(step).asset_key])
    newest: dict[tuple[str, str | None], str] = {}
    for step in STEPS:
        page = lab.instance.fetch_materializations(lab.name(step).asset_key, limit=1000, ascending=True)
        newest |= {(step, record.partition_key): record.run_id for record in page.records}
    return noted(lab), newest


def history(lab: DagsterWorld) -> None:
    """Make runs of which some are needed: materialized, failed, mended, failed again, cancelled."""
    lab.declare("a", "exit 65", "c", "d")
    lab.refresh()
    for step in STEPS:
        lab.materialize(step, keys=KEYS if step != "join" else ["source=source-1"])
    lab.materialize("read", keys=KEYS[:1])
    lab.materialize("read", keys=KEYS[2:], force=True)
    lab.observatory.scan(0, "exit 65 now")
    lab.refresh()
    lab.materialize("read", keys=KEYS[:1])
    lab.materialize("read", keys=KEYS[3:], force=True)
    lab.materialize("read", keys=KEYS[3:])
    lab.observatory.scan(0, "exit 65 as before")
    lab.observatory.scan(1, "mended without Dagster, where it had failed")
    lab.run_without_dagster()
    publish(lab.application, lab.instance)
    lab.observatory.scan(4, "never run")
    lab.refresh()


def test_deleting_old_dagster_runs_changes_nothing_that_dagit_shows(lab_at_home: DagsterWorld) -> None:
    lab = lab_at_home
    history(lab)
    before, count = found(lab), len(lab.instance.get_runs())
    assert {status for of_step in before[0].values() for status in of_step.values()} == {"MATERIALIZED", "FAILED", None}
    later(lab, 91)
    watch = Ticks(lab, "retention")
    answer = watch.tick()
    left = lab.instance.get_runs()
    assert answer == f"{count - len(left)} runs deleted, {len(left)} kept"
    assert 0 < len(left) < count
    assert noted(lab) == before[0]
    assert found(lab) == before
    for run in left:
        lab.instance.delete_run(run.run_id)
        assert found(lab) != before, "this run was not needed"
        before = found(lab)


def test_younger_and_active_dagster_runs_are_kept(lab: DagsterWorld) -> None:
    history(lab)
    count = len(lab.instance.get_runs())
    later(lab, 89)
    assert Ticks(lab, "retention").tick() == "0 runs deleted, 0 kept"
    assert len(lab.instance.get_runs()) == count
    started = lab.instance.create_run_for_job(
        dg.Definitions(jobs=[_job]).resolve_job_def("_job"), status=dg.DagsterRunStatus.STARTED
    )
    later(lab, 91)
    Ticks(lab, "retention").tick()
    assert lab.instance.has_run(started.run_id)


def test_a_partition_that_is_gone_needs_no_run(lab: DagsterWorld) -> None:
    lab.declare("a", "b")
    lab.refresh()
    for key in KEYS[:2]:
        lab.materialize("read", keys=[key])
    lab.instance.delete_dynamic_partition("ccat_letters-data:executed_obs_unit", KEYS[0])
    later(lab, 91)
    assert Ticks(lab, "retention").tick() == "1 runs deleted, 1 kept"
    assert lab.statuses("read") == {KEYS[1]: "MATERIALIZED"}


def test_runs_are_kept_for_good_where_that_is_wanted(lab: DagsterWorld) -> None:
    history(lab)
    count = len(lab.instance.get_runs())
    later(lab, 10_000)
    settings = lab.application.settings.model_copy(update={"dagster_retention_days": 0})
    lab.application = replace(lab.application, settings=settings)
    assert Ticks(lab, "retention").tick() == "runs are never deleted"
    assert len(lab.instance.get_runs()) == count


def test_many_runs_take_many_ticks_and_none_is_looked_at_twice(
    lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensors.retention.RUNS_PER_TICK", 2)
    lab.declare("a")
    lab.refresh()
    for _ in range(4):
        lab.materialize("read", keys=KEYS[:1])
    lab.materialize("clean", keys=KEYS[:1])
    job = dg.Definitions(jobs=[_job]).resolve_job_def("_job")
    for _ in range(2):
        lab.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    later(lab, 91)
    watch = Ticks(lab, "retention")
    answers = [watch.tick() for _ in range(5)]
    assert [answer.partition(",")[0] for answer in answers[:4]] == [
        "2 runs deleted",  # read
        "1 runs deleted",  # read; the last one is kept
        "1 runs deleted",  # clean is kept
        "1 runs deleted",
    ]
    assert answers[4].startswith("rests until")
    assert [answer.rpartition(", ")[2] for answer in answers[:4]] == ["0 kept", "1 kept", "1 kept", "0 kept"]
    later(lab, 91 + 0.05)
    watch = Ticks(lab, "retention", watch.cursor)
    assert watch.tick() == "0 runs deleted, 0 kept"
    later(lab, 91 + 7.1)
    watch = Ticks(lab, "retention", watch.cursor)
    assert watch.tick() == "0 runs deleted, 0 kept"
    later(lab, 91 + 7.2)
    watch = Ticks(lab, "retention", watch.cursor)
    assert watch.tick() == "0 runs deleted, 2 kept"


def test_deletion_continues_though_the_run_of_its_cursor_was_deleted(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.refresh()
    lab.materialize("read", keys=KEYS[:1])
    later(lab, 91)
    watch = Ticks(lab, "retention")
    assert watch.tick() == "0 runs deleted, 1 kept"
    lab.instance.delete_run(lab.instance.get_runs()[0].run_id)
    for _ in range(2):
        lab.materialize("read", keys=KEYS[:1])
    later(lab, 92)
    watch = Ticks(lab, "retention", watch.cursor)
    assert watch.tick() == "1 runs deleted, 1 kept"


def test_a_resting_tick_makes_no_queries(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Ticks(lab, "retention")
    lab.declare("a")
    watch.tick()
    monkeypatch.setattr(lab.instance, "get_run_records", None)
    answers: list[str] = []
    assert lab.count_queries(lambda: answers.append(watch.tick())) == 0
    assert answers[0].startswith("rests until")


@dg.job
def _job() -> None:
    pass
