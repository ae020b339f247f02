"""Removal of files and directories below a root."""

import contextlib
import os
import shutil
import time
from typing import Any, Dict

from resources.node.store import limits
from resources.node.store.inside import inside, is_none_there, open_directory


def answer_remove(request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove directories below a root with all their content, following no link; answer which are gone."""
    root, end = os.fsencode(request["root"]), time.monotonic() + limits.LONGEST_LOOK_SECONDS
    gone = []
    for name in request["names"]:
        shutil.rmtree(inside(root, name), ignore_errors=True)
        gone += [] if os.path.lexists(inside(root, name)) else [name]
        if time.monotonic() > end:
            break
    return {"gone": gone}


def answer_unlink(request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove files below a root, following no link; answer which are gone, and of the others why they are not."""
    root, end = os.fsencode(request["root"]), time.monotonic() + limits.LONGEST_LOOK_SECONDS
    gone, problems = [], {}
    for name in request["names"]:
        try:
            unlink(root, name)
            gone.append(name)
        except OSError as error:
            problems[name] = "%s: %s" % (name, error.strerror)
        if time.monotonic() > end:
            break
    return {"gone": gone, "problems": problems}


def unlink(root: bytes, relative: str) -> None:
    """Remove a file below a root; do nothing if there is none. Raises where a part of its path is a symbolic link."""
    *above, name = [os.fsencode(part) for part in relative.split("/")]
    inside(root, relative)
    try:
        directory = open_directory(root, above)
    except OSError as error:
        if is_none_there(root, above, error):
            return
        raise
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
