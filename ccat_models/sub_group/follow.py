"""Following packages: memberships are updated for packages that changed, and the sub-groups concerned are marked."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.sub_group.refresh import refresh
from ccat_models.tables.gaps import PackageChange, SubGroupChange
from ccat_models.tables.pipelines import Partitioning, ReductionStep, SubGroupMember
from ccat_models.temporary import analyze, create_empty

changed_package = sa.Table(
    "changed_package",
    sa.MetaData(),  # its own: never part of the migrated schema
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
MANY = 50_000


def packages_changed() -> sa.ColumnElement[bool]:
    """Return the condition that a change of packages has not been followed yet."""
    return sa.select(PackageChange.id).exists()


def follow_packages(session: Session, now: datetime, *, many: int = MANY) -> None:
    """Follow all recorded changes of packages, in every partitioning; in a request's transaction.

    The sub-groups that a changed package is in, or was in (`refresh` marks those), are marked as changed for each step
    of the partitioning. If more than `many` packages changed, all packages are read again instead.
    """
    changes, known = PackageChange, {row.id: row for row in session.scalars(sa.select(Partitioning))}
    whole = _whole(session, set(known))
    create_empty(session, changed_package)
    ids = sa.select(changes.raw_data_package_id).where(changes.raw_data_package_id.is_not(None)).distinct()
    session.execute(sa.insert(changed_package).from_select(["id"], ids))
    analyze(session, changed_package)
    if (session.scalar(sa.select(sa.func.count()).select_from(changed_package)) or 0) > many:
        whole = set(known)
    for partitioning_id, partitioning in sorted(known.items()):
        refresh(session, partitioning, now, only=None if partitioning_id in whole else sa.select(changed_package.c.id))
    if whole != set(known):
        _mark_changed(session)
    steps = sa.select(ReductionStep.id, sa.cast(sa.null(), sa.BigInteger))
    _mark(session, steps.where(ReductionStep.partitioning_id.in_(whole)))
    session.execute(sa.delete(changes).execution_options(synchronize_session=False))


def _whole(session: Session, known: set[int]) -> set[int]:
    """Return the partitionings of which all packages must be read again."""
    changes = PackageChange
    named = sa.select(changes.partitioning_id).where(changes.raw_data_package_id.is_(None)).distinct()
    found = set(session.scalars(named))
    return known if None in found else {one for one in found if one is not None} & known


def _mark_changed(session: Session) -> None:
    member = SubGroupMember
    rows = (
        sa.select(ReductionStep.id, member.sub_group_id)
        .join(member, member.partitioning_id == ReductionStep.partitioning_id)
        .where(member.raw_data_package_id.in_(sa.select(changed_package.c.id)))
        .distinct()
    )
    _mark(session, rows)


def _mark(session: Session, rows: sa.Select[Any]) -> None:
    session.execute(sa.insert(SubGroupChange).from_select(["step_id", "sub_group_id"], rows))
