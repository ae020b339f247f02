from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.grouping.filter_engine import add_rules
from ccat_models.grouping.join_graph import Joins, package_graph
from ccat_models.grouping.rules import validate_rules
from ccat_models.sub_group.dimensions import Dimension, natural_key, validate_dimensions
from ccat_models.sub_group.keys import make_key
from ccat_models.tables.gaps import SubGroupChange
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.pipelines import Partitioning, ReductionStep, SubGroup, SubGroupMember
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from ccat_models.tables.taints import PackageTaint

_CHUNK = 5_000


@dataclass(frozen=True)
class RefreshReport:
    """What a refresh changed. A package that moved to another sub-group counts as removed and as added."""

    added_members: int
    removed_members: int
    new_sub_groups: int


@dataclass(frozen=True)
class _Cut:
    """The archived packages that match a partitioning's rules, with the sub-group of each, as parts of SQL."""

    partitioning_id: int
    dimensions: Sequence[Dimension]
    packages: sa.FromClause
    conditions: Sequence[sa.ColumnElement[bool]]
    natural_key: sa.ColumnElement[str]
    only: sa.Select[tuple[Any]] | None  # the ids of the packages to look at; None: all packages

    def concerns(self, package_id: sa.SQLColumnExpression[Any]) -> sa.ColumnElement[bool]:
        return sa.true() if self.only is None else package_id.in_(self.only)

    def of_sub_group(self) -> sa.ColumnElement[bool]:
        return sa.and_(SubGroup.partitioning_id == self.partitioning_id, SubGroup.natural_key == self.natural_key)

    def without_place(self) -> sa.ColumnElement[bool]:
        member = SubGroupMember
        here = sa.and_(member.partitioning_id == self.partitioning_id, member.raw_data_package_id == RawDataPackage.id)
        return ~sa.select(sa.literal(1)).select_from(member).where(here).correlate(RawDataPackage).exists()


def find_or_create_partitioning(session: Session, data_grouping_id: int, dims: Sequence[str]) -> Partitioning:
    """Return the partitioning of the grouping by these dimensions; there is at most one.

    Raises InvalidDeclaration for names that `validate_dimensions` refuses.
    """
    validate_dimensions(dims)
    wanted = {"data_grouping_id": data_grouping_id, "group_by": "+".join(dims)}
    found = session.scalars(sa.select(Partitioning).filter_by(**wanted)).one_or_none()
    if found is None:
        session.execute(insert_or_ignore(session, Partitioning).values(wanted))
        found = session.scalars(sa.select(Partitioning).filter_by(**wanted)).one()
    return found


def refresh(
    session: Session, partitioning: Partitioning, now: datetime, *, only: sa.Select[tuple[Any]] | None = None
) -> RefreshReport:
    """Make the members of the partitioning's sub-groups agree with its rules, its dimensions and the archived packages.

    Every archived package that matches and is not tainted becomes a member of one sub-group. Sub-groups stay when they
    become empty; a sub-group that lost a package is marked as changed. With `only`, other packages are taken as
    unchanged. A second refresh of the same partitioning waits for the first; one without changes writes nothing. Raises
    InvalidDeclaration for stored rules or dimensions that are no longer valid.
    """
    cut = _cut(partitioning, only)
    # FOR NO KEY UPDATE: a second refresh waits, rows that refer to this one do not. SQLite has one writer anyway.
    lock = sa.select(Partitioning.id).where(Partitioning.id == partitioning.id).with_for_update(key_share=True)
    session.execute(lock)
    with _without_nested_loops(session) if only is None else nullcontext():
        removed = _remove(session, cut)
        if not session.scalar(_some_without_place(cut)):
            return RefreshReport(0, removed, 0)
        created = _create_sub_groups(session, cut, now)
        return RefreshReport(_rowcount(session, _places(cut)), removed, created)


def refresh_all(session: Session, partitioning_ids: Collection[int], now: datetime) -> None:
    """Refresh several partitionings, each once, in the order of their numbers."""
    for partitioning_id in sorted(set(partitioning_ids)):
        refresh(session, session.get_one(Partitioning, partitioning_id), now)


@contextmanager
def _without_nested_loops(session: Session) -> Iterator[None]:
    # Without statistics of a new partitioning, PostgreSQL expects a few members and reads all of them again for each
    # package: minutes instead of seconds for 420,000. A hash join reads both once, whatever the statistics.
    # An unavoidable nested loop now has a very high cost, which would start the slow JIT compiler: it is off, too.
    settings = ("enable_nestloop", "jit") if session.get_bind().dialect.name == "postgresql" else ()
    for setting in settings:
        session.execute(sa.text(f"SET LOCAL {setting} TO off"))
    yield
    for setting in settings:  # after an error, the rollback resets them
        session.execute(sa.text(f"SET LOCAL {setting} TO DEFAULT"))


