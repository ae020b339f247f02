"""The process that moves runs on is killed at every statement of submitting, observing and collecting, in turn."""

import json
import signal
import subprocess  # noqa: TID251 - a process that forks and kills
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from ccat_models import migrations
from resources.ops_db import OpsDb
from tests.support.faults.fault_table import FaultTable
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, step

# Leaves a trace of its execution in its own attempt's output, then does as its input says.
PROGRAM = """
import json, os, pathlib, signal, sys, time
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
science = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"], "science")
science.mkdir(exist_ok=True)
with open(science / "executions.txt", "a") as trace:
    trace.write("x")
source = manifest["inputs"][0]
text = (pathlib.Path(source["path"]) / source["files"][0]["path"]).read_text()
first = manifest["run"]["attempt"] == 1
if "sleep" in text:
    time.sleep(60)
if "vanish" in text and first:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if "fail" in text and first:
    sys.exit(3)
"""
KINDS = {
    # contents of the scans, how the runs end, how often each attempt is executed, by run and attempt
    "plain": (["good", "fail"], ["COMPLETED", "COMPLETED"], {"1-1": 1, "2-1": 1, "2-2": 1}),
    "lost reply": (["good"], ["COMPLETED"], {"1-1": 1}),
    "vanished": (["vanish"], ["COMPLETED"], {"1-1": 1, "1-2": 1}),
    "cancelled": (["sleep"], ["CANCELLED"], {"1-1": 1}),
}


def template(base: Path, contents: list[str]) -> Path:
    """Return the file of an ops-db in which runs have been asked for and nothing has been sent."""
    path = base / "template.sqlite"
    ops_db = OpsDb(f"sqlite:///{path}")
    migrations.upgrade(ops_db.engine)
    works = ManualWorld.open(ops_db, base)
    (works.code / "reduce.py").write_text(PROGRAM)
    for number, content in enumerate(contents):
        works.observatory.scan(number, content)
    resources = {"cpus": 1, "memory_gb": 0.1, "time_hours": 0.02}
    works.declare(step("read", resources=resources, retries={**NO_RETRIES, "science": 1, "lost": 1}))
    works.request()
    ops_db.close()
    return path


def kill_everywhere(slurm: SlurmCluster, base: Path, kind: str, done: Collection[str]) -> list[dict[str, Any]]:
    """Return what became of each world in which processes were killed, at all statements that are not done."""
    base.mkdir()
    config = base / "config.json"
    values = {"template": str(template(base, KINDS[kind][0])), "base": str(base / "worlds"), "kind": kind}
    config.write_text(json.dumps(values | {"environment": slurm.environment, "done": sorted(done)}))
    command = [sys.executable, "-m", "tests.support.faults.statement_kills", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("slurm")
def test_a_kill_at_any_statement_loses_nothing_and_runs_nothing_twice(
    slurm_cluster: SlurmCluster, tmp_path: Path, fault_table: FaultTable
) -> None:
    done: set[str] = set()
    wrong = []
    for kind, (_, statuses, executions) in KINDS.items():
        outcomes = kill_everywhere(slurm_cluster, tmp_path / kind.replace(" ", "-"), kind, done)
        aimed = [end for outcome in outcomes for end in zip(outcome["statements"], outcome["deaths"], strict=False)]
        struck = {statement for statement, death in aimed if death == signal.SIGKILL}
        assert len(struck) > 0.9 * len({statement for statement, _ in aimed}), (
            "but for a few that only some histories execute"
        )
        done |= struck
        for outcome in outcomes:
            found = outcome["statuses"], outcome["executions"], outcome["open"], outcome["deaths"][-1]
            wrong += [outcome] if found != (statuses, executions, [], 0) else []
            fault_table.add(
                f"SIGKILL at a statement ({kind})", outcome["executions"], executions, outcome["statuses"], statuses
            )
    assert len(done) > 200
    assert wrong == []
