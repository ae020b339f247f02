"""`plan`: what would be run, and why, in a graph of three steps with a fan-in of 10:1, from nothing to the counts."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# runs = n scans calibrated + n scans cleaned + n/10 maps
RUNS = (2_100, 10_500, 42_000, 420_000)
FLOOR = {"snakemake_cpu_s": 51.7, "snakemake_peak_mb": 666, "lsst_40500_cpu_s": 50.2, "lsst_40500_peak_mb": 839}


def measure() -> Iterable[dict[str, Any]]:
    """Yield one result for each size; each plan is made by a process of its own, whose CPU and memory count whole."""
    for runs in RUNS:
        with tempfile.TemporaryDirectory() as directory:
            path = str(Path(directory) / "ops.sqlite")
            prepared = _child("prepare", path, runs)
            assert prepared == {"scans": runs * 10 // 21}, prepared
            metrics = _child("plan", path, runs)
        yield {
            "params": {"runs": runs, "database": "sqlite"},
            "metrics": metrics,
            "floor": FLOOR if runs == 42_000 else {},
        }


def _child(what: str, path: str, runs: int) -> dict[str, Any]:
    program = [sys.executable, "-m", "benchmarks.plan", what, path, str(runs)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def prepare(path: str, runs: int) -> dict[str, Any]:
    """Fill a database with archived scans and a pipeline that has not run yet."""
    from benchmarks.fill import observe  # noqa: PLC0415 - only the child pays for its imports
    from benchmarks.world import declare  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db = OpsDb(f"sqlite:///{path}")
    scans = runs * 10 // 21
    observe(ops_db, Path(path).parent, scans, per_unit=10)
    declare(ops_db)
    return {"scans": scans}


def plan(path: str, runs: int) -> dict[str, Any]:
    """Plan from nothing: memberships, input sets, reasons, counts; return what it cost this whole process."""
    import resource  # noqa: PLC0415 - the standard library's
    import time  # noqa: PLC0415

    from benchmarks.world import PIPELINE, counting_statements, plan_counts  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    begun = time.monotonic()
    ops_db = OpsDb(f"sqlite:///{path}")
    with counting_statements(ops_db) as statements:
        total = plan_counts(ops_db, PIPELINE)
    assert total == runs, (total, runs)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": round(time.monotonic() - begun, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
        "sql_statements": len(statements),
    }


if __name__ == "__main__":
    answer = {"prepare": prepare, "plan": plan}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(json.dumps(answer))
