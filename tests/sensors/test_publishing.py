import signal
import subprocess  # noqa: TID251 - processes that publish at the same time, or die
import sys
import threading
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.build import build
from ccat_assets.dagit.links import Links
from ccat_assets.dagit.metadata import materialization
from ccat_assets.dagit.publish import due, publish_ended
from ccat_models.clock import system_clock
from ccat_models.lineage.run_report import RunReport
from ccat_models.tables.base import StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import FailureClass, RunStatus
from resources.request.ensure import RequestOptions, ensure_pipeline
from sensors.publishing import publishing_sensor
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import NOON, FakeClock

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTHING = "nothing to publish"
KEYS = [f"executed_obs_unit=scan-{number}" for number in range(4)]
PUBLISHES = """
import sys
import dagster as dg
from ccat_assets.wiring.application import Application
from ccat_assets.dagit.publish import publish
from ccat_assets.wiring.settings import load
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    print("begins", flush=True)
    publish(Application(load().settings), instance)
"""

# It dies as by kill -9 where it would publish one run more.
DIES = """
import os, sys
import dagster as dg
import ccat_assets.dagit.steps_of_run
from ccat_assets.wiring.application import Application
from ccat_assets.dagit.build import build
from ccat_assets.dagit.metadata import materialization
from ccat_assets.wiring.settings import load
from ccat_assets.dagit.snapshot import read_snapshot
published = []
def dying(report, *rest):
    published.append(report)
    if len(published) > int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return materialization(report, *rest)
ccat_assets.dagit.steps_of_run.materialization = dying
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    app = Application(load().settings)
    with app.ops_db.read() as session:
        definitions = build(read_snapshot(session), app)
    with dg.build_sensor_context(instance=instance) as context:
        definitions.get_repository_def().get_sensor_def("publishing")(context)
"""


def environment(lab: DagsterWorld) -> dict[str, str]:
    url = lab.application.ops_db.url.render_as_string(hide_password=False)
    return {"CCAT_HOME": str(lab.observatory.base), "CCAT_DATABASE_URL": url}


