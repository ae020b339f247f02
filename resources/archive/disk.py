import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resources.archive.port import (
    ArchiveRefused,
    ArchiveUnavailable,
    Entry,
    NotInArchive,
    WrongBytes,
    blocks_of,
    sha256_of,
)
from resources.errors import UnsafePath


class DiskArchive:
    """An archive that is a directory: on a disk, or where a tape library is mounted."""

    def __init__(self, name: str, root: Path) -> None:
        self._name = name
        self._root = root

    @property
    def access(self) -> str:
        """Return the directory's name."""
        return f"who may read {self._root}"

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the files whose paths begin with a prefix."""
        with self._sorted(self._root):
            if not self._root.is_dir():
                raise ArchiveUnavailable(f"{self._name}: no directory {self._root}: is it mounted?")
            files = [path for path in self._root.rglob("*") if path.is_file() and not path.is_symlink()]
        for path, file in sorted((file.relative_to(self._root).as_posix(), file) for file in files):
            if path.startswith(prefix) and not path.endswith(".part"):
                found = file.stat()
                yield Entry(path, found.st_size, f"{found.st_size}-{found.st_mtime_ns}")

    def read(self, path: str, first_byte: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes."""
        with self._sorted(self._inside(path)):
            yield from blocks_of(self._inside(path), first_byte, length)

    def checksum(self, path: str) -> str:
        """Return the sha256 of a file."""
        return sha256_of(self.read(path))

    def put(self, source: Path, path: str) -> None:
        """Copy a file into a partial file beside its place, then rename that; a later call continues a partial file.

        Only one call at a time writes it; the others wait.
        """
        target = self._inside(path)
        part = target.with_name(f"{target.name}.part")
        wanted = sha256_of(blocks_of(source))
        with self._sorted(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with self._sorted(target), _locked(part):
            if target.is_file() and sha256_of(blocks_of(target)) == wanted:
                part.unlink()
                return
            _copy_on(source, part)
            if (found := sha256_of(blocks_of(part))) != wanted:
                part.unlink()
                raise WrongBytes(f"{self._name}: {target}: has sha256 {found} once written, not {wanted}: try again")
            part.rename(target)
            _sync_name(target)

    def address(self, path: str) -> str:
        """Return the file's path."""
        return str(self._inside(path))

    def _inside(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise UnsafePath(f"{self._name}: {path!r} is not below {self._root}")
        return self._root / path

    @contextmanager
    def _sorted(self, place: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotInArchive(f"{self._name}: {place}: no such file") from error
        except PermissionError as error:
            raise ArchiveRefused(f"{self._name}: {place}: permission denied: see who may read it") from error
        except OSError as error:
            raise ArchiveUnavailable(f"{self._name}: {place}: {error.strerror}") from error


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Hold a partial file exclusively; wait while another process holds it."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(part, file.fileno()):
                yield
                return


def _is_at(path: Path, handle: int) -> bool:
    """Say whether an open file is still the one at this path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _copy_on(source: Path, part: Path) -> None:
    """Append to the partial file what it lacks of the source; write it from the beginning if it differs."""
    have = part.stat().st_size if part.is_file() else 0
    if have and sha256_of(blocks_of(part)) != sha256_of(blocks_of(source, 0, have)):
        have = 0
    with part.open("ab") as file:
        file.truncate(have)
        for block in blocks_of(source, have):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _sync_name(path: Path) -> None:
    """Make a file's name survive a power failure, as its content does: it is recorded as archived next."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
