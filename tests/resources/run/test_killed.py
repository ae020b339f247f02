"""The process that moves runs on is killed between any two writes, in turn; the next one continues where it stopped."""

import signal
import subprocess  # noqa: TID251 - a process to be killed
import sys
from collections import Counter
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.observatory import ObservatoryWorld

pytestmark = pytest.mark.slow

BORDERS = (
    "lease taken",
    "taken up",
    "directories laid out",
    "intent committed",
    "sent",
    "sending recorded",
    "running recorded",
    "outputs verified",
    "collected",
    "failure recorded",
)

# A process of its own that runs the pipeline and kills itself with SIGKILL at the n-th passing of a border.
VICTIM = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from resources.request.attached import Attached
from resources.backend import Timing
from resources.request.ensure import RequestOptions
from resources.run.executor import Executor
from resources.ops_db import OpsDb
from tests.support.faults.moments import watched
from tests.support.parts.clusters import local_cluster
url, base, border, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
passed = 0
def passing(name):
    global passed
    passed += name == border
    if passed == count:
        os.kill(os.getpid(), signal.SIGKILL)
timing = Timing(lost_after=timedelta(seconds=1), resend_after=timedelta(seconds=0.5))
cluster = watched(local_cluster(OpsDb(url), base, slots=2, timing=timing), passing)
attached = Attached(Executor(cluster), waiter="victim", poll_seconds=0.05)
attached.run_pipeline("letters", RequestOptions(by="test", patient=True))
"""


def run_victim(ops_db: OpsDb, base: Path, border: str, count: int) -> int:
    arguments = [sys.executable, "-c", VICTIM, ops_db.url.render_as_string(hide_password=False)]
    done = subprocess.run([*arguments, str(base / "workspace"), border, str(count)], timeout=120, check=False)
    return done.returncode


@pytest.mark.parametrize("border", BORDERS)
def test_a_kill_between_any_two_transactions_loses_nothing_and_runs_nothing_twice(
    border: str, observatory: ObservatoryWorld, code: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    observatory.scan(0, "exit 3 once")
    observatory.scan(1)
    observatory.declare(pipeline_yaml(calls), code)
    killed = [run_victim(observatory.ops_db, tmp_path, border, count) for count in (1, 2)]
    assert -signal.SIGKILL in killed, f"the border {border!r} was never passed"
    assert run_victim(observatory.ops_db, tmp_path, "none", 1) == 0

    expected = Counter(
        [
            "read executed_obs_unit=scan-0 1",
            "read executed_obs_unit=scan-0 2",
            "read executed_obs_unit=scan-1 1",
            "clean executed_obs_unit=scan-0 1",
            "clean executed_obs_unit=scan-0 2",
            "clean executed_obs_unit=scan-1 1",
            "join source=source-1 1",
            "join source=source-1 2",
            "join source=source-2 1",
        ]
    )
    assert Counter(calls.read_text().splitlines()) == expected
