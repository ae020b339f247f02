from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """How a command ended: its exit code (128 + signal if a signal ended it) and its whole output."""

    exit_code: int
    stdout: str
    stderr: str


class Shell(Protocol):
    """Runs commands, and reads and writes small files, on one machine: this one, or one reached over a network.

    Calls raise ShellUnavailable if certainly nothing was done, ShellDoubtful if all or a part may have been done.
    """

    @property
    def host(self) -> str:
        """Return the machine's name, for messages; "" for this machine."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a command to its end and return its output and exit code; no shell interprets its words.

        Raises ShellDoubtful if it does not end in time, or the connection breaks before its end is known, and
        UnsafePath for a command that cannot be passed on.
        """

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Return a regular file's content, None where there is no file; raise UnsafePath for a larger or other one."""

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, readable by all, that is either whole or absent (rename); directories are made as needed."""

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
