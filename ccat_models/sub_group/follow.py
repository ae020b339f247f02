"""Following packages: memberships are brought up to date for those that changed, and what they touch is noted."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.sub_group.refresh import refresh
from ccat_models.tables.gaps import PackageChange, SubGroupChange
from ccat_models.tables.pipelines import Partitioning, ReductionStep, SubGroupMember
from ccat_models.temporary import analyze, make_anew

changed_package = sa.Table(
    "changed_package",
    sa.MetaData(),  # its own: never part of the migrated schema
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
MANY = 50_000


def packages_changed() -> sa.ColumnElement[bool]:
    """Return whether a change of packages is still to be followed."""
    return sa.select(PackageChange.id).exists()


def follow_packages(session: Session, now: datetime, *, many: int = MANY) -> None:
    """Follow all changes of packages that are noted, in every partitioning; in a request's transaction.

    The sub-groups that a changed package is in, or was in (`refresh` notes those), are noted as touched for each step
    that is cut so. More than `many` packages are followed by looking at all there are.
    """
    noted, known = PackageChange, {row.id: row for row in session.scalars(sa.select(Partitioning))}
    whole = _whole(session, set(known))
    make_anew(session, changed_package)
    ids = sa.select(noted.raw_data_package_id).where(noted.raw_data_package_id.is_not(None)).distinct()
    session.execute(sa.insert(changed_package).from_select(["id"], ids))
    analyze(session, changed_package)
    if (session.scalar(sa.select(sa.func.count()).select_from(changed_package)) or 0) > many:
        whole = set(known)
    for partitioning_id, partitioning in sorted(known.items()):
        refresh(session, partitioning, now, only=None if partitioning_id in whole else sa.select(changed_package.c.id))
    if whole != set(known):
        _note_touched(session)
    steps = sa.select(ReductionStep.id, sa.cast(sa.null(), sa.BigInteger))
    _note(session, steps.where(ReductionStep.partitioning_id.in_(whole)))
    session.execute(sa.delete(noted).execution_options(synchronize_session=False))


def _whole(session: Session, known: set[int]) -> set[int]:
    """Return the partitionings of which all packages are to be looked at."""
    noted = PackageChange
    named = sa.select(noted.partitioning_id).where(noted.raw_data_package_id.is_(None)).distinct()
    found = set(session.scalars(named))
    return known if None in found else {one for one in found if one is not None} & known


def _note_touched(session: Session) -> None:
    member = SubGroupMember
    rows = (
        sa.select(ReductionStep.id, member.sub_group_id)
        .join(member, member.partitioning_id == ReductionStep.partitioning_id)
        .where(member.raw_data_package_id.in_(sa.select(changed_package.c.id)))
        .distinct()
    )
    _note(session, rows)


def _note(session: Session, rows: sa.Select[Any]) -> None:
    session.execute(sa.insert(SubGroupChange).from_select(["step_id", "sub_group_id"], rows))
