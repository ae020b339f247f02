"""Reading parts of files, installing files, and the free space of a file system."""

import base64
import contextlib
import os
from typing import Any, Dict

from resources.node.files import make_directory, write_whole
from resources.node.store import limits
from resources.node.store.inside import read_inside


def answer_install(request: Dict[str, Any]) -> Dict[str, Any]:
    """Write files that do not exist yet; existing ones are correct, as their names depend on their content."""
    installed = []
    for path, content in request["files"]:
        if not os.path.exists(os.fsencode(path)):
            make_directory(os.path.dirname(os.fsencode(path)))
            write_whole(os.fsencode(path), base64.b64decode(content))
            installed.append(path)
    return {"installed": installed}


def answer_missing(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer which of these paths do not exist."""
    return {"missing": [path for path in request["paths"] if not os.path.exists(os.fsencode(path))]}


def answer_read(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the size and a part of these files; those that do not fit into an answer are left out at the end."""
    files, room = [], limits.LARGEST_ANSWER_BYTES
    for root, path, limit, from_end in request["files"]:
        found = None
        with contextlib.suppress(OSError):
            found = read_inside(os.fsencode(root), path, limit, from_end)
        files.append(found and [found[0], base64.b64encode(found[1]).decode("ascii")])
        room -= len(found[1]) if found else 0
        if room < 0:
            break
    return {"files": files}


def answer_disk(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the size of a directory's file system, and the bytes that this user may still write."""
    path = os.fsencode(request["path"])
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return {"size": found.f_frsize * found.f_blocks, "free": found.f_frsize * found.f_bavail}
