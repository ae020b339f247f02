"""The content of result.json, and the wrapper's exit status, which follows from it."""

import datetime as dt
import os
import resource
from typing import Any, Dict, Optional

EX_UNAVAILABLE = 69  # sysexits.h


def new_report(job: Dict[str, Any], job_id: Optional[str]) -> Dict[str, Any]:
    """Return the content of result.json before the program is started."""
    report: Dict[str, Any] = {name: job[name] for name in ("schema_version", "submission_key", "run_id", "attempt")}
    report.update(outcome="launch_failed", exit_code=None, signal=None, outputs=[], warnings=[], message="")
    report.update(host=os.uname().nodename, job_id=job_id, image_sha256=job.get("image_sha256"))
    report.update(runtime=job.get("runtime"), command=job.get("command"))
    return report


def measure_use(report: Dict[str, Any], started_at: dt.datetime, wall_seconds: float) -> None:
    """Add times and memory to the report; the peak is that of the largest process, and includes this wrapper."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished_at = started_at + dt.timedelta(seconds=wall_seconds)
    report.update(started_at=started_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    report.update(finished_at=finished_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    report.update(wall_seconds=wall_seconds, cpu_seconds=used.ru_utime + used.ru_stime)
    report.update(peak_memory_bytes=used.ru_maxrss * 1024)


def exit_status(report: Dict[str, Any]) -> int:
    """Return the program's exit status if it has one; never 0 unless the attempt completed."""
    if report["signal"] is not None:
        return 128 + int(report["signal"])
    if report["outcome"] == "completed":
        return 0
    return int(report["exit_code"] or EX_UNAVAILABLE)
