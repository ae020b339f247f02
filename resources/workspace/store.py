"""The directories of attempts on the machine that runs them, asked about for a whole batch at once."""

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
AT_ONCE_BYTES = 2 << 30  # read within one call: at 20 MB/s before a far program's time is over
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Need:
    """A directory that an attempt reads, and what to say where it is not there."""

    path: Path
    message: str


@dataclass(frozen=True)
class Layout:
    """One attempt's directory as it has to be before its wrapper starts."""

    directory: AttemptDirectory
    rendered: RenderedAttempt
    needs: Sequence[Need] = ()


@dataclass(frozen=True)
class Found:
    """What an attempt has left so far; `problem` says why its files cannot be believed, `trouble` why not read now."""

    claimed: bool
    heartbeat_age_seconds: float | None
    result_text: str | None
    problem: str | None
    output_directory: str | None
    numbers: Mapping[str, str] = field(default_factory=dict)  # the text of each qa/*.json by its path
    trouble: str | None = None

    @property
    def is_silent(self) -> bool:
        """Say whether the attempt has not told how it ended."""
        return self.result_text is None and self.problem is None and self.trouble is None

    def lives(self, within: timedelta) -> bool:
        """Say whether the attempt's wrapper gave a sign of life so lately that it is alive."""
        age = self.heartbeat_age_seconds
        return age is not None and age < within.total_seconds()

    def result(self, place: Path, submission_key: str) -> Result | None:
        """Return how the attempt ended, None while it has not said so.

        Raises ResultUnreadable where it cannot be believed and OutputsUnusable where its files are not what it says.
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
    """A file below a directory, and how much of it: its first bytes, or its last; none to learn its size alone."""

    root: Path
    path: str
    most_bytes: int = 0
    from_end: bool = False


@dataclass(frozen=True)
class Part:
    """A regular file's size, and what was wanted of it."""

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
    """What a regular file is; without a sha256 where its size is not the expected one, or it could not be read.

    Of a large one that is still being read, `read_bytes` says how far that is.
    """

    size_bytes: int
    sha256: str | None = None
    problem: str | None = None
    read_bytes: int | None = None


@dataclass(frozen=True)
class Disk:
    """A file system, and what is free of it for us."""

    size_bytes: int
    free_bytes: int


class AttemptStore:
    """Lays out, claims and looks at attempts below one base directory, here or over a shell."""

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
        """Return the directory in which wrappers that have ended leave a mark."""
        return self.base / ".ended"

    def lay_out(self, layouts: Sequence[Layout]) -> dict[Path, str]:
        """Lay out attempts and return, by directory, why one could not be."""
        if not layouts:
            return {}
        answer = self._ask({"do": "lay_out", "attempts": [_item(layout) for layout in layouts]})
        return {Path(directory): str(problem) for directory, problem in answer["problems"].items()}

    def claim(self, directories: Collection[Path]) -> set[Path]:
        """Claim attempts in their wrappers' place and return those that nobody had claimed."""
        if not directories:
            return set()
        return {Path(path) for path in self._ask({"do": "claim", "directories": _texts(directories)})["claimed"]}

    def look(self, directories: Collection[Path]) -> dict[Path, Found]:
        """Return what attempts have left; a directory that is not in the answer has not been looked at yet."""
        if not directories:
            return {}
        found = self._ask({"do": "look", "directories": _texts(directories)})["found"]
        return {Path(directory): _found(seen) for directory, seen in found.items()}

    def ended(self, seen_to: Iterable[str] = ()) -> set[str]:
        """Return the submission keys whose wrappers say they have ended; forget those that have been seen to.

        Asked again too soon for a login node that others use too, nothing is listed.
        """
        if not seen_to and time.monotonic() - self._marks_listed_at < self._marks_every_seconds:
            return set()
        self._marks_listed_at = time.monotonic()
        request = {"do": "marks", "directory": str(self.marks), "forget": sorted(seen_to)}
        return set(self._ask(request)["marks"])

    def read(self, wanted: Sequence[Wanted]) -> list[Part | None]:
        """Return parts of files in the order asked for, None for what is no regular file or is reached over a link.

        What no longer fits into one answer is left out: ask again for the rest. At least one is answered.
        """
        if not wanted:
            return []
        files = [[str(one.root), one.path, one.most_bytes, one.from_end] for one in wanted]
        found = self._ask({"do": "read", "files": files})["files"]
        return [None if part is None else Part(part[0], base64.b64decode(part[1])) for part in found]

    def checksum(
        self, expected: Sequence[Expected], asker: str, at_once_bytes: int = AT_ONCE_BYTES
    ) -> list[Actual | None]:
        """Return what files are, in the order asked for, None for what is no regular file or is reached over a link.

        Files for which there was no time are left out: ask again for the rest. At least one is answered. One of more
        than `at_once_bytes` is read between the calls that the same `asker` makes.
        """
        if not expected:
            return []
        files = [[str(one.root), one.path, one.size_bytes] for one in expected]
        notes = {"notes": str(self.base / ".checksums"), "asker": asker, "at_once_bytes": at_once_bytes}
        found = self._ask({"do": "checksum", "files": files, **notes})["files"]
        return [None if one is None else _actual(one) for one in found]

    def remove(self, root: Path, names: Collection[str]) -> set[str]:
        """Remove directories below a root with all that is in them; return those that are gone."""
        if not names:
            return set()
        return set(self._ask({"do": "remove", "root": str(root), "names": sorted(names)})["gone"])

    def unlink(self, names: Collection[str]) -> tuple[set[str], dict[str, str]]:
        """Remove files below the base; return those that are gone, and of others why not.

        Those for which there was no time are in neither: ask again.
        """
        if not names:
            return set(), {}
        answer = self._ask({"do": "unlink", "root": str(self.base), "names": sorted(names)})
        return set(answer["gone"]), dict(answer["problems"])

    def sizes(self, names: Sequence[str]) -> list[int | str | None]:
        """Return the sizes of the first files, one at least: None where there is none, or why that cannot be told."""
        return list(self._ask({"do": "sizes", "root": str(self.base), "names": list(names)})["sizes"])

    def tree(self, after: tuple[str, str] = ("", ""), *, limit: int, skip: str = r"(?!)") -> Tree:
        """Return the regular files that follow a place, `limit` at most, as far as there is time for; no link leads on.

        Directories whose path below the base matches the pattern `skip` are not gone into.
        """
        request = {"root": str(self.base), "after": list(after), "limit": limit, "skip": skip}
        return Tree.of(self._ask({"do": "tree", **request}))

    def disk(self) -> Disk:
        """Return how large the file system of the base is."""
        answer = self._ask({"do": "disk", "path": str(self.base)})
        return Disk(answer["size"], answer["free"])

    def install_program(self) -> Path:
        """Make sure that the program whose wrapper attempts run is below the base; older versions stay beside it."""
        path = program_path(self.base)
        self._install({path: zipapp.content()}, str(path))
        return path

    def install_code(self, sha256: str, files: Callable[[], Mapping[str, bytes]]) -> Path:
        """Make sure that code lies below the base under its checksum, and return its directory."""
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
