import signal
import subprocess  # noqa: TID251 - a process that dies
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from ccat_assets.dagit.metadata import materialization
from ccat_assets.dagit.publish import PUBLISHER_TAG, publish, publish_to_home
from ccat_models.lineage.run_report import read_reports
from ccat_models.run.cancel import wait_for
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
KEYS = [f"executed_obs_unit=scan-{number}" for number in range(4)]
# The clock is asked when what was shown is to be marked: there the process dies as by kill -9.
DIES = """
import os, sys
from pathlib import Path
import dagster as dg
from ccat_assets.wiring.application import Application
from ccat_assets.dagit.names import step_key
from ccat_assets.dagit.publish import publish
from ccat_assets.wiring.settings import load
from ccat_models.clock import system_clock
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    def clock():
        if instance.fetch_materializations(step_key("letters", "read"), limit=1).records:
            os.kill(os.getpid(), 9)
        return system_clock()
    publish(Application(load().settings, clock=clock), instance)
"""


def test_every_ended_run_is_published_once(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a", "exit 65", "c", "d")
    lab.run_without_dagster()
    seen: list[int] = []
    assert publish(lab.application, lab.instance, progress=seen.append) == 8
    assert seen == [4, 7, 8]
    assert lab.shown("read") == lab.shown("clean") == {KEYS[0]: 1, KEYS[2]: 1, KEYS[3]: 1}
    assert lab.shown("join") == {"source=source-1": 1}
    assert lab.statuses("read") == dict.fromkeys(KEYS, "MATERIALIZED") | {KEYS[1]: "FAILED"}
    assert lab.unpublished() == 0
    runs = lab.instance.get_runs()
    assert publish(lab.application, lab.instance) == 0
    assert len(lab.instance.get_runs()) == len(runs) == 3
    assert {run.tags["user"] for run in runs} == {"ada"}
    assert set(lab.called().values()) == {1}


def test_a_failure_before_a_success_does_not_show_as_failed(lab: DagsterWorld) -> None:
    lab.declare("exit 65", "exit 65 2")
    lab.run_without_dagster()
    lab.observatory.scan(0, "mended")
    lab.run_without_dagster()
    assert publish(lab.application, lab.instance) == 5
    assert lab.statuses("read") == {KEYS[0]: "MATERIALIZED", KEYS[1]: "FAILED"}
    lab.observatory.scan(0, "exit 65 again")
    lab.run_without_dagster()
    assert publish(lab.application, lab.instance) == 1
    assert lab.statuses("read")[KEYS[0]] == "FAILED"
    assert lab.shown("read") == {KEYS[0]: 1}


def test_every_run_of_a_sub_group_is_shown_in_order(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.run_without_dagster()
    lab.observatory.scan(0, "more")
    lab.run_without_dagster()
    publish(lab.application, lab.instance)
    shown = [int((event.tags or {})["ccat/run_id"]) for event in lab.materializations("read")]
    assert len(shown) == 2
    assert shown == sorted(shown)


def publish_the_first_run_and_crash(lab: DagsterWorld) -> None:
    """Let Dagster have the event of the first run, which ops-db does not record."""
    with lab.application.ops_db.read() as session:
        report = read_reports(session, [RunId(1)])[RunId(1)]
    lab.instance.report_runless_asset_event(materialization(report))


def test_runs_published_before_a_crash_are_not_published_again(lab: DagsterWorld) -> None:
    lab.declare("a", "b", "c")
    lab.run_without_dagster()
    publish_the_first_run_and_crash(lab)
    assert publish(lab.application, lab.instance) == 8
    assert lab.shown("read") == {KEYS[0]: 1, KEYS[1]: 1, KEYS[2]: 1}


def test_runs_published_before_a_crash_are_not_shown_as_failed_with_the_rest(lab: DagsterWorld) -> None:
    lab.declare("a", "exit 65", "c")
    lab.run_without_dagster()
    publish_the_first_run_and_crash(lab)
    publish(lab.application, lab.instance)
    assert lab.statuses("read") == {KEYS[0]: "MATERIALIZED", KEYS[1]: "FAILED", KEYS[2]: "MATERIALIZED"}
    assert lab.shown("read") == {KEYS[0]: 1, KEYS[2]: 1}


def test_a_publisher_that_is_killed_leaves_nothing_that_runs_for_good(sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    with DagsterWorld.at_home(sqlite_ops_db, tmp_path) as lab:
        lab.declare("a", "b")
        lab.run_without_dagster()
        environment = {"CCAT_HOME": str(tmp_path), "CCAT_DATABASE_URL": str(sqlite_ops_db.url)}
        died = subprocess.run([sys.executable, "-c", DIES, home], cwd=ROOT, env=environment, check=False)
        assert died.returncode == -signal.SIGKILL
        assert lab.shown("read") == {KEYS[0]: 1, KEYS[1]: 1}
        assert lab.unpublished() == 6
        (left,) = lab.instance.get_runs()
        assert left.status is dg.DagsterRunStatus.STARTED

        settings = lab.application.settings.model_copy(update={"dagster_home": home})
        assert publish_to_home(replace(lab.application, settings=settings)) == 6
        assert lab.shown("read") == {KEYS[0]: 1, KEYS[1]: 1}
        assert lab.shown("clean") == {KEYS[0]: 1, KEYS[1]: 1}
        assert lab.unpublished() == 0
        ended = lab.instance.get_run_by_id(left.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE


def test_the_run_of_a_living_publisher_is_left_alone(lab: DagsterWorld) -> None:
    lab.declare("a")
    run = lab.instance.create_run_for_job(
        dg.Definitions(jobs=[_job]).resolve_job_def("_job"),
        tags={PUBLISHER_TAG: lab.application.executor.holder},
        status=dg.DagsterRunStatus.STARTED,
    )
    publish(lab.application, lab.instance)
    kept = lab.instance.get_run_by_id(run.run_id)
    assert kept is not None
    assert kept.status is dg.DagsterRunStatus.STARTED


def test_runs_that_a_dagster_run_waits_for_are_published_by_it_alone(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.run_without_dagster()
    with lab.application.ops_db.write() as session:
        wait_for(session, [RunId(1)], "dagster:some-run", lab.application.clock())
        wait_for(session, [RunId(2)], "another requester", lab.application.clock())
    assert publish(lab.application, lab.instance) == 2
    assert lab.shown("read") == {}
    assert lab.shown("clean") == {KEYS[0]: 1}


def test_a_run_that_cannot_be_published_is_an_error(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.declare("a")
    lab.run_without_dagster()
    monkeypatch.setattr("ccat_assets.dagit.steps_of_run.materialization", lambda report: report.nothing)
    with pytest.raises(RuntimeError, match=r"letters/read: nothing was published, see Dagster run [0-9a-f-]{36}"):
        publish(lab.application, lab.instance)
    assert lab.unpublished() == 3


@dg.job
def _job() -> None:
    pass
