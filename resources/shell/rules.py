import stat
from collections.abc import Sequence
from pathlib import Path

from resources.errors import UnsafePath
from resources.shell.port import Completed

OUTPUT_LIMIT_BYTES = 64 * 2**20
CHUNK_BYTES = 2**16
READABLE_BY_ALL = 0o644

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def checked_command(command: Sequence[str]) -> list[str]:
    """Return a command's words; raise UnsafePath for an empty command, or a word that cannot be an argument."""
    if not command or any("\0" in word for word in command):
        raise UnsafePath(f"{command!r}: not a command: it needs a program, and no NUL in any word")
    return list(command)


def checked_path(path: Path) -> Path:
    """Return the path; raise UnsafePath unless it is absolute: a relative one depends on the process that reads it."""
    if not path.is_absolute() or "\0" in str(path):
        raise UnsafePath(f"{path}: not an absolute path")
    return path


def refuse_special(path: Path, mode: int) -> None:
    """Raise UnsafePath unless the mode is that of a regular file."""
    if not stat.S_ISREG(mode):
        raise UnsafePath(f"{path}: {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a regular file")


def refuse_large(path: Path, size_bytes: int, limit_bytes: int) -> None:
    """Raise UnsafePath for a file above the limit."""
    if size_bytes > limit_bytes:
        raise UnsafePath(f"{path}: {size_bytes} bytes, more than the {limit_bytes} that are read")


def completed(exit_code: int, stdout: bytes, stderr: bytes) -> Completed:
    """Return how a command ended; bytes that are not UTF-8 are replaced."""
    return Completed(exit_code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
