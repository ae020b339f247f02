"""What all processes that stage into one directory share: locks, slots, and the bandwidth."""

import fcntl
import os
import time
from typing import Optional


def take(lock: int) -> bool:
    """Take the lock of an open file and return True; close the file and return False if another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def take_slot(root: bytes, parallel: int) -> Optional[int]:
    """Take a slot and return its lock, None if `parallel` packages are being staged already."""
    slots = os.path.join(root, b".work", b".slots")
    os.makedirs(slots, exist_ok=True)
    for number in range(parallel):
        lock = os.open(os.path.join(slots, b"%d" % number), os.O_RDWR | os.O_CREAT, 0o644)
        if take(lock):
            return lock
    return None


def free_slots(root: bytes, parallel: int) -> int:
    """Return how many slots are free."""
    locks = list(iter(lambda: take_slot(root, parallel), None))
    for lock in locks:
        os.close(lock)
    return len(locks)


def reserve(path: bytes, seconds: float) -> float:
    """Reserve this much time of the shared connection; return the seconds to wait until it begins."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = time.time()
        try:
            begins = float(file.read() or 0)
        except ValueError:
            begins = 0.0
        begins = min(max(begins, now), now + 60)  # in case the clock was set back meanwhile
        file.seek(0)
        file.write(b"%.6f\n" % (begins + seconds))
        file.truncate()
    return begins - now
