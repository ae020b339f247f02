"""The files that lie below a directory, page after page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FileOnDisk:
    """A regular file, its path relative to the directory, and how long ago it or its name last changed."""

    path: str
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True)
class Tree:
    """Some of the files, and behind which place there are more; None once all were seen."""

    files: Sequence[FileOnDisk]
    after: tuple[str, str] | None

    @staticmethod
    def of(answer: Mapping[str, Any]) -> "Tree":
        """Return what the store's program has answered."""
        place = answer["after"]
        return Tree([FileOnDisk(*file) for file in answer["files"]], None if place is None else (place[0], place[1]))
