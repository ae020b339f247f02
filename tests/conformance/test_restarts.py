"""The executor may be killed and the scheduler may be away: no job is lost and none fails for it."""

import signal
import subprocess  # noqa: TID251 - a submitting process of its own, to be killed
import sys
import time

import pytest

from ccat_models.tables.execution import RunStatus
from tests.support.parts.tree import PROGRAMS
from tests.support.worlds.back_ends import BackEndWorld, is_up, output_of, wait

pytestmark = pytest.mark.slow

SUBMIT_AND_DIE = """
import os, signal
import sqlalchemy as sa
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import load
from ccat_models.tables.execution import Attempt, AttemptState
app = Application(load().settings)
def open_ones():
    with app.ops_db.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(Attempt.state.in_([AttemptState.INTENDED, AttemptState.SENDING])))
while open_ones():
    assert app.executor.tick()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_another_process_collects_what_one_that_was_killed_has_submitted(yard: BackEndWorld) -> None:
    yard.work("sleep 1", "sleep 1", "exit 65")
    environment = {"PATH": f"{PROGRAMS}:/usr/bin:/bin", **yard.settings}
    if yard.slurm is not None:
        environment["SLURM_CONF"] = yard.slurm.environment["SLURM_CONF"]
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT_AND_DIE], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    sent = yard.attempts()
    assert all(attempt.directory for attempt in sent)
    assert yard.until_ended() == {"COMPLETED": 2, "FAILED": 1}
    assert [(attempt.number, attempt.sends) for attempt in yard.attempts()] == [(1, 1)] * 3
    if yard.slurm is not None:
        assert [a.job_id for a in yard.attempts()] == [a.job_id for a in sent]


def test_while_the_scheduler_is_away_jobs_end_and_are_collected_and_none_fails(yard_on_slurm: BackEndWorld) -> None:
    slurm = yard_on_slurm.slurm
    assert slurm is not None
    yard_on_slurm.work("sleep 2", "sleep 300", "exit 65")
    yard_on_slurm.until(lambda: all(map(is_up, yard_on_slurm.attempts())))
    yard_on_slurm.until(lambda: yard_on_slurm.run(2).status is RunStatus.RUNNING)
    with slurm.without("slurmctld", by=signal.SIGTERM):  # by SIGKILL it forgets what it took last
        for attempt in yard_on_slurm.attempts()[::2]:
            wait((output_of(attempt).parent / "result.json").exists)
        yard_on_slurm.until(yard_on_slurm.has(COMPLETED=1, RUNNING=1, FAILED=1))
        end = time.monotonic() + 2 * yard_on_slurm.cluster.timing.lost_after.total_seconds()
        while time.monotonic() < end:
            yard_on_slurm.tick()
    assert yard_on_slurm.statuses() == {"COMPLETED": 1, "RUNNING": 1, "FAILED": 1}
    yard_on_slurm.cancel(2)
    assert yard_on_slurm.until_ended() == {"COMPLETED": 1, "FAILED": 1, "CANCELLED": 1}
    assert [attempt.number for attempt in yard_on_slurm.attempts()] == [1, 1, 1]
