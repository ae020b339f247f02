"""What attempts have left so far: claim, heartbeat and result; outputs of a completed one are verified."""

import contextlib
import hashlib
import json
import os
import time
from typing import Any, Dict, List, Optional

from resources.node.files import measure, write_whole
from resources.node.store import limits
from resources.node.store.inside import NO_FILE_ERRORS, Bad, open_inside, read_whole
from resources.node.store.layout import job_of

LARGEST_RESULT_BYTES = 16 << 20
LARGEST_NUMBERS_BYTES = 1 << 20  # of one qa/*.json
REHASH_LIMIT_BYTES = 64 << 20  # of larger files, the checksum that the node computed is not verified


class OutOfTimeError(Exception):
    """Raised where the remaining outputs of an attempt are left to the next call."""


def verify(root: bytes, output: Dict[str, Any]) -> None:
    """Raise Bad unless an output file has the size and sha256 in its attempt's result."""
    path = "%s/%s" % (os.fsdecode(root), output["path"])
    handle = open_inside(root, output["path"])
    if handle is None:
        raise Bad("%s: not a regular file of this attempt" % path)
    with os.fdopen(handle, "rb", 0) as file:
        size = os.fstat(handle).st_size
        if size != output["size_bytes"]:
            raise Bad("%s: %d bytes, %d when the program ended" % (path, size, output["size_bytes"]))
        if size > REHASH_LIMIT_BYTES:
            return
        found = measure(file)[1]
    if found != output["sha256"]:
        raise Bad("%s: its checksum is not what it was when the program ended" % path)


def heartbeat_age(root: bytes) -> Optional[float]:
    """Return the seconds since the last sign of life of the attempt's wrapper, None if there was none.

    The claim is the first sign: on a slow disk seconds may pass before the wrapper writes anything into it.
    """
    times = []
    for name in (b"", b"heartbeat", b"owner.json"):
        with contextlib.suppress(OSError):
            times.append(os.stat(os.path.join(root, b"claim", name)).st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def look(directory: str, end: float) -> Optional[Dict[str, Any]]:
    """Return what an attempt has left so far; outputs of a completed one are verified, and its numbers read.

    Returns None if there was no time for all outputs: the next call continues after those that were verified.
    """
    root = os.fsencode(directory)
    found: Any = {"result": None, "problem": None, "trouble": None, "output_directory": None, "numbers": {}}
    found.update(claimed=os.path.lexists(os.path.join(root, b"claim")), heartbeat_age=heartbeat_age(root))
    try:
        if is_there(os.path.join(root, b"result.json")):
            collect(root, found, end)
    except Bad as bad:
        found["problem"] = str(bad)
    except OutOfTimeError:
        return None
    except OSError as error:  # it may be read later
        found["trouble"] = "%s: %s" % (directory, error)
    return dict(found)


def is_there(path: bytes) -> bool:
    """Say whether a path exists; raise OSError if that is unknown now."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in NO_FILE_ERRORS:
            return False
        raise
    return True


def collect(root: bytes, found: Dict[str, Any], end: float) -> None:
    """Add result.json, the output directory, and the texts of qa/*.json to `found`; raise Bad or OutOfTimeError."""
    shown = os.fsdecode(root)
    content = read_whole(root, "result.json", LARGEST_RESULT_BYTES)
    if content is None:
        raise Bad("%s/result.json: not a regular file that can be read" % shown)
    found["result"] = content.decode("utf-8", "replace")
    try:
        result = json.loads(found["result"])
        outputs = result["outputs"] if result["outcome"] == "completed" else []
        kinds = [(output["path"] + "", output["type"]) for output in outputs]
        verify_all(root, outputs, hashlib.sha256(content).hexdigest(), end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # the caller that parses the result reports what is wrong with it
    found["output_directory"] = job_of(root)["output_directory"]
    for path, kind in kinds:
        if kind == "qa_metric" and path.endswith(".json"):
            numbers = read_whole(root, path, LARGEST_NUMBERS_BYTES)
            found["numbers"][path] = (numbers or b"").decode("utf-8", "replace")


def verify_all(root: bytes, outputs: List[Dict[str, Any]], result: str, end: float) -> None:
    """Verify outputs, at least one, until the time is over; then note how many were, and raise OutOfTimeError."""
    note = os.path.join(root, b"claim", b"compared.json")
    done = compared(note, result)
    for number, output in enumerate(outputs[done:], done + 1):
        verify(root, output)
        if number < len(outputs) and time.monotonic() > end:
            with contextlib.suppress(OSError):  # if the note cannot be written, all outputs are verified now
                write_whole(note, json.dumps({"result": result, "compared": number}).encode("ascii"))
                raise OutOfTimeError


def compared(note: bytes, result: str) -> int:
    """Return how many outputs of a result earlier calls have verified."""
    try:
        with open(note, "rb") as file:
            noted = json.loads(file.read().decode("ascii"))
        return int(noted["compared"]) if noted["result"] == result else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def answer_look(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with what attempts have left; those for which there is no time or room are left out."""
    found: Dict[str, Any] = {}
    room, end = limits.LARGEST_ANSWER_BYTES, time.monotonic() + limits.LONGEST_LOOK_SECONDS
    for directory in request["directories"]:
        seen = look(directory, min(end, time.monotonic() + limits.LONGEST_LOOK_AT_ONE_SECONDS))
        if seen is not None:
            size = len(json.dumps(seen))  # as it will be sent: other characters than ASCII take up to six bytes for one
            if size > limits.LARGEST_ANSWER_BYTES:
                problem = "%s: result.json and qa/*.json take %d bytes of an answer, which may have %d"
                seen.update(result=None, numbers={}, problem=problem % (directory, size, limits.LARGEST_ANSWER_BYTES))
                size = len(json.dumps(seen))
            if size > room and found:
                break
            found[directory], room = seen, room - size
        if time.monotonic() > end:
            break
    return {"found": found}


def answer_marks(request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove the marks in `forget`, and answer with the names of those that remain."""
    marks = os.fsencode(request["directory"])
    for name in request["forget"]:
        with contextlib.suppress(OSError):  # it is reported and removed again
            os.unlink(os.path.join(marks, os.fsencode(name)))
    try:
        names = os.listdir(marks)
    except FileNotFoundError:
        names = []
    return {"marks": sorted(name.decode("ascii", "replace") for name in names)}
