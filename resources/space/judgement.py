"""Whether a file below a processing location agrees with its rows: decided by its path and what rows know of it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from ccat_models.product.disk_rows import CopyRow, RunFiles
from ccat_models.raw.staging import STAGED_DIRECTORY
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, RunStatus
from ccat_models.tables.places import READABLE, PhysicalCopyStatus
from resources.workspace.files_on_disk import FileOnDisk

_ATTEMPT = r"[^/]+/[^/]+/[^/]+/run-(\d{1,18})/attempt-(\d{1,9})"
_IN_ATTEMPT = re.compile(rf"{_ATTEMPT}/([^/]+)/")
# Hidden directories hold what belongs to no run: code, images, notes. An attempt's records are beside its outputs.
SKIP = "|".join(
    (
        rf"\A\.(?!{STAGED_DIRECTORY[1:]}\Z)[^/]*\Z",
        rf"\A{re.escape(STAGED_DIRECTORY)}/\.",
        rf"\A{_ATTEMPT}/(?!output\Z|workspace\Z)[^/]*\Z",
    )
)


class Wrong(Enum):
    """How rows and the disk contradict each other."""

    MISSING = "missing"
    DIFFERENT = "size differs"
    UNREADABLE = "cannot be read"
    LEFT_OVER = "left over"
    ORPHAN = "orphan"
    ACCOUNT = "wrong account"
    FOREIGN = "foreign"  # nothing is wrong: no run writes files there, so it belongs to a person
    FAILED = "of failed attempts"  # nothing is wrong: kept for the analysis of the failure


LEFT_ALONE = (Wrong.FOREIGN, Wrong.FAILED)


@dataclass(frozen=True)
class Known:
    """What rows know of some files; what changed before `settled_before` is no longer being worked on."""

    runs: RunFiles
    staged: Mapping[str, tuple[int, PhysicalCopyStatus]]
    coming: Collection[str]  # directories of raw data that is being staged
    settled_before: datetime
    directories: Collection[str]  # of the pipelines


@dataclass
class Seen:
    """What was found to be there as rows say: copies of products, and directories of staged raw data."""

    copies: set[int] = field(default_factory=set)
    staged: set[str] = field(default_factory=set)


def run_of(path: str) -> RunId | None:
    """Return the run whose attempts a path belongs to."""
    found = re.match(f"{_ATTEMPT}/", path)
    return None if found is None else RunId(int(found[1]))


def staged_of(path: str) -> str | None:
    """Return the name of the staged directory that contains a path."""
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == STAGED_DIRECTORY else None


def judge(file: FileOnDisk, known: Known, seen: Seen) -> Wrong | None:
    """Return what is wrong with a file, None for nothing; then note its copy or its staged directory as seen."""
    copy, name = known.runs.copies.get(file.path), staged_of(file.path)
    if name is not None:
        return _judge_staged(name, known, seen)
    if copy is not None:
        return _judge_copy(file, copy, known, seen)
    return _judge_unknown(file.path, known)


def _judge_copy(file: FileOnDisk, copy: CopyRow, known: Known, seen: Seen) -> Wrong | None:
    if copy.status in READABLE:
        if copy.size_bytes == file.size_bytes:
            seen.copies.add(copy.id)
        return None  # one of another size is reported with the missing ones
    if copy.given_up:
        return None  # it is there again
    return Wrong.LEFT_OVER if copy.changed_at is None or copy.changed_at <= known.settled_before else None


def _judge_staged(name: str, known: Known, seen: Seen) -> Wrong | None:
    if name in known.coming:
        return None
    if name not in known.staged:
        return Wrong.ORPHAN
    seen.staged.add(name)
    return Wrong.LEFT_OVER if known.staged[name][1] is PhysicalCopyStatus.DELETED else None


def _judge_unknown(path: str, known: Known) -> Wrong | None:
    found, run_id = _IN_ATTEMPT.match(path), run_of(path)
    status = None if run_id is None else known.runs.statuses.get(run_id)
    if run_id is None or path.partition("/")[0] not in known.directories:
        return Wrong.FOREIGN
    if status is None:
        return Wrong.ORPHAN
    if status in IN_FLIGHT or found is None:
        return None
    failed = known.runs.attempts.get((run_id, int(found[2])))
    if failed is None:
        return Wrong.ORPHAN
    return Wrong.FAILED if failed or status is not RunStatus.COMPLETED else Wrong.ORPHAN
