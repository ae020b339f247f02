"""Compare registered files with those on disk. Checksums are computed where the disks are: no file is transferred."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ccat_models.lineage import raw_files
from ccat_models.lineage.raw_files import RawFile, packages_behind, raw_file_page
from ccat_models.product import copies
from ccat_models.product.copies import (
    Copy,
    ProductFile,
    Selection,
    product_page,
    record_unverified,
    record_verified,
    runs_of,
)
from ccat_models.tables.raw_data import PackageContent
from ccat_models.tables.space import SpaceState
from resources.location import Cluster
from resources.workspace.store import AT_ONCE_BYTES, Actual, AttemptStore, Expected

_PAGE = 1000  # files per query of ops-db
_PACKAGES = 500  # packages per query of their files
_ASKED_AT_A_TIME = 500  # files per call of the remote program
_LOOK_EVERY_SECONDS = 1.0  # between two calls for a large file that is still being read

Sleep = Callable[[float], None]
ProgressCallback = Callable[[int, int], None]  # called with the number of files and bytes checked since the last call


class Finding(Enum):
    """How a registered file compares with the file on disk."""

    OK = "ok"
    MISSING = "missing"
    SIZE_DIFFERS = "size differs"
    CHECKSUM_DIFFERS = "checksum differs"
    UNREADABLE = "cannot be read"
    PURGED = "purged"
    REPLACED = "replaced"
    LOST = "lost"
    NO_COPY = "no copy readable from here"


FINE = (Finding.OK, Finding.PURGED, Finding.REPLACED)  # as registered, or known to be removed
_BAD = (Finding.MISSING, Finding.SIZE_DIFFERS, Finding.CHECKSUM_DIFFERS)  # certainly not the registered file


def no_progress(files: int, size_bytes: int) -> None:
    """Report no progress."""
    del files, size_bytes


@dataclass(frozen=True)
class Registered:
    """A registered file: its path below the directory `root`, its size and sha256."""

    root: Path
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Compared:
    """The finding about a registered file; `detail` has the registered and the found value where they differ."""

    finding: Finding
    detail: str = ""


@dataclass(frozen=True)
class Verified:
    """A verified file as commands list it: the package or sub-group that owns it, the finding, and the remedy."""

    owner: str
    product_id: int | None  # None for a raw file
    path: str
    copy_id: int | None
    finding: Finding
    detail: str
    remedy: str


@dataclass(frozen=True)
class Comparer:
    """Compares files with their registered sizes and checksums; no call takes long, however large the files are."""

    store: AttemptStore
    on_progress: ProgressCallback = no_progress
    sleep: Sleep = time.sleep
    at_once_bytes: int = AT_ONCE_BYTES
    asker: str = field(default_factory=lambda: uuid.uuid4().hex)

    def compare(self, files: Sequence[Registered]) -> list[Compared]:
        """Return the comparison of each file, in the order given; raise TransientError if it cannot be made now."""
        small = [file for file in files if file.size_bytes <= self.at_once_bytes]
        found = dict(zip(map(id, small), self._small(small), strict=True))
        return [found[id(file)] if id(file) in found else self._large(file) for file in files]

    def _small(self, files: Sequence[Registered]) -> Iterator[Compared]:
        done = 0
        while done < len(files):
            for answer in self._ask(files[done : done + _ASKED_AT_A_TIME]):
                yield self._compared(files[done], answer)
                done += 1

    def _large(self, file: Registered) -> Compared:
        """Return the comparison of a file that is read between calls; one file at a time, to spare shared disks."""
        while True:
            (answer,) = self._ask([file])
            if answer is None or answer.read_bytes is None:
                return self._compared(file, answer)
            self.sleep(_LOOK_EVERY_SECONDS)

    def _ask(self, files: Sequence[Registered]) -> list[Actual | None]:
        expected = [Expected(file.root, file.path, file.size_bytes) for file in files]
        return self.store.checksum(expected, self.asker, self.at_once_bytes)

    def _compared(self, file: Registered, answer: Actual | None) -> Compared:
        self.on_progress(1, file.size_bytes)
        return _compared(file, answer)


@dataclass(frozen=True)
class Verification:
    """Verifies the copies of products and of raw data packages, and records in ops-db which are good."""

    cluster: Cluster
    on_progress: ProgressCallback = no_progress
    sleep: Sleep = time.sleep

    def extent(self, selection: Selection, *, raw: bool) -> tuple[int, int]:
        """Return the number of files to verify, and their bytes; with `raw`, raw files are included."""
        with self.cluster.ops_db.read() as session:
            found = [copies.count_and_size(session, selection)]
            found += [raw_files.count_and_size(session, runs_of(selection))] if raw else []
        return sum(files for files, _ in found), sum(size for _, size in found)

    def products(self, selection: Selection) -> Iterator[Verified]:
        """Yield the finding about each file of the selected products."""
        after = None
        while True:
            with self.cluster.ops_db.read() as session:
                page = product_page(session, selection, self.cluster.location_id, after=after, limit=_PAGE)
            if not page:
                return
            verified = list(self._compare(page))
            self._note(_copies(verified, Finding.OK), _copies(verified, *_BAD))
            yield from verified
            after = page[-1].id

    def raw(self, selection: Selection) -> Iterator[Verified]:
        """Yield the finding about each raw file that the selected products were made from."""
        with self.cluster.ops_db.read() as session:
            packages = packages_behind(session, runs_of(selection))
        for part in packages.parts(_PACKAGES):
            yield from self._files_of(part)

    def _files_of(self, packages: Sequence[PackageContent]) -> Iterator[Verified]:
        after, good = None, _GoodPackages()
        while True:
            with self.cluster.ops_db.read() as session:
                page = raw_file_page(session, packages, self.cluster.location_id, after=after, limit=_PAGE)
            if not page:
                self._note(good.finish())
                return
            verified = list(self._compare(page))
            self._note(good.add(verified, page[-1].package), _copies(verified, *_BAD))
            yield from verified
            after = page[-1].place

    def _compare(self, page: Sequence[ProductFile] | Sequence[RawFile]) -> Iterator[Verified]:
        to_compare = [(one, copy) for one in page for copy in one.copies.readable]
        files = [Registered(*_place(one, copy), one.size_bytes, one.sha256) for one, copy in to_compare]
        compared = Comparer(self.cluster.store, self.on_progress, self.sleep).compare(files)
        for (one, copy), comparison in zip(to_compare, compared, strict=True):
            yield _verified(one, copy, comparison)
        for one in page:
            if not one.copies.readable:
                self.on_progress(1, one.size_bytes)
                yield _absent(one)

    def _note(self, good: Sequence[int], bad: Sequence[int] = ()) -> None:
        if good or bad:
            with self.cluster.ops_db.write() as session:
                record_verified(session, good, self.cluster.clock())
                record_unverified(session, bad)


def _copies(verified: Sequence[Verified], *findings: Finding) -> list[int]:
    return [one.copy_id for one in verified if one.finding in findings and one.copy_id is not None]


@dataclass
class _GoodPackages:
    """The copies of packages whose files were all good so far; the files of a package may be on several pages."""

    _open: dict[int, tuple[str, bool]] = field(default_factory=dict)  # copy → its package, whether all were good

    def add(self, verified: Sequence[Verified], last: str) -> list[int]:
        """Add a page that ends within the package `last`; return the copies of packages that are complete and good."""
        for one in verified:
            if one.copy_id is not None:
                _, good = self._open.get(one.copy_id, ("", True))
                self._open[one.copy_id] = (one.owner, good and one.finding is Finding.OK)
        over = {copy_id for copy_id, (owner, _) in self._open.items() if owner != last}
        return [copy_id for copy_id in sorted(over) if self._open.pop(copy_id)[1]]

    def finish(self) -> list[int]:
        """Return the copies of the last package if they are good."""
        return [copy_id for copy_id, (_, good) in sorted(self._open.items()) if good]


def _compared(file: Registered, answer: Actual | None) -> Compared:
    if answer is None:
        return Compared(Finding.MISSING, f"no regular file {file.root / file.path}")
    if answer.problem is not None:
        return Compared(Finding.UNREADABLE, f"{file.root / file.path}: {answer.problem}")
    if answer.size_bytes != file.size_bytes:
        return Compared(Finding.SIZE_DIFFERS, f"{answer.size_bytes} bytes, registered {file.size_bytes}")
    if answer.sha256 != file.sha256:
        return Compared(Finding.CHECKSUM_DIFFERS, f"sha256 {answer.sha256}, registered {file.sha256}")
    return Compared(Finding.OK)


def _absent(one: ProductFile | RawFile) -> Verified:
    """Return the finding about a file that has no copy readable from here."""
    if isinstance(one, RawFile) and one.replaced_by is not None:
        read = one.package_checksum
        instead = f"package checksum {one.replaced_by[:12]}…, read was {read[:12]}…"
        return _verified(one, None, Compared(Finding.REPLACED, instead))
    if not one.copies.purged:
        return _verified(one, None, Compared(Finding.NO_COPY))
    removed = one.removed if isinstance(one, ProductFile) else None
    if removed is None:
        return _verified(one, None, Compared(Finding.PURGED))
    since = f"{removed.since:%Y-%m-%d}"
    if removed.state is SpaceState.LOST:
        return _verified(one, None, Compared(Finding.LOST, f"purged, and cannot be regenerated since {since}"))
    if removed.state is SpaceState.REPLACED:
        instead = f"purged, and regenerated differently by run {removed.replaced_by} on {since}"
        return _verified(one, None, Compared(Finding.REPLACED, instead))
    return _verified(one, None, Compared(Finding.PURGED, f"removed to make room on {since}"))


def _place(one: ProductFile | RawFile, copy: Copy) -> tuple[Path, str]:
    """Return a file's root and its path below it: a package's copy is a directory, a product's is the file itself."""
    root = Path(copy.root)
    return (root, copy.path) if isinstance(one, ProductFile) else (root / copy.path, one.path)


