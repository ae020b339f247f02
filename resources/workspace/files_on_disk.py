"""The files on disk below a directory, page after page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FileOnDisk:
    """A regular file: its path relative to the directory, and the seconds since its content or name last changed."""

    path: str
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True)
class Tree:
    """One page of files; `after` is the cursor from which the next page continues, None on the last page."""

    files: Sequence[FileOnDisk]
    after: tuple[str, str] | None

    @staticmethod
    def of(answer: Mapping[str, Any]) -> "Tree":
        """Return the page in an answer of the remote program."""
        place = answer["after"]
        return Tree([FileOnDisk(*file) for file in answer["files"]], None if place is None else (place[0], place[1]))
