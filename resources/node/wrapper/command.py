"""Run one attempt on a compute node: node.pyz wrapper ATTEMPT_DIRECTORY SUBMISSION_KEY.

Reads job.json, claims the attempt, starts the program, waits, and writes result.json last. If the wrapper is gone and
there is no result.json, the attempt is lost. Exit status: the program's own; 128 + signal if a signal ended it; 69 if
it could not be started or collected; 0 if another wrapper holds the claim; 78 if job.json is not for this key. Only
result.json decides how the attempt ended.
"""

import contextlib
import datetime as dt
import os
import sys
import time
from typing import Any, Dict, List, Optional

from resources.node.files import sync_directory, write_json
from resources.node.wrapper.job import Refused, claim, heartbeat, read_job, wait_for_job
from resources.node.wrapper.outputs import collect
from resources.node.wrapper.program import LaunchFailed, run_program
from resources.node.wrapper.report import exit_status, measure_use, new_report
from resources.node.wrapper.signals import Signals

EX_IOERR, EX_CONFIG = 74, 78  # sysexits.h

NOT_VISIBLE_SECONDS = 20.0  # on a network file system, a file written elsewhere may appear late


def main(arguments: List[str]) -> int:
    """Run the attempt in the directory, if it has this key and no other process has claimed it; return exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: node.pyz wrapper ATTEMPT_DIRECTORY SUBMISSION_KEY\n")
        return EX_CONFIG
    directory = os.path.abspath(os.fsencode(arguments[0]))
    os.umask(0o022)
    try:
        wait_for_job(directory, NOT_VISIBLE_SECONDS)
        job = read_job(directory, arguments[1])
        os.chdir(directory)
        signals = Signals()
        variable = job.get("job_id_variable")
        job_id = os.environ.get(variable) if variable else None
        if not claim(directory, job_id):
            return 0
        report = run_attempt(directory, job, signals, job_id)
        write_json(os.path.join(directory, b"result.json"), report)
        sync_directory(directory)
        mark_ended(job)
    except Refused as error:
        sys.stderr.write("%s\n" % error)
        return EX_CONFIG
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (os.fsdecode(directory), error))
        return EX_IOERR
    return exit_status(report)


def run_attempt(directory: bytes, job: Dict[str, Any], signals: Signals, job_id: Optional[str]) -> Dict[str, Any]:
    """Run the claimed attempt and return its result, whatever happens."""
    report = new_report(job, job_id)
    started_at, clock = dt.datetime.now(dt.timezone.utc), time.monotonic()
    try:
        run_program(directory, job, signals, report)
    except LaunchFailed as error:
        report["message"] = str(error)
    except Exception:  # noqa: BLE001 - whatever happens is reported
        report["message"] = _trace()
    measure_use(report, started_at, time.monotonic() - clock)
    if report["outcome"] in ("completed", "failed"):
        try:
            with heartbeat(directory, job):
                collect(directory, job["output_directory"].encode("utf-8"), report)
        except Exception:  # noqa: BLE001 - whatever happens is reported
            report.update(outcome="failed", message="outputs not collected: " + _trace())
    return report


def _trace() -> str:
    """Return the trace of the exception that is handled; every job that needs none starts faster without its module."""
    import traceback  # noqa: PLC0415

    return traceback.format_exc()


def mark_ended(job: Dict[str, Any]) -> None:
    """Leave a mark that the attempt has ended, in one directory for all attempts; it saves reading every result."""
    if job.get("ended_directory") is None:
        return
    with contextlib.suppress(OSError):
        os.makedirs(job["ended_directory"].encode("utf-8"), exist_ok=True)
        path = os.path.join(job["ended_directory"], job["submission_key"]).encode("utf-8")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))
