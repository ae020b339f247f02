"""Reads files that programs left. They may contain anything, so links that leave the directory are not followed."""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from resources.errors import ShellUnavailable, TransientError
from resources.location import Cluster
from resources.workspace.store import AttemptStore, Part, Wanted

_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\x20-\x7e\xa0-\U0010ffff]")
_LARGEST_IMAGE_BYTES = 20_000_000
_LARGEST_IMAGE_PIXELS = 50_000_000


_HERE = AttemptStore.here(Path("/"))  # whatever this machine can read


class Read(Protocol):
    """Reads parts of files, in the order asked for; raises TransientError where their disk cannot be reached now."""

    def __call__(self, wanted: Sequence[Wanted]) -> list[Part | None]:
        """Return the wanted parts in the same order, None for each file that does not exist."""


class Files:
    """Reads the files of many runs in few calls, also from a remote disk.

    Files of the cluster's own location are read where its jobs work, all others from this machine's disks. `foreseen`
    lists the files that will be asked for, with their data locations, in that order: they are read ahead. A disk that
    could not be reached once is not tried again.
    """

    def __init__(self, cluster: Cluster | None = None, foreseen: Iterable[tuple[int | None, Wanted]] = ()) -> None:
        listed = list(foreseen)
        self._location_id = None if cluster is None else cluster.location_id
        self._far = None if cluster is None else _ReadAhead(cluster.store, self._of(listed))
        self._here = _ReadAhead(_HERE, [])

    def at(self, location_id: int | None, host: str = "") -> Read:
        """Return the reader of a data location; raise ShellUnavailable for another machine's disk."""
        if self._far is not None and location_id == self._location_id:
            return self._far
        if host:
            raise ShellUnavailable(f"{host}: data location {location_id} is not the one that is served here")
        return self._here

    def _of(self, listed: Iterable[tuple[int | None, Wanted]]) -> list[Wanted]:
        return [wanted for location_id, wanted in listed if location_id == self._location_id]


class _ReadAhead:
    def __init__(self, store: AttemptStore, foreseen: Sequence[Wanted]) -> None:
        self._store = store
        self._foreseen = list(foreseen)
        self._read: dict[Wanted, Part | None] = {}
        self._error: TransientError | None = None

    def __call__(self, wanted: Sequence[Wanted]) -> list[Part | None]:
        return [self._one(one) for one in wanted]

    def _one(self, wanted: Wanted) -> Part | None:
        if self._error is not None:
            raise self._error
        if wanted not in self._read:
            self._fetch(wanted)
        return self._read.pop(wanted)

    def _fetch(self, wanted: Wanted) -> None:
        """Read a file and the foreseen ones after it; drop those that were read ahead but never asked for."""
        foreseen = self._foreseen[self._foreseen.index(wanted) :] if wanted in self._foreseen else []
        try:
            found = self._store.read(foreseen or [wanted])
        except TransientError as error:
            self._error = error
            raise
        if foreseen:
            self._read, self._foreseen = {}, foreseen[len(found) :]
        self._read |= zip(foreseen or [wanted], found, strict=False)


def size_of(root: Path, relative: str) -> Wanted:
    """Return the part to read for a file's size: nothing of its content."""
    return Wanted(root, relative)


def size_inside(root: Path, relative: str, read: Read = _HERE.read) -> int | None:
    """Return the size in bytes of a regular file below a directory, None where there is none."""
    (found,) = read([size_of(root, relative)])
    return None if found is None else found.size_bytes


def tail_of(root: Path, relative: str, max_bytes: int) -> Wanted:
    """Return the part to read for the end of a text file, at most `max_bytes`."""
    return Wanted(root, relative, max_bytes, from_end=True)


def read_tail(root: Path, relative: str, *, lines: int, max_bytes: int, read: Read = _HERE.read) -> str:
    """Return the last lines of a text file below a directory, without control characters; "" for no such file."""
    (found,) = read([tail_of(root, relative, max_bytes)])
    if found is None:
        return ""
    kept = _CONTROL.sub("", found.content.decode("utf-8", errors="replace")).splitlines()
    cut = found.size_bytes > max_bytes
    return "\n".join((kept[1:] if cut and len(kept) > 1 else kept)[-lines:])


def picture_of(root: Path, relative: str) -> Wanted:
    """Return the part to read for a picture."""
    return Wanted(root, relative, _LARGEST_IMAGE_BYTES)


def thumbnail_png(root: Path, relative: str, *, max_bytes: int, read: Read = _HERE.read) -> bytes | None:
    """Return a PNG below a directory, scaled down to at most `max_bytes`; None where it cannot be read as a picture."""
    (found,) = read([picture_of(root, relative)])
    if found is None or found.size_bytes > _LARGEST_IMAGE_BYTES:
        return None
    try:
        return _shrunk(found.content, max_bytes)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None  # not a valid PNG: it remains a product, but no picture is shown


def _shrunk(content: bytes, max_bytes: int) -> bytes | None:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.width * image.height > _LARGEST_IMAGE_PIXELS:
            return None
        if len(content) <= max_bytes:
            image.verify()
            return content
        picture = image.convert("RGB")
    for width in (640, 480, 360, 240, 160):
        smaller = picture.copy()
        smaller.thumbnail((width, width))
        target = io.BytesIO()
        smaller.quantize(64).save(target, format="PNG", optimize=True)
        if target.tell() <= max_bytes:
            return target.getvalue()
    return None
