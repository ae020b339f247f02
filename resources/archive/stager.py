"""Packages that are being staged to a cluster's disk: the source of each, and its progress."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccat_models.raw.staging import STAGED_DIGITS, STAGED_DIRECTORY, ArchivedCopy
from ccat_models.tables.places import DataLocation
from ccat_models.tables.raw_data import RawDataFile
from resources.archive.port import Archive
from resources.errors import StagingFailed
from resources.node.stage.package import RETRY_SECONDS
from resources.shell.remote_program import RemoteProgram
from resources.workspace.directories import path_component

_LOG = logging.getLogger(__name__)
ABANDONED_SECONDS = 7 * 24 * 3600.0
_LONGEST_NAME = 200

REMEDIES: Mapping[str, str] = {
    "unreachable": "what came so far is kept: the next attempt resumes there once the archive answers",
    "refused": "the archive refuses to be read: check {access}",
    "expired": "the signed address ran out: the next attempt resumes with a new one",
    "missing": "the copy on record is not there: mend the archive, or the record of its copy (`ccat locations`)",
    "wrong": "it was removed, the next attempt stages it again: if that fails alike, the archived copy is damaged",
    "full": "what came was removed: make room with `ccat purge`, or give the disk more, then retry",
    "unsafe": "nothing of it was kept: pack the package again (`ccat archive`)",
    "killed": "see what ends processes there: have `data_mover` run them in a job with enough memory and time",
    "broken": "see whether the staging directory can be written and the data mover runs",
}


@dataclass(frozen=True)
class Pace:
    """Limits on staging: packages at a time, MB per second of all together, retries; and the mover that does it."""

    parallel: int = 4
    mb_per_second: float | None = None
    mover: tuple[str, ...] = ()  # put before the command that stages a package, e.g. srun and its options
    retry_seconds: tuple[float, ...] = RETRY_SECONDS  # waits for a server that does not answer
    patience_seconds: float = 0.0  # how long such a server is tried in all, if no other archive has the package


@dataclass(frozen=True)
class StagingRequest:
    """A package that a staging job is to copy from an archive."""

    name: str
    checksum: str
    job_id: int
    copy: ArchivedCopy
    files: Sequence[RawDataFile]

    @property
    def directory(self) -> str:
        """Return the name of its directory below the staged ones."""
        return staged_name(self.name, self.checksum)


@dataclass(frozen=True)
class Arrived:
    """A package that is in place and verified; `transferred` includes bytes that were copied more than once."""

    transferred: int


@dataclass(frozen=True)
class OnItsWay:
    """A package that is being staged now, or waits for its turn: ask again."""

    transferred: int = 0
    total: int | None = None
    begun: bool = True
    trouble: str | None = None  # why nothing is copied just now


@dataclass(frozen=True)
class NotBrought:
    """A package that could not be staged. It is reported once; the next request tries again."""

    message: str
    transferred: int = 0


Answer = Arrived | OnItsWay | NotBrought


class Stager:
    """Stages packages into one directory of the machine that runs a remote program."""

    def __init__(
        self,
        program: RemoteProgram,
        base: Path,
        archive_of: Callable[[DataLocation], Archive],
        pace: Pace | None = None,
    ) -> None:
        self._program = program
        self._words = ["stage", str(base / STAGED_DIRECTORY)]
        self._archive_of = archive_of
        self._pace = pace or Pace()
        self._logged: set[str] = set()  # directories whose trouble was logged

    def ask(self, requests: Sequence[StagingRequest]) -> dict[int, Answer]:
        """Return the progress of packages by job, and start staging as many more as the limits allow."""
        found = self._ask([{"name": request.directory, "job": request.job_id} for request in requests])
        seen, answers = found["packages"], {}
        absent = [request for request in requests if seen[request.directory]["state"] == "absent"]
        items: list[dict[str, Any]] = []
        for request in absent:
            if len(items) == found["free"]:
                break
            try:
                items.append({"name": request.directory, "job": request.job_id, "source": self._source(request)})
            except StagingFailed as error:
                answers[request.job_id] = NotBrought(f"package {request.name}: {error}")
        seen = {**seen, **(self._ask(items)["packages"] if items else {})}
        seen_answers = {request.job_id: self._answer(request, seen[request.directory]) for request in requests}
        return {**seen_answers, **answers}

    def look(self, directories: Mapping[int, str]) -> dict[int, Answer | None]:
        """Return by job the progress of packages; None for one that is no longer being staged."""
        if not directories:
            return {}
        seen = self._ask([{"name": name, "job": job} for job, name in directories.items()])["packages"]
        return {job: self._seen(seen[name]) for job, name in directories.items()}

    def sweep(self, older_than_seconds: float = ABANDONED_SECONDS) -> None:
        """Remove partial packages that have made no progress for so long."""
        self._do({"do": "sweep", "older_than_seconds": older_than_seconds})

    def let_go(self, directories: Mapping[str, int | None]) -> set[str]:
        """Remove packages that these jobs have staged; return the names of those that are gone."""
        if not directories:
            return set()
        return set(self._do({"do": "let_go", "packages": list(directories.items())})["gone"])

    def _ask(self, items: Collection[dict[str, Any]]) -> dict[str, Any]:
        pace = self._pace
        return self._do(
            {
                "do": "ask",
                "packages": list(items),
                "parallel": pace.parallel,
                "mb_per_second": pace.mb_per_second,
                "mover": list(pace.mover),
                "retry_seconds": list(pace.retry_seconds),
            }
        )

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._program.ask(self._words, request)
        if problem := answer.get("problem"):
            raise StagingFailed(f"{problem['message']}: {REMEDIES[problem['kind']]}")
        return answer

    def _source(self, request: StagingRequest) -> dict[str, Any]:
        archive, copy = self._archive_of(request.copy.location), request.copy
        paths = [copy.path] if copy.packed else [f"{copy.path}/{file.path}" for file in request.files]
        return {
            "packed": copy.packed,
            "files": [[file.path, file.size_bytes, file.sha256] for file in request.files],
            "from": [archive.address(path) for path in paths],
            "patience_seconds": self._pace.patience_seconds if copy.alone else 0.0,
        }

    def _answer(self, request: StagingRequest, seen: Mapping[str, Any]) -> Answer:
        answer = self._seen(seen)
        self._log(request, answer)
        if not isinstance(answer, NotBrought):
            return answer or OnItsWay(begun=False)
        location = request.copy.location
        remedy = REMEDIES[seen["kind"]].format(access=self._archive_of(location).access)
        message = f"package {request.name}: from {location.name}: {answer.message}: {remedy}"
        return NotBrought(message, answer.transferred)

    def _log(self, request: StagingRequest, answer: Answer | None) -> None:
        """Log once why a package cannot be copied now, while it is still waited for."""
        if isinstance(answer, Arrived | NotBrought):
            self._logged.discard(request.directory)
        elif answer is not None and (trouble := answer.trouble) and request.directory not in self._logged:
            self._logged.add(request.directory)
            _LOG.warning(
                "package %s: from %s: %s: it is tried again", request.name, request.copy.location.name, trouble
            )

    def _seen(self, seen: Mapping[str, Any]) -> Answer | None:
        if seen["state"] == "ready":
            return Arrived(seen["transferred"])
        if seen["state"] == "fetching":
            return OnItsWay(seen["transferred"], seen["total"], trouble=seen["trouble"])
        return NotBrought(seen["message"], seen["transferred"]) if seen["state"] == "failed" else None


def staged_name(package: str, checksum: str) -> str:
    """Return the name of a package's staged directory, which contains the checksum: its content never changes."""
    name = path_component(package)
    return f"{name[:_LONGEST_NAME]}-{checksum[:STAGED_DIGITS]}"
