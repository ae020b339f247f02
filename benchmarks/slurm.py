"""`dag21`, `trivial50`, `submit`, `scheduler_calls`: what jobs on a real, private Slurm cost, beside their floor."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.location import Cluster
    from tests.support.parts.slurm_cluster import SlurmCluster
    from tests.support.worlds.manual import ManualWorld

TRIVIAL = ["/bin/sh", "-c", 'mkdir -p "$WORKFLOW_OUTPUT_DIR/science" && echo x > "$WORKFLOW_OUTPUT_DIR/science/x"']
SNAKEMAKE_DAG21 = {"snakemake_wall_s": 82}
AIIDA_TRIVIAL = {"aiida_wall_s_per_run": 1.35, "aiida_cpu_s_per_run": 0.75}
SUBMITTED = (1_000, 5_000)
WAITING = (10, 1_000)
WATCHED_SECONDS = 30.0


def dag21() -> Iterable[dict[str, Any]]:
    """Yield the wall time of 10 calibrations, 10 baselines and one map, and of the same by --dependency alone."""
    with _slurm() as slurm:
        floor = {"sbatch_dependency_wall_s": round(_raw_dag(slurm), 2), **SNAKEMAKE_DAG21}
        metrics = _child("dag21", slurm, 10)
    yield {"params": {"jobs": 21, "cluster": "2 nodes x 8 cpus"}, "metrics": metrics, "floor": floor}


def trivial50() -> Iterable[dict[str, Any]]:
    """Yield what one of 50 trivial runs costs, and one of 50 jobs that sbatch alone submits as an array."""
    with _slurm() as slurm:
        floor = {"sbatch_array_wall_s_per_run": round(_raw_array(slurm, 50) / 50, 3), **AIIDA_TRIVIAL}
        metrics = _child("trivial", slurm, 50)
    yield {"params": {"runs": 50, "cluster": "2 nodes x 8 cpus"}, "metrics": metrics, "floor": floor}


def submit() -> Iterable[dict[str, Any]]:
    """Yield how many runs a second go from asked for to accepted by Slurm, in arrays of 1,000."""
    with _slurm() as slurm:
        _close(slurm)
        for runs in SUBMITTED:
            floor = {"sbatch_arrays_wall_s": round(_raw_submit(slurm, runs), 3)}
            yield {"params": {"runs": runs}, "metrics": _child("submit", slurm, runs), "floor": floor}


def scheduler_calls() -> Iterable[dict[str, Any]]:
    """Yield how often Slurm is asked in an hour of waiting, for few and for many jobs."""
    with _slurm() as slurm:
        _close(slurm)
        for runs in WAITING:
            metrics = _child("scheduler_calls", slurm, runs)
            yield {"params": {"waiting": runs, "observe_s": 5}, "metrics": metrics, "floor": {}}


def _slurm() -> "SlurmCluster":
    from tests.support.parts.slurm_cluster import SlurmCluster  # noqa: PLC0415 - pytest takes its time

    return SlurmCluster()


def _close(slurm: "SlurmCluster") -> None:
    """Let jobs be queued and none be started."""
    slurm.run("scontrol", "update", "partitionname=debug", "state=down")


def _child(what: str, slurm: "SlurmCluster", runs: int) -> dict[str, Any]:
    """Measure in a process of its own, whose CPU counts whole: imports, and Slurm's own commands."""
    with tempfile.TemporaryDirectory() as directory:
        program = [sys.executable, "-m", "benchmarks.slurm", what, directory, str(runs), json.dumps(slurm.environment)]
        done = subprocess.run(program, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        slurm.run("scancel", "--user", slurm.layout.user)
        _wait_for_empty(slurm)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _wait_for_empty(slurm: "SlurmCluster") -> None:
    while slurm.run("squeue", "-h", "-t", "PD,R,CG").stdout:
        time.sleep(0.05)


def _raw_dag(slurm: "SlurmCluster") -> float:
    begun = time.monotonic()
    baselines = []
    for _ in range(10):
        calibration = _raw_job(slurm)
        baselines.append(_raw_job(slurm, f"--dependency=afterok:{calibration}"))
    _raw_job(slurm, f"--dependency=afterok:{':'.join(baselines)}")
    _wait_for_empty(slurm)
    return time.monotonic() - begun


def _raw_job(slurm: "SlurmCluster", *options: str) -> str:
    words = ["sbatch", "--parsable", "--output=/dev/null", "--mem=10M", *options]
    return slurm.run(*words, stdin="#!/bin/sh\ntrue\n").stdout.strip()


def _raw_array(slurm: "SlurmCluster", tasks: int) -> float:
    begun = time.monotonic()
    _raw_job(slurm, f"--array=0-{tasks - 1}")
    _wait_for_empty(slurm)
    return time.monotonic() - begun


def _raw_submit(slurm: "SlurmCluster", runs: int) -> float:
    begun = time.monotonic()
    for _ in range(runs // 1000):
        _raw_job(slurm, "--array=0-999")
    spent = time.monotonic() - begun
    slurm.run("scancel", "--user", slurm.layout.user)
    _wait_for_empty(slurm)
    return spent


def _works(directory: Path, environment: dict[str, str], scans: int, **options: Any) -> "ManualWorld":
    """Return an observatory with so many scans whose cluster is the private Slurm."""
    from dataclasses import replace  # noqa: PLC0415 - only the child pays for its imports
    from datetime import timedelta  # noqa: PLC0415

    from ccat_models import migrations  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415
    from resources.shell.local import LocalShell  # noqa: PLC0415
    from tests.support.worlds.manual import ManualWorld, release  # noqa: PLC0415
    from tests.support.worlds.on_slurm import QUICK, slurm_cluster_over  # noqa: PLC0415

    ops_db = OpsDb(f"sqlite:///{directory / 'ops.sqlite'}")
    migrations.upgrade(ops_db.engine)
    works = ManualWorld.open(ops_db, directory)
    works.releases = [{"version": release("1.0.0")["version"], "command": TRIVIAL}]
    timing = replace(QUICK, observe_every=timedelta(seconds=5))
    works.cluster = slurm_cluster_over(
        LocalShell(environment), ops_db, directory / "workspace", timing=timing, **options
    )
    for number in range(scans):
        works.observatory.scan(number, "x")
    return works


def _step(name: str, **fields: Any) -> dict[str, Any]:
    from tests.support.worlds.manual import step  # noqa: PLC0415

    return step(name, resources={"cpus": 1, "memory_gb": 0.01, "time_hours": 0.02}, **fields)


def _spent() -> float:
    import resource  # noqa: PLC0415 - the standard library's

    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _run_pipeline(works: "ManualWorld", runs: int) -> dict[str, Any]:
    from resources.request.attached import Attached  # noqa: PLC0415
    from resources.request.ensure import RequestOptions  # noqa: PLC0415
    from resources.run.executor import Executor  # noqa: PLC0415

    begun, attached = time.monotonic(), Attached(Executor(works.cluster), waiter="bench", poll_seconds=0.2)
    outcome = attached.run_pipeline("letters", RequestOptions("bench", patient=True))
    wall = time.monotonic() - begun
    if outcome.failed or len(outcome.statuses) != runs:
        raise RuntimeError(f"{len(outcome.statuses)} runs, of which failed: {outcome.failed}")
    return {
        "wall_s": round(wall, 2),
        "wall_s_per_run": round(wall / runs, 3),
        "cpu_s_per_run": round(_spent() / runs, 3),
        "until_started_s": round(_until_started(works.cluster), 2),
    }


def _until_started(cluster: "Cluster") -> float:
    """Return the seconds from sending each batch until its first job started, which Slurm needed, of all batches."""
    import sqlalchemy as sa  # noqa: PLC0415

    from ccat_models.tables.execution import Attempt  # noqa: PLC0415

    with cluster.ops_db.read() as session:
        moments = sa.select(
            sa.func.min(Attempt.sent_at, type_=Attempt.sent_at.type),
            sa.func.min(Attempt.started_at, type_=Attempt.started_at.type),
        )
        rows = session.execute(moments.group_by(Attempt.batch_key)).all()
    return float(sum((started - sent).total_seconds() for sent, started in rows))


def run_dag(directory: Path, environment: dict[str, str], scans: int) -> dict[str, Any]:
    """Run the graph of 10 calibrations, 10 baselines and one map."""
    works = _works(directory, environment, scans)
    baseline = _step("baseline", depends_on=["calibrate"])
    works.declare(_step("calibrate"), baseline, _step("map", group_by=[], depends_on=["baseline"]))
    return _run_pipeline(works, 2 * scans + 1)


def run_trivial(directory: Path, environment: dict[str, str], runs: int) -> dict[str, Any]:
    """Run so many runs of one step."""
    works = _works(directory, environment, runs)
    works.declare(_step("calibrate"))
    return _run_pipeline(works, runs)


def run_submit(directory: Path, environment: dict[str, str], runs: int) -> dict[str, Any]:
    """Submit so many runs to a queue that starts none."""
    from ccat_models.tables.execution import RunStatus  # noqa: PLC0415
    from resources.run.executor import Executor  # noqa: PLC0415

    works = _works(directory, environment, runs)
    works.declare(_step("calibrate"))
    works.request()
    begun, executor = time.monotonic(), Executor(works.cluster)
    while _with_status(works.cluster, RunStatus.SUBMITTED) < runs:
        executor.tick()
    wall = time.monotonic() - begun
    return {"wall_s": round(wall, 2), "runs_per_s": round(runs / wall), "cpu_s_per_run": round(_spent() / runs, 5)}


def run_scheduler_calls(directory: Path, environment: dict[str, str], runs: int) -> dict[str, Any]:
    """Watch so many jobs that wait, as an attached run does."""
    from ccat_models.tables.execution import RunStatus  # noqa: PLC0415
    from resources.run.executor import Executor  # noqa: PLC0415
    from resources.slurm.backend import SlurmBackEnd  # noqa: PLC0415

    works = _works(directory, environment, runs)
    works.declare(_step("calibrate"))
    works.request()
    executor, backend = Executor(works.cluster), works.cluster.backend
    while _with_status(works.cluster, RunStatus.SUBMITTED) < runs:
        executor.tick()
    if not isinstance(backend, SlurmBackEnd):
        raise TypeError(backend)
    before, spent, begun = backend.calls.copy(), _spent(), time.monotonic()
    while time.monotonic() - begun < WATCHED_SECONDS:
        executor.tick()
        time.sleep(0.2)
    hours = (time.monotonic() - begun) / 3600
    calls = {f"{name}_per_h": round(number / hours) for name, number in (backend.calls - before).items()}
    return {**calls, "cpu_s_per_h": round((_spent() - spent) / hours)}


def _with_status(cluster: "Cluster", status: Any) -> int:
    import sqlalchemy as sa  # noqa: PLC0415

    from ccat_models.tables.execution import ExecutedReductionStep as Run  # noqa: PLC0415

    with cluster.ops_db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Run).where(Run.status == status)) or 0


CHILDREN: dict[str, Callable[[Path, dict[str, str], int], dict[str, Any]]] = {
    "dag21": run_dag,
    "trivial": run_trivial,
    "submit": run_submit,
    "scheduler_calls": run_scheduler_calls,
}

if __name__ == "__main__":
    what, path, number, environment_json = sys.argv[1:]
    os.umask(0o022)
    print(json.dumps(CHILDREN[what](Path(path), json.loads(environment_json), int(number))))
