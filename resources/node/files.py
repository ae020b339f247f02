"""Writing of files so that they are whole or absent, and checksums. Paths are bytes, independent of the locale."""

import contextlib
import hashlib
import json
import os
from typing import Any, BinaryIO, Dict, Iterator, Optional, Tuple

BLOCK_BYTES = 1 << 20


def write_whole(
    path: bytes, content: bytes, mode: int = 0o644, temporary: Optional[bytes] = None, lasting: bool = False
) -> None:
    """Write a file by rename, so that it is whole or absent; with `lasting`, also after a power failure."""
    temporary = temporary or path + b".part-%d-%s" % (os.getpid(), os.urandom(4).hex().encode("ascii"))
    with open(temporary, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, path)


def write_json(path: bytes, content: Dict[str, Any], temporary: Optional[bytes] = None) -> None:
    """Write a JSON file so that it is whole or absent, also after a power failure."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_whole(path, text.encode("ascii"), temporary=temporary, lasting=True)


def read_json(path: bytes) -> Optional[Dict[str, Any]]:
    """Return the object in a file that this package wrote; None where there is no file, or no JSON object in it."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (FileNotFoundError, ValueError):
        return None


def sync_directory(path: bytes) -> None:
    """Make renames in a directory survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: bytes) -> None:
    """Make a directory and those above it with as few system calls as possible."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)


def remove_files(*paths: bytes) -> None:
    """Remove files; those that do not exist are ignored."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def size_of(path: bytes) -> int:
    """Return a file's size in bytes, 0 where there is no file."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def blocks(file: BinaryIO) -> Iterator[memoryview]:
    """Yield the rest of an unbuffered file in blocks, which all use the same memory."""
    block = memoryview(bytearray(BLOCK_BYTES))
    for size in iter(lambda: file.readinto(block), 0):  # type: ignore[attr-defined]
        yield block[:size]


def measure(file: BinaryIO) -> Tuple[int, str]:
    """Read the rest of an unbuffered file; return its number of bytes and their sha256."""
    digest, size = hashlib.sha256(), 0
    for block in blocks(file):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


def sha256_of(path: bytes) -> str:
    """Return a file's sha256."""
    with open(path, "rb", 0) as file:
        return measure(file)[1]
