import subprocess  # noqa: TID251 - a process that dies
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import step_key
from ccat_models.run.cancel import wait_for
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, RunStatus, RunWaiter
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.request.ensure import RequestOptions, ensure_pipeline
from sensors.dagster_runs import HOLDER_TAG
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KEY = "executed_obs_unit=scan-0"
QUIET = "no run has died"
MATERIALIZES = """
import sys
import dagster as dg
from ccat_assets.wiring.application import Application
from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import step_key
from ccat_assets.wiring.settings import load
from ccat_assets.dagit.snapshot import read_snapshot
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    app = Application(load().settings)
    with app.ops_db.read() as session:
        job = build(read_snapshot(session), app).resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=instance, asset_selection=[step_key("letters", "read")], partition_key=sys.argv[2],
        raise_on_error=False,
    )
"""


def until(condition: Callable[[], object], within_seconds: float = 60) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def materializing(lab: DagsterWorld) -> subprocess.Popen[bytes]:
    """Return a process that waits for a long job in a Dagster run, once the job is on its way."""
    lab.declare("a", seconds="300")
    lab.refresh()
    url = lab.application.ops_db.url.render_as_string(hide_password=False)
    environment = {"CCAT_HOME": str(lab.observatory.base), "CCAT_DATABASE_URL": url}
    command = [sys.executable, "-c", MATERIALIZES, lab.instance.root_directory, KEY]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    until(lambda: waiters(lab) and lab.called())
    return process


def waiters(lab: DagsterWorld) -> list[str]:
    with lab.application.ops_db.read() as session:
        return list(session.scalars(sa.select(RunWaiter.waiter)))


def statuses(lab: DagsterWorld) -> list[RunStatus]:
    with lab.application.ops_db.read() as session:
        return list(session.scalars(sa.select(Run.status).order_by(Run.id)))


def status_of(lab: DagsterWorld, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = lab.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def cancel_what_runs(lab: DagsterWorld) -> None:
    """Leave no job behind."""
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(Run).where(Run.status.in_(IN_FLIGHT)).values(cancel_requested_at=sa.func.now()))
    until(lambda: lab.application.executor.tick() and not set(statuses(lab)) & set(IN_FLIGHT))


def test_a_run_whose_process_is_killed_fails_and_its_job_continues(lab_at_home: DagsterWorld) -> None:
    lab = lab_at_home
    watch = Ticks(lab, "dagster_runs")
    process = materializing(lab)
    (run,) = lab.instance.get_runs()
    assert watch.tick() == QUIET
    process.kill()
    process.wait()
    assert status_of(lab, run) is dg.DagsterRunStatus.STARTED
    assert watch.tick() == f"run {run.run_id} was ended; run {run.run_id} no longer waits for jobs"
    assert status_of(lab, run) is dg.DagsterRunStatus.FAILURE
    assert (waiters(lab), watch.tick()) == ([], QUIET)
    with lab.application.ops_db.read() as session:
        assert session.scalars(sa.select(Run.cancel_requested_at)).all() == [None]
    assert set(statuses(lab)) <= set(IN_FLIGHT)
    cancel_what_runs(lab)


def test_a_run_that_is_killed_while_it_is_cancelled_has_its_job_cancelled(lab_at_home: DagsterWorld) -> None:
    lab = lab_at_home
    watch = Ticks(lab, "dagster_runs")
    process = materializing(lab)
    (run,) = lab.instance.get_runs()
    lab.instance.report_run_canceling(run)
    process.kill()
    process.wait()
    assert watch.tick() == f"run {run.run_id} was ended; 1 jobs of run {run.run_id} were cancelled"
    assert status_of(lab, run) is dg.DagsterRunStatus.CANCELED
    until(lambda: lab.application.executor.tick() and statuses(lab) == [RunStatus.CANCELLED])
    assert (waiters(lab), watch.tick()) == ([], QUIET)


def ended_run(lab: DagsterWorld, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    job = build(lab.snapshot(), lab.application).resolve_implicit_global_asset_job_def()
    selected = frozenset({step_key("letters", "read")})
    return lab.instance.create_run_for_job(job, status=status, asset_selection=selected, tags=tags)


@pytest.mark.parametrize(
    ("status", "cancelled"),
    [
        (dg.DagsterRunStatus.CANCELED, True),
        (dg.DagsterRunStatus.FAILURE, False),
        (dg.DagsterRunStatus.SUCCESS, False),
        (None, False),
    ],
)
def test_what_a_run_leaves_behind_is_settled_as_it_ended(
    lab_on_each: DagsterWorld, status: dg.DagsterRunStatus | None, cancelled: bool
) -> None:
    lab = lab_on_each
    lab.declare("a", "b")
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    run_id = "deleted" if status is None else ended_run(lab, status).run_id
    with lab.application.ops_db.write() as session:
        now = lab.application.clock()
        wait_for(session, [RunId(1), RunId(2)], f"dagster:{run_id}", now)
        wait_for(session, [RunId(2)], "another requester", now)
    watch = Ticks(lab, "dagster_runs")
    expected = f"1 jobs of run {run_id} were cancelled" if cancelled else f"run {run_id} no longer waits for jobs"
    assert watch.tick() == expected
    assert statuses(lab) == [RunStatus.CANCELLED if cancelled else RunStatus.PENDING, RunStatus.PENDING]
    assert (waiters(lab), watch.tick()) == (["another requester"], QUIET)


def test_runs_that_are_at_work_or_somewhere_else_are_left_alone(lab: DagsterWorld) -> None:
    lab.declare("a")
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    started = dg.DagsterRunStatus.STARTED
    gone_elsewhere = "another-host:1:1:abcdef"
    runs = [
        ended_run(lab, started),
        ended_run(lab, started, **{HOLDER_TAG: lab.application.executor.holder}),
        ended_run(lab, started, **{HOLDER_TAG: gone_elsewhere}),
    ]
    with lab.application.ops_db.write() as session:
        wait_for(session, [RunId(1)], f"dagster:{runs[1].run_id}", lab.application.clock())
    assert Ticks(lab, "dagster_runs").tick() == QUIET
    assert {status_of(lab, run) for run in runs} == {started}
    assert len(waiters(lab)) == 1


def test_an_idle_tick_reads_once(lab: DagsterWorld) -> None:
    lab.declare("a")
    watch = Ticks(lab, "dagster_runs")
    watch.tick()
    assert lab.count_queries(watch.tick) == 2  # BEGIN and SELECT
