"""Invariants of rows and disk, checked one by one, without a query of the code under test."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.view import PipelineView
from ccat_models.tables.execution import IN_FLIGHT, RerunRequest, RunStatus, RunStatusHistory
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import SubGroupGap
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import Keep, SubGroupMember
from ccat_models.tables.places import PhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from ccat_models.tables.space import ProductPin, RunSpace, SpaceState

HERE = 1
_GONE = (SpaceState.LOST, SpaceState.REPLACED)
_ABSENT = (SpaceState.PURGED, SpaceState.MARKED)
_NEVER_FILLED = ("up_to_date", "retries_exhausted", "quality_blocked", "disabled")
_TABLES = (Run, RunSpace, RunInputProduct, RunInputPackage, RawDataPackage, SubGroupGap, SubGroupMember, ProductPin)
_ALL = {table: sa.select(table.__table__) for table in (*_TABLES, RerunRequest)}
_PRODUCTS = (
    sa.select(DataProduct.id, DataProduct.run_id, DataProduct.type, DataProduct.size_bytes)
    .add_columns(PhysicalCopy.path, PhysicalCopy.status, PhysicalCopy.data_location_id)
    .add_columns(PhysicalCopy.checksum_verified_at)
    .join(PhysicalCopy, PhysicalCopy.data_product_id == DataProduct.id)
)
_READABLE = sa.select(PhysicalCopy.raw_data_package_id).where(
    PhysicalCopy.raw_data_package_id.is_not(None), PhysicalCopy.status != PhysicalCopyStatus.DELETED
)
_SPACES = sa.select(RunSpace.run_id, RunSpace.state, RunSpace.size_bytes)
_COPIES = {  # of removable products, by the state of their run
    SpaceState.PRESENT: PhysicalCopyStatus.PRESENT,
    SpaceState.MARKED: PhysicalCopyStatus.DELETION_SCHEDULED,
    **dict.fromkeys((*_GONE, SpaceState.PURGED), PhysicalCopyStatus.DELETED),
}
_LASTING = (
    sa.select(RunInputProduct.__table__),
    sa.select(RunInputPackage.__table__),
    sa.select(DataProduct.id, DataProduct.run_id, DataProduct.path, DataProduct.size_bytes, DataProduct.sha256),
    sa.select(RunStatusHistory.__table__),
)


def lasting(session: Session) -> set[tuple[Any, ...]]:
    """Return the rows of lineage and history, which only ever become more."""
    return {(number, *row) for number, query in enumerate(_LASTING) for row in session.execute(query)}


def check_accounts(session: Session, base: Path) -> None:
    """Compare runs' states, their products' copies, the files, and the accounts of their sizes."""
    spaces = {row.run_id: row for row in session.execute(_SPACES)}
    sizes: dict[int, int] = defaultdict(int)
    for row in session.execute(_PRODUCTS):
        if row.data_location_id != HERE:
            continue
        removable = row.type in REMOVABLE_TYPES
        expected = _COPIES[spaces[row.run_id].state] if removable else PhysicalCopyStatus.PRESENT
        assert row.status is expected, row
        there = (base / row.path).is_file()
        assert there or row.status is not PhysicalCopyStatus.PRESENT, f"{row.path} is needed"
        assert not there or row.status is not PhysicalCopyStatus.DELETED, f"{row.path} was not removed"
        sizes[row.run_id] += 0 if row.status is PhysicalCopyStatus.DELETED else row.size_bytes
    assert {run: space.size_bytes for run, space in spaces.items()} == {run: sizes[run] for run in spaces}


class Rows:
    """All rows that bear on space, as they are now."""

    def __init__(self, session: Session, view: PipelineView, now: datetime, *, marking: bool = False) -> None:
        rows = {table: list(session.execute(query)) for table, query in _ALL.items()}
        self.now, self.view = now, view
        self.steps = {step.step_id: step for step in view.steps}
        self.runs = {row.id: row for row in rows[Run]}
        self.spaces = {row.run_id: row for row in rows[RunSpace]}
        self.packages = {row.id: row for row in rows[RawDataPackage]}
        self.readable = set(session.scalars(_READABLE))
        self.gaps = {(row.step_id, row.sub_group_id): row for row in rows[SubGroupGap]}
        self.pinned = {row.run_id for row in rows[ProductPin] if row.unpinned_at is None}
        self.requests = rows[RerunRequest]
        purges = [row.purge_id for row in rows[RunSpace] if row.state is SpaceState.MARKED]
        self.just_marked: set[int] = set()
        if marking:
            self.just_marked = {run for run, row in self.spaces.items() if row.purge_id == max(purges)}
        self.read: dict[int, set[int]] = defaultdict(set)
        self.readers: dict[int, set[int]] = defaultdict(set)
        for row in rows[RunInputProduct]:
            self.read[row.run_id].add(row.producer_run_id)
            self.readers[row.producer_run_id].add(row.run_id)
        self.read_packages: dict[int, list[Any]] = defaultdict(list)
        for row in rows[RunInputPackage]:
            self.read_packages[row.run_id].append(row)
        self.members: dict[int, set[int]] = defaultdict(set)
        for row in rows[SubGroupMember]:
            self.members[row.sub_group_id].add(row.raw_data_package_id)
        self.products: dict[int, list[Any]] = defaultdict(list)
        for row in session.execute(_PRODUCTS):
            if row.type in REMOVABLE_TYPES:
                self.products[row.run_id].append(row)

    def state(self, run: int) -> SpaceState:
        """Return the state of a run's products, before the newest purge marked them."""
        state: SpaceState = self.spaces[run].state
        return SpaceState.PRESENT if run in self.just_marked else state

    def instead(self, run: int) -> int:
        """Return the run that has taken a run's place, the run itself where none has."""
        while self.state(run) is SpaceState.REPLACED:
            run = self.spaces[run].replaced_by_run_id
        return run

    def can_be_made(self, run: int, *, now: bool = False) -> bool:
        """Say whether a run's products can be regenerated, whatever of its inputs must be regenerated for that.

        `now` asks whether the raw data can be read now, too.
        """
        for link in self.read_packages[run]:
            package = self.packages[link.raw_data_package_id]
            if package.state is not PackageState.ARCHIVED or package.checksum != link.checksum:
                return False
            if now and package.id not in self.readable:
                return False
        return all(self.is_to_be_had(producer, now=now) for producer in self.read[run])

    def is_to_be_had(self, run: int, *, now: bool = False) -> bool:
        """Say whether a run's products exist or can be regenerated."""
        run = self.instead(run)
        state = self.state(run)
        return state is SpaceState.PRESENT or (state in _ABSENT and self.can_be_made(run, now=now))

    def is_spent(self, run: int) -> bool:
        """Say whether regenerating a run's products, or their inputs, has failed since the last request."""
        run = self.instead(run)
        if self.state(run) not in _ABSENT:
            return False
        own = self.runs[run]
        cell = (own.step_id, own.sub_group_id)
        asked = [one.last_run_id or 0 for one in self.requests if (one.step_id, one.sub_group_id) == cell]
        tried = [
            other.id
            for other in self.runs.values()
            if other.regenerates_run_id == run and other.status in (RunStatus.FAILED, RunStatus.CANCELLED)
        ]
        in_vain = any(again > max(asked, default=-1) for again in tried)
        return in_vain or any(self.is_spent(producer) for producer in self.read[run])

    def current(self, run: int) -> bool:
        """Say whether a run's products are what later steps read, or people."""
        space = self.spaces[run]
        gap = self.gaps.get((space.step_id, space.sub_group_id))
        return gap is None or gap.current_run_id == run

    def needed(self, gaps: Iterator[Any]) -> set[int]:
        """Return the runs whose products some gaps would read, and those that these are made of where not there."""
        found: set[int] = set()
        waiting = [run for gap in gaps for run in self._read_by(gap)]
        while waiting:
            run = waiting.pop()
            if run in found:
                continue
            found.add(run)
            if self.state(run) is SpaceState.REPLACED:
                waiting.append(self.spaces[run].replaced_by_run_id)
            elif self.state(run) in _ABSENT:
                waiting.extend(self.read[run])
        return found

    def to_be_filled(self) -> Iterator[Any]:
        """Yield the gaps that are open, or will be."""
        for gap in self.gaps.values():
            if gap.alive and (gap.reason not in _NEVER_FILLED or gap.will_run):
                yield gap

    def that_wait(self) -> Iterator[Any]:
        """Yield the gaps whose inputs were purged; where an old run is being regenerated, that hides the reason."""
        for gap in self.gaps.values():
            hidden = gap.reason == "in_flight" and self.runs[gap.latest_run_id].regenerates_run_id is not None
            if hidden or gap.reason == "inputs_purged":
                yield gap

    def _read_by(self, gap: Any) -> Iterator[int]:
        mine = self.members[gap.sub_group_id]
        for upstream in self.steps[gap.step_id].upstream_ids:
            for (step_id, sub_group_id), other in self.gaps.items():
                if step_id == upstream and other.current_run_id and self.members[sub_group_id] & mine:
                    yield other.current_run_id

    def why_kept(self, run: int, needed: set[int]) -> list[str]:
        """Return all that speaks against the removal of a run's products."""
        space, products = self.spaces[run], self.products[run]
        step = self.steps[space.step_id]
        keep, current = step.retention.keep, self.current(run)
        uses = [space.last_used_at, *(self.runs[reader].created_at for reader in self.readers[run])]
        elsewhere = {row.id for row in products if row.data_location_id != HERE}
        against = {
            "kept always": keep is Keep.ALWAYS,
            "not superseded": keep is Keep.UNTIL_SUPERSEDED and current,
            "used lately": keep is Keep.DAYS and max(uses) + timedelta(days=step.retention.days or 0) > self.now,
            "current science": (space.has_science or step.final) and current,
            "the only copy": step.final and not elsewhere.issuperset(row.id for row in products),
            "pinned": run in self.pinned,
            "being read": any(self.runs[reader].status in IN_FLIGHT for reader in self.readers[run]),
            "unverified": any(row.checksum_verified_at is None for row in products if row.data_location_id == HERE),
            "cannot be regenerated": not self.can_be_made(run, now=True),
            "needed": run in needed,
        }
        return [reason for reason, holds in against.items() if holds]

    def _inputs(self, run: int) -> set[Any]:
        """Return what a run read: packages as they were, and the runs that first made the products."""
        packages = {(link.raw_data_package_id, link.checksum) for link in self.read_packages[run]}
        return packages | {self._first(producer) for producer in self.read[run]}

    def _first(self, run: int) -> int:
        while (first := self.runs[run].regenerates_run_id) is not None:
            run = first
        return run

    def twice(self, run: int) -> list[int]:
        """Return the runs that make a new one superfluous: completed with the same inputs, no rerun requested since."""
        new = self.runs[run]
        asked = [
            one.last_run_id or 0
            for one in self.requests
            if (one.step_id, one.sub_group_id) == (new.step_id, new.sub_group_id)
        ]
        same = ("step_id", "sub_group_id", "config_id", "software_version_id")
        return [
            old.id
            for old in self.runs.values()
            if old.id < run
            and old.status is RunStatus.COMPLETED
            and old.is_result
            and all(getattr(old, name) == getattr(new, name) for name in same)
            and self._inputs(old.id) == self._inputs(run)
            and self.state(old.id) not in _GONE
            and old.id > max(asked, default=-1)
        ]


