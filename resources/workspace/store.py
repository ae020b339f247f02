"""The directories of attempts on the machine that runs them; each call is for a whole batch."""

import base64
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from ccat_models.contract.result import Result
from resources.errors import OutputsUnusable
from resources.node import zipapp
from resources.node.store import command
from resources.shell.remote_program import RemoteProgram, program_path
from resources.workspace.directories import AttemptDirectory, parse_result
from resources.workspace.files_on_disk import Tree
from resources.workspace.plan import RenderedAttempt

_MARKS_EVERY_SECONDS = 1.0
AT_ONCE_BYTES = 2 << 30  # largest file read within one call: at 20 MB/s it ends before the time limit
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Need:
    """A directory that an attempt reads, and the error message if it does not exist."""

    path: Path
    message: str


@dataclass(frozen=True)
class Layout:
    """The content of one attempt's directory before its wrapper starts."""

    directory: AttemptDirectory
    rendered: RenderedAttempt
    needs: Sequence[Need] = ()


@dataclass(frozen=True)
class Found:
    """What an attempt has left so far; `problem` says why its files are bad, `trouble` why they cannot be read now."""

    claimed: bool
    heartbeat_age_seconds: float | None
    result_text: str | None
    problem: str | None
    output_directory: str | None
    numbers: Mapping[str, str] = field(default_factory=dict)  # the text of each qa/*.json, by path
    trouble: str | None = None

    @property
    def is_silent(self) -> bool:
        """Say whether there is no result yet, nor a reason why it is bad or cannot be read."""
        return self.result_text is None and self.problem is None and self.trouble is None

    def lives(self, within: timedelta) -> bool:
        """Say whether the attempt's wrapper gave a sign of life within this time."""
        age = self.heartbeat_age_seconds
        return age is not None and age < within.total_seconds()

    def result(self, place: Path, submission_key: str) -> Result | None:
        """Return the attempt's result, None while there is none.

        Raises ResultUnreadable for an invalid result, and OutputsUnusable if its files differ or cannot be read now.
        """
        if self.trouble is not None:
            raise OutputsUnusable(self.trouble)
        if self.result_text is not None:
            result = parse_result(self.result_text.encode(), str(place / "result.json"), submission_key)
        if self.problem is not None:
            raise OutputsUnusable(self.problem)
        return None if self.result_text is None else result


@dataclass(frozen=True)
class Wanted:
    """A file below a directory, and how many of its first or last bytes to read; 0 asks for its size alone."""

    root: Path
    path: str
    most_bytes: int = 0
    from_end: bool = False


@dataclass(frozen=True)
class Part:
    """A regular file's size, and the bytes that were asked for."""

    size_bytes: int
    content: bytes


@dataclass(frozen=True)
class Expected:
    """A file below a directory, and the size it should have."""

    root: Path
    path: str
    size_bytes: int


@dataclass(frozen=True)
class Actual:
    """A regular file's size and sha256; the latter is None if the size is not the expected one or reading failed.

    For a large file that is still being read, `read_bytes` says how many bytes have been.
    """

    size_bytes: int
    sha256: str | None = None
    problem: str | None = None
    read_bytes: int | None = None


@dataclass(frozen=True)
class Disk:
    """The size of a file system, and how many bytes this user may still write."""

    size_bytes: int
    free_bytes: int


