"""The transfer of one file into a package's part file, continued where it ended."""

import contextlib
import os
import time
from typing import Any, List, NamedTuple, Optional

from resources.node.files import read_json, remove_files, size_of, write_json
from resources.node.stage.locks import reserve, take_slot
from resources.node.stage.package import Failed, Package, free_bytes, no_room
from resources.node.stage.source import Broken, Changed, open_source, read_block, shown

LONGEST_PAUSE_SECONDS = 300.0
SLOT_SECONDS = 2.0  # between two tries to take a slot
NOTE_EVERY_SECONDS = 1.0


class Allowance(NamedTuple):
    """Limits in bytes: `most` is the largest size of the file, `room` the space needed in addition to it."""

    most: int
    room: int

    def check(self, address: str, size: int) -> None:
        """Raise Failed for a file that is larger than the registered one can be."""
        if size > self.most:
            raise Failed(
                "wrong", "%s: has %d bytes, no more than %d can be registered" % (shown(address), size, self.most)
            )


class Patience(NamedTuple):
    """How long to try a server that does not answer: after `pauses` with growing ones, until `seconds` are over."""

    pauses: List[float]
    seconds: float

    def pause(self, tries: int) -> float:
        """Return how many seconds to wait after this number of tries."""
        if tries < len(self.pauses):
            return self.pauses[tries]
        last = self.pauses[-1] if self.pauses else 1.0
        return min(LONGEST_PAUSE_SECONDS, last * 2.0 ** min(tries - len(self.pauses) + 1, 20))


class Transfer:
    """Counts the bytes copied for one package, records its progress, and keeps to the bandwidth of all packages."""

    def __init__(self, package: Package, job: Any, bytes_per_second: Optional[float]) -> None:
        self.package, self.rate = package, bytes_per_second
        before = read_json(package.note) or {}
        self.note = dict(before, transferred=before.get("transferred", 0) if before.get("job") == job else 0, job=job)
        self.noted = time.monotonic()

    def count(self, count: int) -> None:
        """Count bytes, and wait as long as the bandwidth limit demands."""
        self.note["transferred"] += count
        if self.rate:
            time.sleep(reserve(os.path.join(self.package.root, b".work", b".bandwidth"), count / self.rate))
        if time.monotonic() - self.noted > NOTE_EVERY_SECONDS:
            self.write_note()

    def write_note(self, **words: Any) -> None:
        """Write the progress, with these further fields."""
        self.note.update(words)
        self.noted = time.monotonic()
        write_json(self.package.note, self.note)


def fetch(package: Package, address: str, transfer: Transfer, patience: Patience, allowed: Allowance) -> None:
    """Copy one file into the part file, continuing at its end; try again if the connection breaks; raise Failed."""
    if transfer.note.get("of") != shown(address):
        transfer.write_note(of=shown(address), etag=None, total=None)
        remove_files(package.part)
    tries, since = 0, time.monotonic()
    while True:
        before = size_of(package.part)
        try:
            fetch_on(package, address, transfer, allowed)
        except Changed:
            os.remove(package.part)
            transfer.write_note(etag=None, total=None)
        except Broken as error:
            trouble = "%s: %s" % (shown(address), error)
            if size_of(package.part) > before:
                tries, since = 0, time.monotonic()
            if tries >= len(patience.pauses) and time.monotonic() - since >= patience.seconds:
                raise Failed("unreachable", trouble) from error
            transfer.write_note(trouble=trouble)
            wait(package, patience.pause(tries))
            tries += 1
        else:
            return


def fetch_on(package: Package, address: str, transfer: Transfer, allowed: Allowance) -> None:
    """Copy the missing rest of a file; raise Broken where it ends too early, Changed or Failed."""
    have = size_of(package.part) if transfer.note.get("etag") else 0
    stream, begins, total, etag = open_source(address, have, transfer.note)
    with contextlib.closing(stream), open(os.open(package.part, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
        file.truncate(begins)
        file.seek(begins)
        transfer.write_note(etag=etag, total=total, trouble=None)
        allowed.check(address, total)
        needed = total - begins + allowed.room
        if needed > free_bytes(package.root):
            raise Failed("full", no_room(package, needed))
        for block in iter(lambda: read_block(stream), b""):
            file.write(block)
            transfer.count(len(block))
            allowed.check(address, file.tell())
        file.flush()
        os.fsync(file.fileno())
    transfer.write_note()
    if size_of(package.part) != total:
        raise Broken("ended after %d of %d bytes" % (size_of(package.part), total))


def wait(package: Package, seconds: float) -> None:
    """Wait, giving the slot to other packages meanwhile."""
    if package.slot is None:
        time.sleep(seconds)
        return
    slot, parallel = package.slot
    os.close(slot)
    time.sleep(seconds)
    again = take_slot(package.root, parallel)
    while again is None:
        time.sleep(SLOT_SECONDS)
        again = take_slot(package.root, parallel)
    package.slot = (again, parallel)
