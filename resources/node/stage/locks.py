"""What all workers of a directory share: locks, a few slots, and the bandwidth."""

import fcntl
import os
import time
from typing import Optional


def take(lock: int) -> bool:
    """Take a lock that is open, or close it and say no."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def take_slot(root: bytes, parallel: int) -> Optional[int]:
    """Return the lock of a slot, None where so many packages are worked on already."""
    slots = os.path.join(root, b".work", b".slots")
    os.makedirs(slots, exist_ok=True)
    for number in range(parallel):
        lock = os.open(os.path.join(slots, b"%d" % number), os.O_RDWR | os.O_CREAT, 0o644)
        if take(lock):
            return lock
    return None


def free_slots(root: bytes, parallel: int) -> int:
    """Return how many packages could be begun with now."""
    locks = list(iter(lambda: take_slot(root, parallel), None))
    for lock in locks:
        os.close(lock)
    return len(locks)


def reserve(path: bytes, seconds: float) -> float:
    """Take so much of the time that all workers share, and return how long to wait for it."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = time.time()
        try:
            begins = float(file.read() or 0)
        except ValueError:
            begins = 0.0
        begins = min(max(begins, now), now + 60)  # the clock may have been changed meanwhile
        file.seek(0)
        file.write(b"%.6f\n" % (begins + seconds))
        file.truncate()
    return begins - now
