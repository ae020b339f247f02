"""One package that is being staged: its paths on the disk, its lock, and the notes about its progress."""

import contextlib
import errno
import os
import re
from typing import Any, Dict, Optional, Tuple

from resources.node.files import read_json, remove_files, size_of, write_json
from resources.node.stage.locks import take
from resources.node.trees import remove_tree

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
STARTS_IN_VAIN = 5
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NAME = re.compile(r"[A-Za-z0-9_=+%][A-Za-z0-9._=+%-]{0,254}")
WORTHLESS = ("wrong", "full", "unsafe")  # failures after which partial files must not be continued


class Failed(Exception):
    """Raised where a package cannot be staged; the message says why, and the kind what to do about it."""

    def __init__(self, kind: str, message: str) -> None:
        Exception.__init__(self, message)
        self.kind = kind


class Package:
    """One package, and its paths; `.work/<name>` holds partial files and notes. Raises Failed for an invalid name."""

    def __init__(self, root: bytes, name: str) -> None:
        if not NAME.fullmatch(name):
            raise Failed("broken", "%r cannot name a package's directory" % name)
        self.root, self.name = root, name
        self.slot: Optional[Tuple[int, int]] = None  # the lock of its slot, and the number of all slots
        self.final = os.path.join(root, name.encode())
        self.work = os.path.join(root, b".work", name.encode())
        self.part, self.member, self.new = (os.path.join(self.work, one) for one in (b"part", b"member", b"new"))
        self.note, self.starts, self.done, self.failed = (
            os.path.join(self.work, one) for one in (b"note.json", b"starts.json", b"done.json", b"failed.json")
        )

    def lock(self) -> Optional[int]:
        """Take and return the lock, None while another process has it; try again if its file was removed meanwhile."""
        while True:
            os.makedirs(self.work, exist_ok=True)
            try:
                lock = os.open(os.path.join(self.work, b"lock"), os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue
            if not take(lock):
                return None
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(lock), os.stat(os.path.join(self.work, b"lock"))):
                    return lock
            os.close(lock)

    def ready(self) -> Optional[Dict[str, Any]]:
        """Return the record of the package if it is in place, else None."""
        done = read_json(self.done)
        return done if done and os.path.isdir(self.final) else None


def progress(package: Package) -> Dict[str, Any]:
    """Return the progress of the process that stages a package."""
    note = read_json(package.note) or {}
    return {
        "state": "fetching",
        "transferred": note.get("transferred", 0),
        "total": note.get("total"),
        "trouble": note.get("trouble"),
    }


def starts_in_vain(package: Package) -> int:
    """Count one more start; return how many there were since the last progress or result."""
    come = {"part": size_of(package.part), "transferred": progress(package)["transferred"]}
    before = read_json(package.starts) or {}
    count = before["count"] + 1 if before.get("come") == come else 1
    write_json(package.starts, {"count": count, "come": come})
    return int(count)


def leave_failure(package: Package, kind: str, message: str) -> None:
    """Record why a package could not be staged; partial files stay if the next attempt can continue them."""
    note = read_json(package.note) or {}
    if kind in WORTHLESS:
        remove_files(package.part, package.note, package.member)
        remove_tree(package.new)
    remove_files(package.starts)
    write_json(package.failed, {"kind": kind, "message": message, "transferred": note.get("transferred", 0)})


def forget(package: Package) -> None:
    """Remove all notes on a package, the lock's file last, so that no other process begins before."""
    for name in os.listdir(package.work):
        path = os.path.join(package.work, name)
        if os.path.isdir(path):
            remove_tree(path)
        elif name != b"lock":
            os.remove(path)
    os.remove(os.path.join(package.work, b"lock"))
    with contextlib.suppress(OSError):  # another process may have begun to use it again
        os.rmdir(package.work)


def encoded(path: str) -> bytes:
    """Return a path as bytes, independent of the locale."""
    return path.encode("utf-8", "surrogateescape")


def free_bytes(path: bytes) -> int:
    """Return how many bytes this user may still write on a disk."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def no_room(package: Package, needed: Optional[int] = None) -> str:
    """Return a message with the free bytes, and the needed ones if they are known."""
    words = "%d bytes are free in %s" % (free_bytes(package.root), os.fsdecode(package.root))
    return words if needed is None else "%d more bytes are needed, %s" % (needed, words)