def test_runs_without_dagster_are_published(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    watch = Ticks(lab, "publishing")
    lab.declare("a", "exit 65", "c", "d")
    assert watch.tick() == NOTHING
    lab.run_without_dagster()
    assert (watch.tick(), watch.tick()) == ("8 runs were published", NOTHING)
    assert lab.statuses("read") == dict.fromkeys(KEYS, "MATERIALIZED") | {KEYS[1]: "FAILED"}
    assert len(lab.instance.get_runs()) == 3
    assert set(lab.called().values()) == {1}


def test_an_idle_tick_reads_once_and_asks_dagster_nothing(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Ticks(lab, "publishing")
    lab.declare("a")
    lab.run_without_dagster()
    watch.tick()
    monkeypatch.setattr(lab.instance, "get_runs", None)
    answers: list[str] = []
    assert lab.count_queries(lambda: answers.append(watch.tick())) == 2  # BEGIN and SELECT
    assert (answers, watch.cursor) == ([NOTHING], None)


def ended(lab: DagsterWorld, *, ago: float, count: int = 1) -> None:
    """Let the first runs of a step have ended so many seconds ago, and the others be on their way."""
    with lab.application.ops_db.write() as session:
        done = sa.select(Run.id).order_by(Run.id).limit(count)
        for run in session.scalars(sa.select(Run).where(Run.id.in_(done))):
            for status in ("STAGING_DATA", "SUBMITTED", "RUNNING", "FAILED"):
                run.status, run.failure_class, run.failure_message = RunStatus[status], None, None
                if status == "FAILED":
                    run.failure_class = FailureClass.SCIENCE
                run.status_changed_at = NOON - timedelta(seconds=ago)
                session.flush()


@pytest.mark.parametrize(("ago", "count", "is_due"), [(19, 1, False), (20, 1, True), (0, 2, True), (0, 1, False)])
def test_many_runs_of_a_burst_are_published_at_once(lab: DagsterWorld, ago: float, count: int, is_due: bool) -> None:
    lab.declare("a", "b")
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    ended(lab, ago=ago, count=count)
    at_noon = replace(lab.application, clock=FakeClock())
    assert bool(due(at_noon, lab.instance)) is is_due


def test_a_full_dagster_run_is_not_waited_for(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.declare("a", "b", "c")
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    ended(lab, ago=0, count=2)
    at_noon = replace(lab.application, clock=FakeClock())
    assert not due(at_noon, lab.instance)
    monkeypatch.setattr("ccat_models.run.unpublished._ENOUGH", 2)
    assert due(at_noon, lab.instance)


def test_what_a_dagster_run_is_about_to_publish_is_left_to_it(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.run_without_dagster()
    job = build(lab.snapshot(), lab.application).resolve_implicit_global_asset_job_def()
    selected = frozenset({lab.name("read").asset_key})
    lab.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, asset_selection=selected)
    assert {name for name in ("read", "clean", "join") if _is_due(lab, name)} == {"clean", "join"}
    lab.application = replace(lab.application, clock=lambda: system_clock() + timedelta(minutes=10))
    assert _is_due(lab, "read")


def _is_due(lab: DagsterWorld, step: str) -> bool:
    return StepId(lab.name(step).step_id) in due(lab.application, lab.instance)


def test_a_tick_ends_in_time_and_the_next_one_continues(lab: DagsterWorld) -> None:
    lab.declare("a", "b")
    lab.run_without_dagster()
    seconds = iter([0.0, 0.0, 15.0])
    assert publish_ended(lab.application, lab.instance, budget=Budget(15, passed=lambda: next(seconds))) == 2
    assert lab.unpublished() == 4
    assert Ticks(lab, "publishing").tick() == "4 runs were published"


def test_a_run_that_cannot_be_published_is_retried_rarely_and_holds_nothing_up(
    lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(system_clock())
    lab.application = replace(lab.application, clock=clock)
    watch = Ticks(lab, "publishing")
    lab.declare("a")
    lab.run_without_dagster()
    with monkeypatch.context() as patched:
        seen: list[RunReport] = []

        def but_the_first(report: RunReport, files: Files, links: Links) -> dg.AssetMaterialization:
            seen.append(report)
            return materialization(report, files, links) if len(seen) > 1 else report.nothing  # type: ignore[attr-defined]

        patched.setattr("ccat_assets.dagit.steps_of_run.materialization", but_the_first)
        with pytest.raises(RuntimeError, match="letters/read: nothing was published"):
            watch.tick()
    assert lab.shown("clean") == {KEYS[0]: 1}
    assert watch.tick().startswith("publishing failed: the next try is at")
    clock.pass_seconds(300)
    assert watch.tick() == "1 runs were published"
    assert watch.tick() == NOTHING


def test_one_tick_at_a_time_publishes(lab: DagsterWorld) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def show(_instance: dg.DagsterInstance, steps: Collection[StepId]) -> int:
        begun.set()
        assert go_on.wait(30)
        return len(steps)

    sensor = publishing_sensor(lambda _: {StepId(1): NOON}, show, FakeClock())

    def tick() -> str:
        with dg.build_sensor_context(instance=lab.instance) as context:
            answer = sensor(context)
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or ""

    answers: list[str] = []
    first = threading.Thread(target=lambda: answers.append(tick()))
    first.start()
    assert begun.wait(30)
    assert tick() == "an earlier tick still publishes"
    go_on.set()
    first.join(30)
    assert answers == ["1 runs were published"]


def test_a_user_and_the_sensor_may_publish_at_the_same_time(lab_at_home: DagsterWorld) -> None:
    lab = lab_at_home
    lab.declare(*"abcdefgh")
    lab.run_without_dagster()
    command = [sys.executable, "-c", PUBLISHES, lab.instance.root_directory]
    with subprocess.Popen(command, cwd=ROOT, env=environment(lab), stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"begins\n"
        watch = Ticks(lab, "publishing")
        while lab.unpublished():
            watch.tick()
        assert user.wait(60) == 0
    for step, count in (("read", 8), ("clean", 8), ("join", 2)):
        assert list(lab.shown(step).values()) == [1] * count
    assert all(run.is_finished for run in lab.instance.get_runs())


@pytest.mark.parametrize("seen", [1, 3])
def test_the_next_tick_continues_after_a_killed_tick(lab_at_home: DagsterWorld, seen: int) -> None:
    lab = lab_at_home
    lab.declare("a", "b")
    lab.run_without_dagster()
    command = [sys.executable, "-c", DIES, lab.instance.root_directory, str(seen)]
    died = subprocess.run(command, cwd=ROOT, env=environment(lab), check=False)
    assert died.returncode == -signal.SIGKILL
    steps = {"read": 2, "clean": 2, "join": 2}
    assert sum(sum(lab.shown(step).values()) for step in steps) == seen
    watch = Ticks(lab, "publishing")
    while watch.tick() != NOTHING:
        pass
    assert {step: list(lab.shown(step).values()) for step in steps} == {step: [1] * 2 for step in steps}
    assert all(run.is_finished for run in lab.instance.get_runs())