def _verified(one: ProductFile | RawFile, copy: Copy | None, comparison: Compared) -> Verified:
    copy_id = None if copy is None else copy.id
    if isinstance(one, RawFile):
        return Verified(
            one.package,
            None,
            one.path,
            copy_id,
            comparison.finding,
            comparison.detail,
            _raw_remedy(one, copy, comparison),
        )
    owner, remedy = f"{one.pipeline}/{one.step}/{one.sub_group}", _remedy(one, copy, comparison)
    return Verified(owner, one.id, one.path, copy_id, comparison.finding, comparison.detail, remedy)


def _raw_remedy(one: RawFile, copy: Copy | None, comparison: Compared) -> str:
    if comparison.finding is Finding.REPLACED:
        return (
            f"nothing to compare: package {one.package} was delivered again with other content since; deliver the "
            f"earlier one again to have it, `ccat impact package:{one.package}` shows what was made of either"
        )
    if copy is None or comparison.finding in FINE:
        return ""
    return f"restore {Path(*_place(one, copy))} from another copy of the package"


def _remedy(one: ProductFile, copy: Copy | None, comparison: Compared) -> str:
    again = f"ccat run {one.pipeline} --step {one.step} --sub-group {one.sub_group} --force"
    if comparison.finding is Finding.LOST:
        return f"make another one: {again}"
    if comparison.finding is Finding.PURGED and one.removed is not None:
        return f"make it again: ccat regenerate {one.id}"
    if copy is None or comparison.finding in FINE:
        return ""
    return f"restore {Path(*_place(one, copy))}, or make it again: {again}"
