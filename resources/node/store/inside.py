"""Files below a root directory; a path with ".." or a symbolic link, which might lead out of it, is refused."""

import contextlib
import errno
import os
import stat
from typing import List, Optional, Tuple

NO_FILE_ERRORS = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM)
)  # there is no such regular file; after any other error it may be readable later


class Bad(Exception):
    """Raised for files that must not be used; the message names the file."""


def inside(root: bytes, name: str) -> bytes:
    """Return a path below a root; raise Bad for one that leaves it."""
    if name.startswith("/") or ".." in name.split("/"):
        raise Bad("%s is not below %s" % (name, os.fsdecode(root)))
    return os.path.join(root, os.fsencode(name))


def open_inside(root: bytes, relative: str) -> Optional[int]:
    """Open a regular file; None where there is none, or where any part of its path below the root is a symbolic link.

    Raises OSError where that is unknown now.
    """
    parts = [os.fsencode(part) for part in relative.split("/")]
    if any(part in (b"", b".", b"..") for part in parts):
        return None
    try:
        directory = open_directory(root, parts[:-1])
        try:
            # opening a pipe must not block
            handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in NO_FILE_ERRORS:
            return None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return handle


def open_directory(root: bytes, parts: List[bytes]) -> int:
    """Open a directory below a root; raise OSError where any part of its path is a symbolic link."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory


def read_inside(root: bytes, relative: str, limit: int, from_end: bool = False) -> Optional[Tuple[int, bytes]]:
    """Return a file's size and at most `limit` bytes of it, its first or last; None if it is not a regular file."""
    handle = open_inside(root, relative)
    if handle is None:
        return None
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        file.seek(max(0, size - limit) if from_end else 0)
        return size, file.read(limit)


def read_whole(root: bytes, relative: str, limit: int) -> Optional[bytes]:
    """Return a file's content, None if it is not a regular file; raise Bad if it is larger than `limit` bytes."""
    found = read_inside(root, relative, limit + 1)
    if found is not None and len(found[1]) > limit:
        raise Bad("%s/%s: more than %d bytes" % (os.fsdecode(root), relative, limit))
    return None if found is None else found[1]


def is_none_there(root: bytes, above: List[bytes], error: OSError) -> bool:
    """Say whether the error shows that these directories do not exist; after any other error that is unknown."""
    if error.errno == errno.ENOTDIR:  # also for a symbolic link
        with contextlib.suppress(FileNotFoundError):
            for depth in range(len(above) + 1):
                mode = os.lstat(os.path.join(root, *above[:depth])).st_mode
                if not stat.S_ISDIR(mode):
                    return stat.S_ISREG(mode)
    return error.errno == errno.ENOENT
