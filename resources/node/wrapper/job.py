"""Reading an attempt's job.json, and the claim, which only one process can take and which lets it run the attempt."""

import contextlib
import json
import os
import threading
import time
from typing import Any, Dict, Iterator, Optional

from resources.node.files import sync_directory, write_json


class Refused(Exception):
    """Raised where job.json is missing, invalid or of another key; the attempt's directory is left untouched."""


def wait_for_job(directory: bytes, seconds: float) -> None:
    """Return once job.json is visible, or after this many seconds."""
    end = time.monotonic() + seconds
    while not os.path.lexists(os.path.join(directory, b"job.json")) and time.monotonic() < end:
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            os.listdir(directory)  # opening a directory makes NFS ask the server again


def read_job(directory: bytes, submission_key: str) -> Dict[str, Any]:
    """Return the content of job.json; raise Refused unless it was written for this key."""
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
    """Claim the attempt; return True if this process may run it: True is returned to one process at most.

    mkdir is atomic, also on NFS. If its reply is lost there, the claim looks taken: the attempt then runs nowhere,
    but never twice.
    """
    path = os.path.join(directory, b"claim")
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    owner = {"host": os.uname().nodename, "pid": os.getpid(), "job_id": job_id}
    write_json(os.path.join(path, b"owner.json"), owner)
    sync_directory(path)
    return True


@contextlib.contextmanager
def heartbeat(directory: bytes, job: Dict[str, Any]) -> Iterator[None]:
    """Touch claim/heartbeat at once and then regularly; its thread has ended before the program is forked."""
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
