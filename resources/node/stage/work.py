"""Stage one package, in this process or by the mover's command: copy it, verify all of it, put it in place."""

import json
import os
import re
import signal
import subprocess
import traceback
from typing import Any, Dict, Tuple

from resources.node.children import die_with_parent
from resources.node.files import measure, remove_files, sync_directory, write_json
from resources.node.processes import own_command
from resources.node.stage.package import FULL, RETRY_SECONDS, Failed, Package, encoded, leave_failure, no_room
from resources.node.stage.transfer import Allowance, Patience, Transfer, fetch
from resources.node.stage.unpack import clean, compare, limit_memory, put_verified, tar_bound, unpack
from resources.node.trees import remove_tree


def work(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Stage a package, in this process or by the mover's command; record a failure."""
    try:
        if request.get("mover"):
            move(package, item, request)
        else:
            bring(package, item, request)
    except Failed as error:
        leave_failure(package, error.kind, str(error))
    except OSError as error:
        kind = "full" if error.errno in FULL else "broken"
        leave_failure(
            package, kind, no_room(package) if kind == "full" else "%s: %s" % (place(error, package), error.strerror)
        )
    except Exception:  # noqa: BLE001 - whatever happens is reported
        leave_failure(package, "broken", traceback.format_exc(limit=-3))


def place(error: OSError, package: Package) -> str:
    """Return the path in an error, or the package's work directory."""
    return os.fsdecode(error.filename or package.work)


def move(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Run this program for one package by the mover's command, e.g. `srun` on a node that reaches the data."""
    words, stdin = own_command(["stage", os.fsdecode(package.root), "work"])
    command = [str(word) for word in request["mover"]] + words
    stdin += json.dumps({"item": item, "request": dict(request, mover=None, packages=[])}).encode("utf-8")
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        raise Failed("broken", "cannot start %s: %s" % (command[0], error.strerror)) from error
    stderr = process.communicate(stdin)[1].decode("utf-8", "replace").strip()
    if process.returncode:
        lines = " / ".join(re.sub(r"\?\S*", "?…", stderr).splitlines()[-3:])[-300:]
        raise Failed("broken", "%s: exit code %d: %s" % (" ".join(command[:3]), process.returncode, lines))


def bring(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Copy a package from its source, verify all of it, and put it in place; raise Failed or OSError."""
    source, limit = item["source"], request.get("mb_per_second")
    transfer = Transfer(package, item["job"], limit * 1e6 if limit else None)
    expected = {}
    for path, size, sha256 in source["files"]:
        expected[clean(path)] = (int(size), str(sha256))
    limit_memory()
    transfer.write_note()
    pauses = [float(seconds) for seconds in request.get("retry_seconds", RETRY_SECONDS)]
    patience = Patience(pauses, float(source.get("patience_seconds", 0)))
    if source["packed"]:
        size = sum(size for size, _ in expected.values())
        fetch(package, source["from"][0], transfer, patience, Allowance(tar_bound(expected), size))
        unpack(package, expected)
    else:
        fetch_files(package, source, expected, transfer, patience)
    total = sum(size for size, _ in expected.values())
    done = {"job": item["job"], "bytes": total, "transferred": transfer.note["transferred"]}
    remove_tree(package.final)  # a directory without a record, which no process has verified
    write_json(package.done, done)
    os.rename(package.new, package.final)
    sync_directory(package.root)
    remove_files(package.part, package.note, package.starts)


def fetch_files(
    package: Package,
    source: Dict[str, Any],
    expected: Dict[str, Tuple[int, str]],
    transfer: Transfer,
    patience: Patience,
) -> None:
    """Copy a package that is archived as single files; those that are in place already have been verified."""
    for (path, size, sha256), address in zip(source["files"], source["from"]):  # noqa: B905 - Python 3.6
        target = os.path.join(package.new, encoded(clean(path)))
        if os.path.isfile(target):
            continue
        fetch(package, address, transfer, patience, Allowance(int(size), 0))
        with open(package.part, "rb", 0) as file:
            compare(path, measure(file), (int(size), sha256))
        put_verified(package, package.part, path)
    if not expected:
        os.makedirs(package.new, exist_ok=True)
    for inner, _, names in os.walk(package.new):
        for name in names:
            path = os.fsdecode(os.path.relpath(os.path.join(inner, name), package.new))
            if path not in expected:
                raise Failed("wrong", "%s is not registered" % path)