def check_choice(rows: Rows, wanted_bytes: int) -> None:
    """Check that the marked products are removable, least recently used first, and enough or all that there are."""
    needed, marked = rows.needed(rows.to_be_filled()), rows.just_marked
    kept = {run: rows.why_kept(run, needed) for run in marked}
    assert not any(kept.values()), kept
    there = [
        run for run, space in rows.spaces.items() if rows.state(run) is SpaceState.PRESENT and space.removable_bytes
    ]
    left = {run for run in there if run not in marked and not rows.why_kept(run, needed)}
    spaces = sorted((rows.spaces[run] for run in marked), key=_use)
    sizes = [space.removable_bytes for space in spaces]
    if left:
        assert sum(sizes) >= wanted_bytes, f"{left} may go"
        assert _use(spaces[-1]) < min(_use(rows.spaces[run]) for run in left)
    assert sum(sizes[:-1]) < wanted_bytes, "more than was wanted"


def check_new(rows: Rows, new: set[int], *, standing: bool) -> None:
    """Check that each new run has its reason: nothing is made twice, nor regenerated that no run needs."""
    needed = rows.needed(rows.that_wait())
    for run in new:
        first = rows.runs[run].regenerates_run_id
        if first is None:
            assert not rows.twice(run), f"{run} was made before"
            continue
        flying = [one.id for one in rows.runs.values() if one.regenerates_run_id == first and one.status in IN_FLIGHT]
        assert flying == [run]
        assert rows.state(first) is SpaceState.PURGED
        assert rows.can_be_made(first)
        assert not rows.is_spent(first)
        assert not standing or first in needed, f"no run needs {first}"


def check_rest(rows: Rows) -> None:
    """Check that nothing waits needlessly: needed products that are still purged failed to be regenerated."""
    waiting = list(rows.that_wait())
    for gap in waiting:
        needed = rows.needed(iter([gap]))
        assert any(rows.is_spent(run) for run in needed), gap
    assert not [run for run, space in rows.spaces.items() if space.state is SpaceState.MARKED]
    assert not [run for run in rows.runs.values() if run.status in IN_FLIGHT]


def _use(space: Any) -> tuple[datetime, int]:
    return space.last_used_at, space.run_id
