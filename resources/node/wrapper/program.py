"""Start the attempt's program, wait for it, and stop it at its time limit or when the job is cancelled."""

import os
import signal
import subprocess
import time
from typing import Any, Dict, Optional

from resources.node.children import die_with_parent, kill_group
from resources.node.wrapper.failure import explain, last_words
from resources.node.wrapper.job import heartbeat
from resources.node.wrapper.memory import MemoryCgroup
from resources.node.wrapper.outputs import measured
from resources.node.wrapper.signals import Guard, Signals

SIGNALLED_TOGETHER_SECONDS = 2.0
# Slurm sends SIGCONT before SIGTERM, and apptainer 1.4 may report the first as the signal that ended its program.
SIGNALLED = (-signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGCONT)


class LaunchFailed(Exception):
    """Raised when the program could not be started."""


def run_program(directory: bytes, job: Dict[str, Any], signals: Signals, report: Dict[str, Any]) -> None:
    """Run the program and add to the report how it ended; raise LaunchFailed if it could not be started."""
    with heartbeat(directory, job):
        verify_image(job)
    signals.wait(0)
    if signals.asked_to_stop:
        report.update(outcome="cancelled", message="cancelled before the program was started")
        return
    memory, program = MemoryCgroup(), start(directory, job)
    guard = Guard(program.pid)
    try:
        with heartbeat(directory, job):
            stopped = wait_for(program, job, signals)
    finally:
        kill_group(program.pid, signal.SIGKILL)  # processes that remain must not write while outputs are hashed
        guard.dismiss()
    code, contained = program.returncode, job["runtime"] == "apptainer"
    if contained and code == 128 + signal.SIGKILL:
        code = -signal.SIGKILL
    report["outcome"] = stopped or ("completed" if code == 0 else "failed")
    report.update({"exit_code": code} if code >= 0 else {"signal": -code})
    if stopped == "timeout":
        report["message"] = "stopped at its time limit of %g s" % job["time_limit_seconds"]
    elif stopped is None and code:
        explain(report, memory.shortage(), last_words(directory), contained)


def verify_image(job: Dict[str, Any]) -> None:
    """Raise LaunchFailed unless the image has the sha256 in job.json."""
    if job["image_sha256"] is None:
        return
    try:
        found = measured(os.path.realpath(job["image_path"].encode("utf-8")))[1]
    except OSError as error:
        raise LaunchFailed("image %s: %s" % (job["image_path"], error.strerror)) from error
    if found != job["image_sha256"]:
        raise LaunchFailed("image %s has sha256 %s, not %s" % (job["image_path"], found, job["image_sha256"]))


def start(directory: bytes, job: Dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own; raise LaunchFailed if that fails."""
    for name in (b"tmp", b"logs"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    command = [item.encode("utf-8") for item in job["command"]]
    if not command:
        raise LaunchFailed("the command is empty")
    logs = os.path.join(directory, b"logs")
    with open(os.path.join(logs, b"stdout.log"), "ab") as out, open(os.path.join(logs, b"stderr.log"), "ab") as err:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=job["working_directory"].encode("utf-8"),
                env=program_environment(directory, job),
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - there is one thread
            )
        except OSError as error:
            missing = "no apptainer: " if job["runtime"] == "apptainer" and error.filename == command[0] else ""
            raise LaunchFailed("%scannot start %r: %s" % (missing, job["command"][0], error)) from error


def program_environment(directory: bytes, job: Dict[str, Any]) -> Dict[bytes, bytes]:
    """Return the program's whole environment: PATH, LANG, HOME, TMPDIR and the variables in job.json."""
    tmp = os.path.join(directory, b"tmp")
    path = os.fsencode(os.environ.get("PATH", os.defpath))
    environment = {b"PATH": path, b"LANG": b"C.UTF-8", b"HOME": tmp, b"TMPDIR": tmp}
    environment.update((name.encode("utf-8"), value.encode("utf-8")) for name, value in job["environment"].items())
    return environment


def wait_for(program: "subprocess.Popen[bytes]", job: Dict[str, Any], signals: Signals) -> Optional[str]:
    """Wait for the program's end; return "timeout" or "cancelled" if it was stopped."""
    limit, stopped = job["time_limit_seconds"], None
    deadline = None if limit is None else time.monotonic() + limit
    while program.poll() is None:
        late = deadline is not None and time.monotonic() >= deadline
        if stopped is None and (late or signals.asked_to_stop):
            stopped = "cancelled" if signals.asked_to_stop else "timeout"
            kill_group(program.pid, signal.SIGTERM)
            deadline = time.monotonic() + job.get("grace_seconds", 10.0)
        elif late:
            kill_group(program.pid, signal.SIGKILL)
            deadline = None
        signals.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    if stopped is None and program.returncode in SIGNALLED:
        return stopped_together(signals)
    return stopped


def stopped_together(signals: Signals) -> Optional[str]:
    """Return "cancelled" if the SIGTERM that ended the program was sent to the whole job.

    The wrapper's own SIGTERM may come a little later: it is waited for.
    """
    end = time.monotonic() + SIGNALLED_TOGETHER_SECONDS
    while not signals.asked_to_stop and time.monotonic() < end:
        signals.wait(max(0.0, end - time.monotonic()))
    return "cancelled" if signals.asked_to_stop else None
