"""The files below a root directory, and their sizes."""

import contextlib
import os
import re
import stat
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from resources.node.store import limits
from resources.node.store.inside import Bad, inside, is_none_there, open_directory


def answer_sizes(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the sizes of the first of these files, as time allows: null for a missing one, or a message."""
    root, end = os.fsencode(request["root"]), time.monotonic() + limits.LONGEST_LOOK_SECONDS
    sizes: List[Any] = []
    for name in request["names"]:
        try:
            sizes.append(size_of(root, name))
        except (Bad, OSError) as error:
            sizes.append(str(error))
        if time.monotonic() > end:
            break
    return {"sizes": sizes}


def size_of(root: bytes, relative: str) -> Optional[int]:
    """Return the size of a regular file below a root, None if it does not exist; raise where that is unknown."""
    *above, name = [os.fsencode(part) for part in relative.split("/")]
    inside(root, relative)
    try:
        directory = open_directory(root, above)
    except OSError as error:
        if is_none_there(root, above, error):
            return None
        raise
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
    if not stat.S_ISREG(found.st_mode):
        raise Bad("%s: not a regular file" % relative)
    return found.st_size


def answer_tree(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with a page of regular files below a root, in the order of `walk`, and a cursor: null on the last page.

    Each file has its path, size, and the seconds since its content or name last changed. The cursor is a directory and
    a name in it; it stays valid whatever files appear or vanish. Directories that match `skip` are left out.
    """
    root, end, files = os.fsencode(request["root"]), time.monotonic() + limits.LONGEST_LOOK_SECONDS, []
    after = [os.fsencode(part) for part in request["after"]]
    for directory, name in walk(root, after[0], after[1], re.compile(os.fsencode(request["skip"]))):
        with contextlib.suppress(OSError):
            found = os.lstat(os.path.join(root, directory, name))
            if stat.S_ISREG(found.st_mode):
                path = os.fsdecode(os.path.join(directory, name))
                files.append([path, found.st_size, max(0.0, time.time() - found.st_ctime)])
        if len(files) >= request["limit"] or time.monotonic() > end:
            return {"files": files, "after": [os.fsdecode(directory), os.fsdecode(name)]}
    return {"files": files, "after": None}


def walk(root: bytes, after: bytes, last: bytes, skip: Any) -> Iterator[Tuple[bytes, bytes]]:
    """Yield pairs of a directory and a name in it, "" for the directory itself, that follow (`after`, `last`)."""
    left, parts = [], after.split(b"/") if after else []  # the last one of `left` is visited next
    for depth, part in enumerate(parts):
        above = b"/".join(parts[:depth])
        left += [os.path.join(above, name) for name in reversed(listed(root, above, skip)[1]) if name > part]
    left.append(after)
    while left:
        here = left.pop()
        if here != after:
            yield here, b""
        names, inner = listed(root, here, skip)
        for name in names:
            if here != after or name > last:
                yield here, name
        left += [os.path.join(here, name) for name in reversed(inner)]


def listed(root: bytes, directory: bytes, skip: Any) -> Tuple[List[bytes], List[bytes]]:
    """Return two sorted lists of the names in a directory: files and links, and directories that `skip` leaves."""
    try:
        with os.scandir(os.path.join(root, directory)) as found:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError:  # it is gone, or not readable
        return [], []
    inner = [name for name, is_directory in entries if is_directory]
    return (
        [name for name, is_directory in entries if not is_directory],
        [name for name in inner if not skip.search(os.path.join(directory, name))],
    )
