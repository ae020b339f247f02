"""Stage packages from an archive onto this disk: node.pyz stage DIRECTORY < request.json > answer.json.

One call is for many packages and answers at once. Each package is staged by a detached process that holds its lock and
one of a few shared slots: of all processes that ask, on all machines that share the file system, one does the work.
Partial data is in a part file: after a kill, the next process continues at its end. A package appears by rename, whole
and with every checksum verified, or not at all.

Sources have signed addresses. They come on stdin and are written to no file; messages have the part before the "?".
"""

import contextlib
import json
import os
import sys
import time
from typing import Any, Dict, List

from resources.node.files import read_json, remove_files, write_json
from resources.node.processes import detach
from resources.node.stage.locks import free_slots, take_slot
from resources.node.stage.package import FULL, NAME, STARTS_IN_VAIN, Package, forget, progress, starts_in_vain
from resources.node.stage.work import work
from resources.node.trees import remove_tree

KILLED = "the process that brings it was ended %d times, and got no further" % STARTS_IN_VAIN


def answer_ask(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the progress of each package; start staging those whose source is given, as slots allow."""
    os.makedirs(os.path.join(root, b".work"), exist_ok=True)
    packages = {item["name"]: ask(root, item, request) for item in request["packages"]}
    return {"packages": packages, "free": free_slots(root, int(request["parallel"]))}


def ask(root: bytes, item: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Return a package's state; start staging it if it is absent and its source is given."""
    package = Package(root, item["name"])
    lock = package.lock()
    if lock is None:
        return progress(package)
    try:
        done = package.ready()
        if done:
            if done["job"] != item["job"]:
                write_json(package.done, dict(done, job=item["job"]))
            return {"state": "ready", "bytes": done["bytes"], "transferred": done["transferred"]}
        failure = read_json(package.failed)
        if failure:
            os.remove(package.failed)
            return dict(failure, state="failed")
        return begin(package, item, request) if "source" in item else {"state": "absent"}
    finally:
        os.close(lock)  # a detached process inherited the lock: it is held until both have closed it


def begin(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Start a detached process that stages a package, if a slot is free; return the package's state."""
    slot = take_slot(package.root, int(request["parallel"]))
    if slot is None:
        return {"state": "queued"}
    package.slot = (slot, int(request["parallel"]))
    try:
        if starts_in_vain(package) > STARTS_IN_VAIN:
            remove_files(package.starts)
            return {
                "state": "failed",
                "kind": "killed",
                "message": KILLED,
                "transferred": progress(package)["transferred"],
            }
        detach(lambda: work(package, item, request))
    finally:
        os.close(slot)
    return progress(package)


def answer_let_go(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove packages that were staged by the given jobs; answer which are gone. Newer copies stay."""
    return {"gone": [name for name, job in request["packages"] if let_go(Package(root, name), job)]}


def let_go(package: Package, job: Any) -> bool:
    """Remove a package if it was staged by this job; say whether that copy is gone."""
    lock = package.lock()
    if lock is None:
        return False
    try:
        done = read_json(package.done)
        if done is None or done["job"] == job:  # else another job has staged it since
            leaving = os.path.join(package.work, b"leaving")
            remove_tree(leaving)
            if os.path.isdir(package.final):
                os.rename(package.final, leaving)
            remove_tree(leaving)
            forget(package)
        return True
    finally:
        os.close(lock)


def answer_sweep(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove partial packages without progress for `older_than_seconds`; answer with their names."""
    before = time.time() - float(request["older_than_seconds"])
    try:
        names = [os.fsdecode(name) for name in os.listdir(os.path.join(root, b".work"))]
    except FileNotFoundError:
        names = []
    return {"swept": sorted(name for name in names if NAME.fullmatch(name) and sweep(Package(root, name), before))}


def sweep(package: Package, before: float) -> bool:
    """Remove a partial package if all its files are older than the time `before`; say whether it was removed."""
    times = []
    for path in (package.work, package.part, package.note, package.new):
        with contextlib.suppress(FileNotFoundError):
            times.append(os.stat(path).st_mtime)
    if not times or max(times) > before or os.path.exists(package.done):
        return False
    lock = package.lock()
    if lock is None:
        return False
    try:
        forget(package)
    finally:
        os.close(lock)
    return True


ANSWERS = {"ask": answer_ask, "let_go": answer_let_go, "sweep": answer_sweep}


def answer(directory: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what the request says and return the answer; a failure of the directory itself is its "problem"."""
    root = os.path.abspath(os.fsencode(directory))
    try:
        return ANSWERS[request["do"]](root, request)
    except OSError as error:
        kind = "full" if error.errno in FULL else "broken"
        return {"problem": {"kind": kind, "message": "%s: %s" % (os.fsdecode(error.filename or root), error.strerror)}}


def main(arguments: List[str]) -> int:
    """Answer one request, or stage one package for a mover; return the exit status."""
    os.umask(0o022)
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: node.pyz stage DIRECTORY < request.json > answer.json\n")
        return 78
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    if arguments[1:] == ["work"]:
        package = Package(os.path.abspath(os.fsencode(arguments[0])), request["item"]["name"])
        work(package, request["item"], request["request"])
        return 0
    sys.stdout.write(json.dumps(answer(arguments[0], request)) + "\n")
    return 0
