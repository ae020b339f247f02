from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """How a command ended: its exit code (128 + signal where a signal ended it) and all that it wrote."""

    exit_code: int
    stdout: str
    stderr: str


class Shell(Protocol):
    """Runs commands and moves small files on one machine: this one, or one that is reached over a network.

    ShellUnavailable says that surely nothing was done; ShellDoubtful that something may have been done, or half of it.
    """

    @property
    def host(self) -> str:
        """Return the machine's name, for messages; "" for this machine."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a command to its end, whatever its exit code; its words reach the program as they are.

        Raises ShellDoubtful when it does not end in time or the line breaks before its end is known.
        """

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Return a regular file's content, None where there is no file; raise UnsafePath for a larger or other one."""

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, readable by all, that is either whole or absent (rename); directories are made as needed."""

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
