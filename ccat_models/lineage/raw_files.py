"""The raw files that products were made from, and where their packages' copies lie."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.scope import ancestors_of
from ccat_models.product.copies import Copies, copies_of
from ccat_models.tables.base import PackageId, RunId
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.places import PhysicalCopy
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage

Place = tuple[PackageId, str]


@dataclass(frozen=True)
class RawFile:
    """A raw file as it is registered, and the copies of its package."""

    package_id: PackageId
    package: str
    path: str
    size_bytes: int
    sha256: str
    copies: Copies

    @property
    def place(self) -> Place:
        """Return where the file stands in the order of all."""
        return self.package_id, self.path


def count_and_size(session: Session, runs: sa.Select[tuple[RunId]]) -> tuple[int, int]:
    """Return how many raw files runs were made from, however far back, and how many bytes these have."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(RawDataFile.size_bytes), 0))
    count, size = session.execute(query.where(RawDataFile.raw_data_package_id.in_(_packages(runs)))).one()
    return int(count), int(size)


def packages_behind(session: Session, runs: sa.Select[tuple[RunId]]) -> Sequence[PackageId]:
    """Return the packages that runs were made from, however far back, in as little memory as their numbers take."""
    query = _packages(runs).distinct().order_by(RunInputPackage.raw_data_package_id)
    return cast("Sequence[PackageId]", array("q", session.scalars(query)))


def raw_file_page(
    session: Session, packages: Sequence[PackageId], location_id: int, *, after: Place | None, limit: int
) -> Sequence[RawFile]:
    """Return the files of packages that follow one, in the order of packages and paths."""
    file = RawDataFile
    query = (
        sa.select(RawDataPackage.id, RawDataPackage.name, file.path, file.size_bytes, file.sha256)
        .join(RawDataPackage, RawDataPackage.id == file.raw_data_package_id)
        .where(file.raw_data_package_id.in_(packages))
        .order_by(file.raw_data_package_id, file.path)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.tuple_(file.raw_data_package_id, file.path) > sa.tuple_(*map(sa.literal, after)))
    rows = session.execute(query).tuples().all()
    copies = copies_of(session, PhysicalCopy.raw_data_package_id, {row[0] for row in rows}, location_id)
    return [RawFile(*row, copies=copies.get(row[0], Copies())) for row in rows]


def _packages(runs: sa.Select[tuple[RunId]]) -> sa.Select[tuple[PackageId]]:
    made_from = ancestors_of(sa.select(runs.subquery().c[0].label("run_id")))
    return sa.select(RunInputPackage.raw_data_package_id).where(
        RunInputPackage.run_id.in_(sa.select(made_from.c.run_id))
    )
