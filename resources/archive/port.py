import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from resources.errors import StagingFailed, TransientError

BLOCK_BYTES = 1 << 20


class ArchiveUnavailable(TransientError):
    """Raise when an archive does not answer, or says that it cannot now."""


class ArchiveRefused(StagingFailed):
    """Raise when an archive refuses our credentials, or there are none; the message says where they belong."""


class NotInArchive(StagingFailed):
    """Raise when an archive lacks an object that is registered."""


class WrongBytes(StagingFailed):
    """Raise when an archive returns other bytes than were written to it."""


@dataclass(frozen=True)
class Entry:
    """A file in an archive; the version changes with its content (S3: ETag)."""

    path: str
    size_bytes: int
    version: str


class Archive(Protocol):
    """Long-term storage of files; paths are relative to the location, with "/" between their parts.

    All calls raise ArchiveUnavailable, ArchiveRefused, and where a path is named NotInArchive.
    """

    @property
    def access(self) -> str:
        """Return what access to the archive depends on (variables, permissions), for messages."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the files whose paths begin with a prefix, in the order of their paths."""

    def read(self, path: str, first_byte: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes from the first one on, to its end where no length is given."""

    def checksum(self, path: str) -> str:
        """Return the sha256 of a file, which is read to its end."""

    def put(self, source: Path, path: str) -> None:
        """Copy a file of this machine into the archive, read it back and compare.

        An interrupted copy is resumed. Raises WrongBytes, and removes the copy, where it differs from the source.
        """

    def address(self, path: str) -> str:
        """Return the address from which a cluster reads a file: a path, or a signed URL that is valid for a day."""


def sha256_of(blocks: Iterator[bytes]) -> str:
    """Return the sha256 of a sequence of blocks."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()


def blocks_of(path: Path, first_byte: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield a local file's bytes from the first one on, to its end where no length is given."""
    with path.open("rb") as file:
        file.seek(first_byte)
        left = length
        while block := file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)):
            left = None if left is None else left - len(block)
            yield block