def _cut(partitioning: Partitioning, only: sa.Select[tuple[Any]] | None) -> _Cut:
    grouping = partitioning.data_grouping
    dimensions = validate_dimensions(partitioning.dimensions)
    joins = Joins(package_graph())
    conditions = add_rules(joins, validate_rules(grouping.filter_rules), grouping.instrument_module_id)
    for dimension in dimensions:
        joins.allow(dimension.table)
    archived = [RawDataPackage.state == PackageState.ARCHIVED, RawDataPackage.checksum.is_not(None), _is_clean()]
    if only is not None:
        archived.append(RawDataPackage.id.in_(only))
    whole = [*archived, *conditions]
    return _Cut(partitioning.id, dimensions, joins.from_clause(), whole, natural_key(dimensions), only)


def _is_clean() -> sa.ColumnElement[bool]:
    """Return the condition that the package has no taint that still applies."""
    taint = PackageTaint
    taints = sa.select(sa.literal(1)).where(taint.raw_data_package_id == RawDataPackage.id, taint.lifted_at.is_(None))
    return ~taints.correlate_except(taint).exists()


def _remove(session: Session, cut: _Cut) -> int:
    """Remove the members that no longer belong to their sub-group; return their number."""
    member = SubGroupMember
    gone = _gone(cut)
    if not session.scalar(sa.select(sa.select(member).where(*gone).exists())):
        return 0
    steps = (
        sa.select(ReductionStep.id, member.sub_group_id)
        .join(member, member.partitioning_id == ReductionStep.partitioning_id)
        .where(*gone)
        .distinct()
    )
    session.execute(sa.insert(SubGroupChange).from_select(["step_id", "sub_group_id"], steps))
    return _rowcount(session, sa.delete(member).where(*gone))


def _gone(cut: _Cut) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of members that no longer belong to their sub-group."""
    member = SubGroupMember
    stays = (
        sa.select(sa.literal(1))
        .select_from(cut.packages.join(SubGroup, cut.of_sub_group()))
        .where(RawDataPackage.id == member.raw_data_package_id, SubGroup.id == member.sub_group_id, *cut.conditions)
        .correlate(member)
    )
    here = [member.partitioning_id == cut.partitioning_id, cut.concerns(member.raw_data_package_id)]
    return [*here, ~stays.exists()]


def _some_without_place(cut: _Cut) -> sa.Select[tuple[bool]]:
    some = sa.select(sa.literal(1)).select_from(cut.packages).where(*cut.conditions, cut.without_place())
    return sa.select(some.exists())


def _new_cells(cut: _Cut) -> sa.Select[Any]:
    values = [dimension.text().label(f"value_{index}") for index, dimension in enumerate(cut.dimensions)]
    known = sa.select(sa.literal(1)).select_from(SubGroup).where(cut.of_sub_group())
    return (
        sa.select(cut.natural_key.label("natural_key"), *values)
        .select_from(cut.packages)
        .where(*cut.conditions, cut.without_place(), ~known.correlate_except(SubGroup).exists())
        .distinct()
    )


def _create_sub_groups(session: Session, cut: _Cut, now: datetime) -> int:
    names = [dimension.name for dimension in cut.dimensions]
    created = 0
    for rows in session.execute(_new_cells(cut), execution_options={"yield_per": _CHUNK}).partitions():
        session.execute(sa.insert(SubGroup), [_sub_group(cut.partitioning_id, names, row, now) for row in rows])
        created += len(rows)
    return created


def _sub_group(partitioning_id: int, names: Sequence[str], row: sa.Row[Any], now: datetime) -> dict[str, Any]:
    natural_key, *values = row
    return {
        "partitioning_id": partitioning_id,
        "key": make_key(names, values),
        "natural_key": natural_key,
        "dimensions": dict(zip(names, values, strict=True)),
        "created_at": now,
    }


def _places(cut: _Cut) -> sa.Insert:
    places = (
        sa.select(sa.literal(cut.partitioning_id), RawDataPackage.id, SubGroup.id)
        .select_from(cut.packages.join(SubGroup, cut.of_sub_group()))
        .where(*cut.conditions, cut.without_place())
    )
    return sa.insert(SubGroupMember).from_select(["partitioning_id", "raw_data_package_id", "sub_group_id"], places)


def _rowcount(session: Session, statement: sa.Delete | sa.Insert) -> int:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, sa.CursorResult)
    return result.rowcount
