"""What an attempt's job.json says, and the claim that lets one process alone run it."""

import contextlib
import json
import os
import socket
import threading
import time
from typing import Any, Dict, Iterator, Optional

from resources.node.files import sync_directory, write_json


class Refused(Exception):
    """Raised when there is nothing to run under this key; the attempt's directory is left untouched."""


def wait_for_job(directory: bytes, seconds: float) -> None:
    """Return once job.json is visible, or after this many seconds."""
    end = time.monotonic() + seconds
    while not os.path.lexists(os.path.join(directory, b"job.json")) and time.monotonic() < end:
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            os.listdir(directory)  # NFS asks the server anew about a directory that is opened


def read_job(directory: bytes, submission_key: str) -> Dict[str, Any]:
    """Return job.json if it was written for this key."""
    path = os.path.join(directory, b"job.json")
    try:
        with open(path, encoding="utf-8") as file:
            job = json.load(file)
        found = (job["schema_version"], job["submission_key"], int(job["run_id"]), int(job["attempt"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("%s: not a job: %r" % (os.fsdecode(path), error)) from error
    if found[:2] != (1, submission_key):
        raise Refused(
            "%s: is version %r for key %r, not for %r" % (os.fsdecode(path), found[0], found[1], submission_key)
        )
    return dict(job)


def claim(directory: bytes, job_id: Optional[str]) -> bool:
    """Return whether this process, and no other ever, may run the attempt.

    mkdir is atomic on NFS too; where a lost reply makes it look taken, the attempt runs nowhere, never twice.
    """
    path = os.path.join(directory, b"claim")
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "job_id": job_id}
    write_json(os.path.join(path, b"owner.json"), owner)
    sync_directory(path)
    return True


@contextlib.contextmanager
def heartbeat(directory: bytes, job: Dict[str, Any]) -> Iterator[None]:
    """Touch claim/heartbeat now and again and again; its thread ends with it, so that the program is forked by one."""
    path, stop = os.path.join(directory, b"claim", b"heartbeat"), threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
                os.utime(path)
            if stop.wait(job.get("heartbeat_seconds", 10.0)):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
