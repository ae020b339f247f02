"""Cancelling at the command line or in Dagit reaches the tasks on Slurm, and no others."""

import os
import shutil
import signal
import subprocess  # noqa: TID251 - a command line that is interrupted
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import Attempt, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.ops_db import OpsDb
from tests.support.hands.cli import Terminal, open_terminal
from tests.support.parts.dagit import dagit, hurry
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.back_ends import wait
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("slurm")]

ROOT = Path(__file__).parents[2]
CCAT = Path(sys.executable).with_name("ccat")
LAUNCH = """
mutation ($keys: [String!], $asset: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: [{path: $asset}], partitionNames: $keys}) { __typename }
}
"""
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"


def on(slurm: SlurmCluster) -> dict[str, str]:
    """Return the settings of an operator whose jobs run there, who asks Slurm once an hour."""
    return {
        "CCAT_HPC_BACKEND": "slurm",
        "CCAT_SLURM_PARTITION": "debug",
        "CCAT_OBSERVE_SECONDS": "3600",
        "SLURM_CONF": slurm.environment["SLURM_CONF"],
    }


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Give a Slurm with a job of another user, which must be left alone."""
    slurm_cluster.run("sbatch", "--job-name=ccat-stranger", "--mem=10M", stdin="#!/bin/sh\nsleep 600\n")
    yield slurm_cluster
    assert "ccat-stranger" in slurm_cluster.run("squeue", "-h", "-t", "R", "-o", "%j").stdout.split()
    slurm_cluster.clear()


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path, slurm: SlurmCluster) -> Terminal:
    """Give the terminal of a user whose jobs run on Slurm."""
    opened = open_terminal(tmp_path, sqlite_template)
    opened.environment |= on(slurm)
    opened.ok("ingest", opened.observe("a", "b", "c"))
    opened.declare(seconds="300")
    return opened


def tasks(slurm: SlurmCluster) -> dict[str, str]:
    """Return the states of our tasks, by their ids."""
    lines = slurm.run("squeue", "-h", "-r", "-t", "all", "-o", "%F_%K %T %j").stdout.splitlines()
    rows = [line.split() for line in lines if "stranger" not in line]
    return {row[0]: row[1] for row in rows}


def sent(url: str) -> dict[int, str]:
    """Return the ids of the tasks by run."""
    database = OpsDb(url)
    with database.read() as session:
        found = {a.run_id: a.job_id for a in session.scalars(sa.select(Attempt)) if a.job_id is not None}
    database.close()
    return {int(run): str(job) for run, job in found.items()}


def states(slurm: SlurmCluster, jobs: dict[int, str]) -> dict[int, str | None]:
    """Return the state of each run's task."""
    found = tasks(slurm)
    return {run: found.get(job) for run, job in jobs.items()}


def url_of(terminal: Terminal) -> str:
    return f"sqlite:///{terminal.home / 'ops.sqlite'}"


def accounted(slurm: SlurmCluster, job: str) -> str:
    """Return the state that the accounting has for a task."""
    return slurm.run("sacct", "-nPX", "-j", job, "-o", "State").stdout.strip()


def test_the_cancel_command_ends_the_tasks_of_its_runs_alone(terminal: Terminal, slurm: SlurmCluster) -> None:
    terminal.ok("run", "letters", "--step", "read", "--detach")
    wait(lambda: len(terminal.called()) == 3, "the start of three programs")
    jobs = sent(url_of(terminal))
    assert states(slurm, jobs) == dict.fromkeys((1, 2, 3), "RUNNING")
    terminal.ok("cancel", 1, 3)
    wait(lambda: states(slurm, jobs) == {1: "CANCELLED", 2: "RUNNING", 3: "CANCELLED"}, "the end of two tasks")
    wait(lambda: accounted(slurm, jobs[1]).startswith("CANCELLED"), "the accounting of it")
    assert accounted(slurm, jobs[2]) == "RUNNING"
    terminal.ok("cancel", 2)
    wait(lambda: set(states(slurm, jobs).values()) == {"CANCELLED"}, "the end of the last task")


def test_one_command_cancels_runs_of_another_and_an_interruption_the_rest(
    terminal: Terminal, slurm: SlurmCluster
) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251
    running = subprocess.Popen(
        [CCAT, "run", "letters", "--step", "read", "--no-publish", "--json"],
        env={**kept, **terminal.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait(lambda: len(terminal.called()) == 3, "the start of three programs")
    jobs = sent(url_of(terminal))
    terminal.ok("cancel", 2)
    wait(lambda: states(slurm, jobs) == {1: "RUNNING", 2: "CANCELLED", 3: "RUNNING"}, "the end of one task")
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode != 0, errors
    wait(lambda: set(states(slurm, jobs).values()) == {"CANCELLED"}, "the end of all tasks")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_terminating_a_run_in_dagit_ends_its_tasks(sqlite_ops_db: OpsDb, slurm: SlurmCluster, tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    hurry(home)
    keys = [f"executed_obs_unit=scan-{number}" for number in range(2)]
    environment = {"CCAT_HOME": str(tmp_path), "CCAT_DATABASE_URL": str(sqlite_ops_db.url), **on(slurm)}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        lab = DagsterWorld.open(sqlite_ops_db, instance, tmp_path)
        lab.declare("a", "b", "c", seconds="300")
        lab.refresh()
        with dagit(home, ROOT / "workspace.yaml", daemon=True, environment=environment) as running:
            running.graphql(LAUNCH, keys=keys, asset=["letters", "read"])
            wait(lambda: len(lab.called()) == 2, "the start of two programs")
            jobs = sent(str(sqlite_ops_db.url))
            assert states(slurm, jobs) == {1: "RUNNING", 2: "RUNNING"}
            [run] = instance.get_runs()
            answer = running.graphql(TERMINATE, run=run.run_id)["terminateRun"]["__typename"]
            assert answer == "TerminateRunSuccess"
            wait(lambda: set(states(slurm, jobs).values()) == {"CANCELLED"}, "the end of both tasks")
            wait(partial(_is_finished, instance), "the end of the run in Dagster")
    with sqlite_ops_db.read() as session:
        assert {run.cancel_requested_at is not None for run in session.scalars(sa.select(Run))} == {True}
        assert RunStatus.FAILED not in {run.status for run in session.scalars(sa.select(Run))}


def _is_finished(instance: dg.DagsterInstance) -> bool:
    return all(run.is_finished for run in instance.get_runs())
