"""An attempt's directory before its wrapper starts: lay it out, or claim it so that no wrapper runs the attempt."""

import contextlib
import json
import os
from typing import Any, Dict

from resources.node.files import make_directory, write_whole
from resources.node.store.inside import NO_FILE_ERRORS, Bad, inside


def lay_out(item: Dict[str, Any]) -> None:
    """Lay out one attempt; safe to repeat. A claimed attempt is left as it is. Raises Bad for a problem."""
    root = os.fsencode(item["directory"])
    for path, message in item["needs"]:
        if not os.path.isdir(os.fsencode(path)):
            raise Bad(message)
    if os.path.lexists(os.path.join(root, b"job.json")):
        found, key = job_of(root)["submission_key"], item["submission_key"]
        if found != key:
            raise Bad("%s/job.json: belongs to submission key %r, not %r" % (item["directory"], found, key))
    if os.path.lexists(os.path.join(root, b"claim")):
        return
    os.makedirs(root, exist_ok=True)
    for name in item["directories"]:
        make_directory(inside(root, name))
    for name, target in item["links"]:
        link(inside(root, name), os.fsencode(target))
    for name, text in item["files"]:  # job.json is the last: once it exists, the directory is complete
        write_whole(inside(root, name), text.encode("utf-8"))


def job_of(root: bytes) -> Dict[str, str]:
    """Return submission key and output directory from an attempt's job.json; raise Bad where it is invalid."""
    path = os.path.join(root, b"job.json")
    try:
        with open(path, "rb") as file:
            job = json.loads(file.read().decode("utf-8"))
        return {name: str(job[name]) for name in ("submission_key", "output_directory")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno not in NO_FILE_ERRORS:
            raise
        raise Bad("%s: not a job: %r" % (os.fsdecode(path), error)) from error


def link(path: bytes, target: bytes) -> None:
    """Make a symbolic link, or change its target by rename."""
    make_directory(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.symlink(target, path)
    if os.path.islink(path) and os.readlink(path) == target:
        return
    temporary = os.path.join(os.path.dirname(path), b".%d.link" % os.getpid())
    os.symlink(target, temporary)
    os.rename(temporary, path)


def answer_lay_out(request: Dict[str, Any]) -> Dict[str, Any]:
    """Lay out attempts; answer with the problems by directory."""
    problems = {}
    for item in request["attempts"]:
        try:
            lay_out(item)
        except (Bad, OSError) as error:
            problems[item["directory"]] = str(error)
    return {"problems": problems}


def answer_claim(request: Dict[str, Any]) -> Dict[str, Any]:
    """Claim attempts in place of their wrappers, so that later jobs run nothing; answer which were not claimed."""
    claimed = []
    for directory in request["directories"]:
        claim = os.path.join(os.fsencode(directory), b"claim")
        with contextlib.suppress(OSError):  # if it cannot be made, it is another's claim
            os.makedirs(claim)
            claimed.append(directory)
            os.utime(claim, (0, 0))  # or its age would be taken for a wrapper's sign of life
    return {"claimed": claimed}