class AttemptStore:
    """Handles attempts below a base directory, here or over a shell; raises TransientError if it is out of reach."""

    def __init__(self, base: Path, ask: Ask, marks_every_seconds: float = 0.0) -> None:
        self.base = base
        self._ask = ask
        self._marks_every_seconds = marks_every_seconds
        self._marks_listed_at = float("-inf")
        self._installed: set[str] = set()

    @staticmethod
    def here(base: Path) -> "AttemptStore":
        """Return the store of a directory that this machine can write."""
        return AttemptStore(base, command.answer)

    @staticmethod
    def over(program: RemoteProgram, base: Path) -> "AttemptStore":
        """Return the store of a directory on the machine that runs a remote program."""
        return AttemptStore(base, partial(program.ask, ["store"]), _MARKS_EVERY_SECONDS)

    @property
    def marks(self) -> Path:
        """Return the directory in which each wrapper leaves a mark when it ends."""
        return self.base / ".ended"

    def lay_out(self, layouts: Sequence[Layout]) -> dict[Path, str]:
        """Lay out attempts; return, by directory, the problems of those that could not be."""
        if not layouts:
            return {}
        answer = self._ask({"do": "lay_out", "attempts": [_item(layout) for layout in layouts]})
        return {Path(directory): str(problem) for directory, problem in answer["problems"].items()}

    def claim(self, directories: Collection[Path]) -> set[Path]:
        """Claim attempts in place of their wrappers, which then run nothing; return those not claimed before."""
        if not directories:
            return set()
        return {Path(path) for path in self._ask({"do": "claim", "directories": _texts(directories)})["claimed"]}

    def look(self, directories: Collection[Path]) -> dict[Path, Found]:
        """Return what attempts have left, by directory; those for which there was no time are missing: ask again."""
        if not directories:
            return {}
        found = self._ask({"do": "look", "directories": _texts(directories)})["found"]
        return {Path(directory): _found(seen) for directory, seen in found.items()}

    def ended(self, seen_to: Iterable[str] = ()) -> set[str]:
        """Return the submission keys of wrappers that have left a mark; first remove the marks of `seen_to`.

        Without `seen_to`, a call within a second of the last one returns nothing, to spare a shared login node.
        """
        if not seen_to and time.monotonic() - self._marks_listed_at < self._marks_every_seconds:
            return set()
        self._marks_listed_at = time.monotonic()
        request = {"do": "marks", "directory": str(self.marks), "forget": sorted(seen_to)}
        return set(self._ask(request)["marks"])

    def read(self, wanted: Sequence[Wanted]) -> list[Part | None]:
        """Return parts of files, in the order asked for; None for one that is not a regular file or is behind a link.

        Files that do not fit into one answer are left out at the end, but never the first: ask again for the rest.
        """
        if not wanted:
            return []
        files = [[str(one.root), one.path, one.most_bytes, one.from_end] for one in wanted]
        found = self._ask({"do": "read", "files": files})["files"]
        return [None if part is None else Part(part[0], base64.b64decode(part[1])) for part in found]

    def checksum(
        self, expected: Sequence[Expected], asker: str, at_once_bytes: int = AT_ONCE_BYTES
    ) -> list[Actual | None]:
        """Return sizes and checksums, in the order asked for; None for a file that is not regular or is behind a link.

        Files for which there was no time are left out at the end, but never the first: ask again for the rest. A file
        of more than `at_once_bytes` is read in the background, for as long as the same `asker` asks for it again.
        """
        if not expected:
            return []
        files = [[str(one.root), one.path, one.size_bytes] for one in expected]
        notes = {"notes": str(self.base / ".checksums"), "asker": asker, "at_once_bytes": at_once_bytes}
        found = self._ask({"do": "checksum", "files": files, **notes})["files"]
        return [None if one is None else _actual(one) for one in found]

    def remove(self, root: Path, names: Collection[str]) -> set[str]:
        """Remove directories below a root with all their content; return the names of those that are gone."""
        if not names:
            return set()
        return set(self._ask({"do": "remove", "root": str(root), "names": sorted(names)})["gone"])

    def unlink(self, names: Collection[str]) -> tuple[set[str], dict[str, str]]:
        """Remove files below the base; return the names of those that are gone, and the problems of others, by name.

        Files for which there was no time are in neither: ask again.
        """
        if not names:
            return set(), {}
        answer = self._ask({"do": "unlink", "root": str(self.base), "names": sorted(names)})
        return set(answer["gone"]), dict(answer["problems"])

    def sizes(self, names: Sequence[str]) -> list[int | str | None]:
        """Return sizes of at least the first file: None for a missing file, a message for one of unknown size."""
        return list(self._ask({"do": "sizes", "root": str(self.base), "names": list(names)})["sizes"])

    def tree(self, after: tuple[str, str] = ("", ""), *, limit: int, skip: str = r"(?!)") -> Tree:
        """Return at most `limit` regular files after a cursor, fewer if time is over; links are not followed.

        Directories whose path below the base matches the regular expression `skip` are left out.
        """
        request = {"root": str(self.base), "after": list(after), "limit": limit, "skip": skip}
        return Tree.of(self._ask({"do": "tree", **request}))

    def disk(self) -> Disk:
        """Return size and free space of the base's file system."""
        answer = self._ask({"do": "disk", "path": str(self.base)})
        return Disk(answer["size"], answer["free"])

    def install_program(self) -> Path:
        """Install the program that runs attempts below the base, if it is missing, and return its path."""
        path = program_path(self.base)
        self._install({path: zipapp.content()}, str(path))
        return path

    def install_code(self, sha256: str, files: Callable[[], Mapping[str, bytes]]) -> Path:
        """Install code below the base, in a directory named by its checksum, if it is missing; return the directory."""
        directory = self.base / ".code" / sha256
        if str(directory) not in self._installed:
            contents = {directory / name: content for name, content in files().items()}
            self._install(contents, str(directory))
        return directory

    def _install(self, files: Mapping[Path, bytes], name: str) -> None:
        if name in self._installed:
            return
        missing = set(self._ask({"do": "missing", "paths": _texts(files)})["missing"])
        wanted = [[str(path), base64.b64encode(text).decode()] for path, text in files.items() if str(path) in missing]
        if wanted:
            self._ask({"do": "install", "files": wanted})
        self._installed.add(name)


def _texts(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths]


def _actual(seen: Mapping[str, Any]) -> Actual:
    return Actual(seen["size"], seen["sha256"], seen.get("problem"), seen.get("read"))


def _found(seen: Mapping[str, Any]) -> Found:
    return Found(
        claimed=seen["claimed"],
        heartbeat_age_seconds=seen["heartbeat_age"],
        result_text=seen["result"],
        problem=seen["problem"],
        output_directory=seen["output_directory"],
        numbers=seen["numbers"],
        trouble=seen["trouble"],
    )


def _item(layout: Layout) -> dict[str, Any]:
    root, rendered = layout.directory.path, layout.rendered
    return {
        "directory": str(root),
        "submission_key": rendered.job.submission_key,
        "needs": [[str(need.path), need.message] for need in layout.needs],
        "directories": ["config", rendered.job.output_directory],
        "links": [[str(link).removeprefix(f"{root}/"), str(target)] for link, target in rendered.links.items()],
        "files": [
            ["config/manifest.json", rendered.manifest.model_dump_json(indent=1) + "\n"],
            ["job.json", rendered.job.model_dump_json(indent=1) + "\n"],
        ],
    }
