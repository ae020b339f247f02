"""A whole pipeline over one SSH line that breaks, freezes, is refused or answers with another key."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from resources.shell.ssh import SshShell
from resources.slurm.backend import Limits
from tests.support.faults.fault_checks import Trial, nothing_left
from tests.support.faults.fault_table import FaultTable
from tests.support.parts.login_node import LoginNode
from tests.support.parts.relay import FlakyRelay
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.faulty_slurm import CALM
from tests.support.worlds.on_slurm import SlurmWorld

__all__ = ["nothing_left"]
# a cluster of their own: another worker may have them while the first one has the other faults
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm-beside")]

RUNS = 12
HURRY = 20  # how much faster than ours the time passes in which the shell waits between its trials to connect


class Line:
    """A lab behind a login node and a relay."""

    def __init__(self, ops_db: OpsDb, base: Path, slurm: SlurmCluster, node: LoginNode, relay: FlakyRelay) -> None:
        self.node, self.relay, self.slurm = node, relay, slurm
        target = node.target(relay.port, connect_timeout_seconds=1.0, idle_timeout_seconds=1.0)
        self.shell = SshShell(target, lambda: HURRY * time.monotonic(), jitter=lambda: 0.0)
        self.lab = SlurmWorld.open(ops_db, base / "lab", self.shell, timing=CALM, limits=Limits(timeout_seconds=5))

    def trial(self, runs: int = RUNS, seconds: float = 0) -> Trial:
        self.lab.declare(*(["a"] * runs), seconds=seconds)
        return Trial.of_lab(self.lab, self.slurm)

    def look_for(self, seconds: float) -> int:
        """Tick for a while and return how often a connection was tried."""
        before, end = self.relay.connections, time.monotonic() + seconds
        while time.monotonic() < end:
            self.lab.tick()
            time.sleep(0.02)
        return self.relay.connections - before

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that the cluster has of this lab."""
        listed = self.slurm.run("squeue", "-h", "-t", "all", "-o", "%A %Z").stdout.splitlines()
        return [line for line in listed if line.endswith(str(self.lab.cluster.base))]


@pytest.fixture
def line(slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[Line]:
    node = LoginNode(tmp_path / "node", slurm_cluster.environment)
    node.start()
    with FlakyRelay(node.port) as relay:
        line = Line(sqlite_ops_db, tmp_path, slurm_cluster, node, relay)
        yield line
        line.shell.close()
    node.kill()


def test_a_quiet_pipeline_needs_one_connection(line: Line, fault_table: FaultTable) -> None:
    trial = line.trial()
    line.lab.until_ended()
    trial.judge(fault_table, "SSH: none", {"COMPLETED": RUNS}, tried=1)
    assert (line.relay.connections, line.node.connections) == (1, 1)


def test_a_server_that_is_killed_again_and_again_loses_nothing(line: Line, fault_table: FaultTable) -> None:
    trial, trials = line.trial(seconds=1), []
    for _ in range(3):
        line.node.kill()
        trials.append(line.look_for(1))
        line.node.start()
        line.look_for(0.7)
    line.lab.until_ended()
    trial.judge(fault_table, "SSH: sshd killed", {"COMPLETED": RUNS}, tried=3)
    assert len(trial.attempts()) == RUNS
    assert max(trials) <= 6, "twenty seconds, in which it waits 1, 2, 4 and 8 of them"


def test_a_refusing_server_is_not_flooded_with_connections(line: Line, fault_table: FaultTable) -> None:
    trial = line.trial(seconds=0.5)
    line.lab.until(lambda: line.lab.statuses()["SUBMITTED"] + line.lab.statuses()["RUNNING"] > 0)
    line.relay.refuse()
    line.relay.drop()
    trials = line.look_for(3)
    line.relay.flow()
    line.lab.until_ended()
    trial.judge(fault_table, "SSH: refused", {"COMPLETED": RUNS}, tried=trials)
    assert 2 <= trials <= 7, "sixty seconds, in which it waits 1, 2, 4, 8, 16 and 32 of them"
    assert len(trial.attempts()) == RUNS


def test_a_frozen_server_delays_runs_and_does_no_other_harm(line: Line, fault_table: FaultTable) -> None:
    trial = line.trial(seconds=0.5)
    line.node.freeze()
    line.look_for(1)
    line.node.thaw()
    line.lab.until(lambda: line.lab.statuses()["SUBMITTED"] + line.lab.statuses()["RUNNING"] > 0)
    line.node.freeze()
    line.look_for(1)
    assert line.lab.statuses().keys() <= {"SUBMITTED", "RUNNING", "COMPLETED"}
    line.node.thaw()
    line.lab.until_ended()
    trial.judge(fault_table, "SSH: the server is frozen", {"COMPLETED": RUNS}, tried=2)
    assert len(trial.attempts()) == RUNS


def test_to_a_server_with_another_key_nothing_is_sent(line: Line, fault_table: FaultTable) -> None:
    trial = line.trial()
    keys = [line.node.folder / name for name in ("host_key", "host_key.pub")]
    for key in keys:
        shutil.copy2(key, key.with_name(f"kept-{key.name}"))
    line.node.stop()
    line.node.change_host_key()
    line.node.start()
    logins, trials = line.node.logins, line.look_for(4)
    assert (line.node.logins, line.jobs(), trials) == (logins, [], 2), "eighty seconds, in which it waits 60"
    assert set(line.lab.statuses()) <= {"PENDING", "STAGING_DATA"}
    line.node.stop()
    for key in keys:
        shutil.copy2(key.with_name(f"kept-{key.name}"), key)
    line.node.start()
    line.lab.until_ended()
    trial.judge(fault_table, "SSH: another host key", {"COMPLETED": RUNS}, tried=trials)
    assert len(trial.attempts()) == RUNS


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_line_that_is_cut_after_any_number_of_bytes_loses_and_doubles_nothing(
    line: Line, fault_table: FaultTable, direction: str
) -> None:
    chance, rounds = random.Random(11), 12
    line.lab.declare("a", seconds=0)
    trial = Trial.of_lab(line.lab, line.slurm)
    line.lab.until_ended()
    for number in range(rounds):
        trial.arrive(1 + 2 * number, 2 + 2 * number)
        largest = 14_000 if direction == "up" else 5_000
        line.relay.drop_after(chance.randrange(100, largest), "up" if direction == "up" else "down")
        line.lab.until_ended()
    line.relay.flow()
    cut = line.relay.connections - 1
    runs = 1 + 2 * rounds
    trial.judge(fault_table, f"SSH: cut after some bytes {direction}", {"COMPLETED": runs}, tried=cut)
    assert len(trial.attempts()) == runs
    assert rounds / 2 <= cut <= rounds
