"""Compare the files below a processing location with their rows, and repair both.

The disk is listed before rows are read: a file that appears meanwhile is not checked, and one that is registered
meanwhile counts as registered. A discrepancy is checked once more before it is reported.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ccat_models.errors import Refused
from ccat_models.pipeline.view import pipeline_names
from ccat_models.product.accounts import correct_accounts, wrong_accounts
from ccat_models.product.copies import record_unverified
from ccat_models.product.disk_rows import (
    Bad,
    CopyRow,
    can_be_purged,
    packages_being_staged,
    present_copies,
    record_found,
    record_missing,
    record_missing_staged,
    run_files,
    staged_copies,
    still_present,
)
from ccat_models.product.purge import Purpose, mark
from ccat_models.product.removable import pick
from ccat_models.raw.staging import STAGED_DIRECTORY
from ccat_models.tables.base import RunId
from ccat_models.tables.places import PhysicalCopyStatus
from resources.archive.stager import staged_name
from resources.location import Cluster
from resources.space.judgement import LEFT_ALONE, SKIP, Known, Seen, Wrong, judge, run_of, staged_of
from resources.space.purging import finish, look_at_all, unlink
from resources.workspace.directories import path_component
from resources.workspace.files_on_disk import FileOnDisk

SETTLED_AFTER = timedelta(hours=1)  # a file that changed later may belong to a process at work
_PAGE = 10_000  # files or rows
_FEW, _SHARE = 5, 0.1  # of the runs: where more of them lack a file, an operator has to look first


@dataclass(frozen=True)
class Discrepancy:
    """A file, or the account of a run, that differs from its rows, and what was done about it."""

    wrong: Wrong
    path: str
    size_bytes: int
    run_id: RunId | None = None
    repaired: bool = False
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """Say whether an operator has to act."""
        return not self.repaired and self.wrong not in LEFT_ALONE


@dataclass(frozen=True)
class SpaceCheck:
    """Compares page by page; with `repair`, repairs what it can. Safe to kill and to repeat."""

    cluster: Cluster
    repair: bool = False
    settled_after: timedelta = SETTLED_AFTER
    even_if_most_is_missing: bool = False

    def discrepancies(self) -> Iterator[Discrepancy]:
        """Yield what is wrong.

        Raises TransientError where the location cannot be reached, Refused where it seems empty.
        """
        if self.repair:
            if not self.even_if_most_is_missing:
                self._refuse_to_give_up_most()
            finish(self.cluster, even_if_nothing_is_there=self.even_if_most_is_missing)
        seen = Seen()
        yield from self._files_on_disk(seen)
        yield from self._missing(seen)
        yield from self._missing_staged(seen)
        yield from self._accounts()

    def _refuse_to_give_up_most(self) -> None:
        """Raise Refused where so many runs lack a file that the disk itself seems to be missing."""
        runs, lacking = set[RunId](), set[RunId]()
        for rows in self._present():
            page = [row for row in rows if not row.given_up]
            runs |= {row.run_id for row in page}
            sizes = self._sizes([row.path for row in page])
            compared = zip(page, sizes, strict=True)
            lacking |= {row.run_id for row, size in compared if size != row.size_bytes and not isinstance(size, str)}
        if len(lacking) > max(_FEW, _SHARE * len(runs)):
            raise Refused(
                f"{len(lacking)} of the {len(runs)} runs with files below {self.cluster.base} have missing or "
                "different files, which would be given up: is the right disk mounted there? Nothing has been changed; "
                "--even-if-most-is-missing repairs all the same"
            )

    def _present(self) -> Iterator[Sequence[CopyRow]]:
        """Yield the copies that should be there, page after page."""
        cluster, after = self.cluster, 0
        while True:
            with cluster.ops_db.read() as session:
                page = present_copies(session, cluster.location_id, after=after, limit=_PAGE)
            if not page:
                return
            yield page
            after = page[-1].id

    def _files_on_disk(self, seen: Seen) -> Iterator[Discrepancy]:
        """Yield files that have no row, page after page."""
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            tree = self.cluster.store.tree(after, limit=_PAGE, skip=SKIP)
            after = tree.after
            known = self._known(tree.files)
            found = [(file, judge(file, known, seen)) for file in tree.files]
            wrong = [
                (file, wrong)
                for file, wrong in found
                if wrong is not None and file.age_seconds >= self.settled_after.total_seconds()
            ]
            there = self._sizes([file.path for file, _ in wrong])
            yield from self._removed(
                [
                    Discrepancy(wrong, file.path, file.size_bytes, run_of(file.path))
                    for (file, wrong), size in zip(wrong, there, strict=True)
                    if isinstance(size, int)
                ]
            )

    def _known(self, files: Sequence[FileOnDisk]) -> Known:
        runs = {run for file in files if (run := run_of(file.path)) is not None}
        is_staged = any(file.path.startswith(f"{STAGED_DIRECTORY}/") for file in files)
        cluster = self.cluster
        with cluster.ops_db.read() as session:
            coming = packages_being_staged(session, cluster.location_id) if is_staged else []
            staged = staged_copies(session, cluster.location_id) if is_staged else {}
            known = run_files(session, cluster.location_id, runs)
            directories = {path_component(name) for name in pipeline_names(session)}
        names = {staged_name(name, checksum) for name, checksum in coming}
        return Known(known, staged, names, cluster.clock() - self.settled_after, directories)

    def _removed(self, found: Sequence[Discrepancy]) -> Iterator[Discrepancy]:
        """Yield what was found; left-over files and orphans are removed first."""
        going = [one.path for one in found if self.repair and one.wrong in (Wrong.LEFT_OVER, Wrong.ORPHAN)]
        staged = {name for path in going if (name := staged_of(path)) is not None}
        gone, problems = unlink(self.cluster, [path for path in going if staged_of(path) is None])
        # as a whole: a package's directory, if it exists, is taken to hold all of its files
        gone_staged = self.cluster.store.remove(self.cluster.base / STAGED_DIRECTORY, staged)
        for one in found:
            repaired = one.path in gone or staged_of(one.path) in gone_staged
            yield replace(one, repaired=repaired, detail=problems.get(one.path, ""))

    def _missing(self, seen: Seen) -> Iterator[Discrepancy]:
        """Yield the copies that are not where rows say, or have another size."""
        cluster = self.cluster
        for page in self._present():
            unseen = [row for row in page if row.id not in seen.copies]
            sizes = self._sizes([row.path for row in unseen])
            self._take_back(unseen, sizes)
            bad = {row.id: size for row, size in zip(unseen, sizes, strict=True) if size != row.size_bytes}
            with cluster.ops_db.read() as session:
                rows = still_present(session, cluster.location_id, [row for row in unseen if row.id in bad])
            for row in rows:
                if isinstance(problem := bad[row.id], str):
                    yield Discrepancy(Wrong.UNREADABLE, row.path, row.size_bytes, row.run_id, detail=problem)
            yield from self._given_up([(row, size) for row in rows if not isinstance(size := bad[row.id], str)])

    def _take_back(self, rows: Sequence[CopyRow], sizes: Sequence[int | str | None]) -> None:
        back = [row.id for row, size in zip(rows, sizes, strict=True) if row.given_up and size == row.size_bytes]
        if self.repair and back:
            with self.cluster.ops_db.write() as session:
                record_found(session, back)

    def _given_up(self, bad: Sequence[tuple[CopyRow, int | None]]) -> Iterator[Discrepancy]:
        """Yield missing and different files; their runs are purged where they can be regenerated."""
        fit: Collection[RunId] = ()
        if any(self.repair or row.given_up for row, _ in bad):
            fit = self._purge([(row, size) for row, size in bad if row.removable])
        bad = [(row, size) for row, size in bad if not row.given_up or row.run_id in fit]
        again = {row.id for row, _ in bad if self.repair and row.removable and row.run_id in fit}
        if self.repair and bad:
            with self.cluster.ops_db.write() as session:
                record_missing(session, [row.id for row, size in bad if size is None and row.id not in again])
                record_unverified(session, [row.id for row, size in bad if size is not None])
        for row, size in bad:
            wrong = Wrong.MISSING if size is None else Wrong.DIFFERENT
            repaired = row.id in again or (self.repair and size is None)
            detail = self._detail(row, size, again=row.id in again)
            yield Discrepancy(wrong, row.path, row.size_bytes, row.run_id, repaired, detail)

    def _detail(self, row: CopyRow, size: int | None, *, again: bool) -> str:
        found = "" if size is None else f"{size} bytes found"
        if again:
            return f"{found or 'not there'}: purged, and regenerated when needed"
        if self.repair and row.removable:
            return f"{found or 'given up'}: its run is kept, or cannot be regenerated"
        return "given up" if self.repair and not found else found

    def _purge(self, rows: Sequence[tuple[CopyRow, int | None]]) -> Collection[RunId]:
        """Return the runs that lack a file and can be purged; with `repair`, purge what is left of them.

        Their products are regenerated when needed.
        """
        cluster, now = self.cluster, self.cluster.clock()
        missing = {row.id for row, size in rows if size is None}
        bad = Bad({row.run_id for row, _ in rows}, missing, {row.id for row, _ in rows} - missing)
        with cluster.ops_db.request() as session:
            look_at_all(session, now)
            fit = can_be_purged(session, cluster.location_id, bad, now)
            if fit and self.repair:
                purpose = Purpose(0, "check", "a file of each of these runs was missing or of another size")
                mark(session, cluster.location_id, pick(session, fit), purpose, now)
        if self.repair:
            finish(cluster, even_if_nothing_is_there=self.even_if_most_is_missing)
        return fit

    def _missing_staged(self, seen: Seen) -> Iterator[Discrepancy]:
        """Yield staged raw data that is missing: it is staged again."""
        cluster = self.cluster
        with cluster.ops_db.read() as session:
            staged = staged_copies(session, cluster.location_id)
        wanted = {name: copy_id for name, (copy_id, status) in staged.items() if status is PhysicalCopyStatus.STAGED}
        gone = [name for name in wanted if name not in seen.staged and not self._is_staged(name)]
        if gone and self.repair:
            with cluster.ops_db.write() as session:
                record_missing_staged(session, [wanted[name] for name in gone])
        detail = "staged again when needed" if self.repair else ""
        for name in gone:
            yield Discrepancy(Wrong.MISSING, f"{STAGED_DIRECTORY}/{name}", 0, None, self.repair, detail)

    def _is_staged(self, name: str) -> bool:
        directory = f"{STAGED_DIRECTORY}/{name}"
        files = self.cluster.store.tree((directory, ""), limit=1).files
        return bool(files) and files[0].path.startswith(f"{directory}/")

    def _accounts(self) -> Iterator[Discrepancy]:
        cluster = self.cluster
        with cluster.ops_db.write() if self.repair else cluster.ops_db.read() as session:
            wrong = wrong_accounts(session, cluster.location_id)
            if self.repair:
                correct_accounts(session, cluster.location_id, wrong, cluster.clock())
        for run_id, (said, size) in wrong.items():
            detail = f"{'no account' if said is None else f'{said} bytes in its account'}, {size} by its products"
            yield Discrepancy(Wrong.ACCOUNT, "", abs(size - (said or 0)), run_id, self.repair, detail)

    def _sizes(self, paths: Sequence[str]) -> list[int | str | None]:
        """Return the sizes of files below the base: None for a missing file, a message for one that cannot be read."""
        sizes: list[int | str | None] = []
        while len(sizes) < len(paths):
            sizes += self.cluster.store.sizes(paths[len(sizes) : len(sizes) + _PAGE])
        return sizes
