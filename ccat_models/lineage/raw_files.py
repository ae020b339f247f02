"""The raw files that products were made from, and the copies of their packages."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.scope import ancestors_of
from ccat_models.product.copies import Copies, copies_of
from ccat_models.tables.base import PackageId, RunId
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.places import PhysicalCopy
from ccat_models.tables.raw_data import PackageContent, RawDataFile, RawDataPackage

Place = tuple[PackageId, str, str]
_CHECKSUM_BYTES = 32


@dataclass(frozen=True)
class RawFile:
    """A raw file as registered, and the copies of its package, if the package still has that content.

    `replaced_by` is the checksum of the package's present content, if that is another one.
    """

    package_id: PackageId
    package: str
    package_checksum: str
    path: str
    size_bytes: int
    sha256: str
    replaced_by: str | None
    copies: Copies

    @property
    def place(self) -> Place:
        """Return the file's position in the order of all."""
        return self.package_id, self.package_checksum, self.path


@dataclass(frozen=True)
class PackagesRead:
    """Packages as runs read them, stored in little memory."""

    ids: "array[int]"
    checksums: bytes

    def parts(self, size: int) -> Iterator[Sequence[PackageContent]]:
        """Yield them in portions of `size`, ordered by id and checksum."""
        for first in range(0, len(self.ids), size):
            places = range(first, min(first + size, len(self.ids)))
            yield [(PackageId(self.ids[place]), self._checksum(place)) for place in places]

    def _checksum(self, place: int) -> str:
        return self.checksums[place * _CHECKSUM_BYTES : (place + 1) * _CHECKSUM_BYTES].hex()


def count_and_size(session: Session, runs: sa.Select[tuple[RunId]]) -> tuple[int, int]:
    """Return the number of raw files that runs were made from, directly or not, and their bytes."""
    read = _packages(runs).subquery()
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(RawDataFile.size_bytes), 0))
    files = query.join(read, RawDataFile.of(read.c.raw_data_package_id, read.c.checksum))
    count, size = session.execute(files).one()
    return int(count), int(size)


def packages_behind(session: Session, runs: sa.Select[tuple[RunId]]) -> PackagesRead:
    """Return the packages that runs were made from, directly or not, each with every checksum that was read."""
    query = _packages(runs).order_by(RunInputPackage.raw_data_package_id, RunInputPackage.checksum)
    ids, checksums = array("q"), bytearray()
    for package_id, checksum in session.execute(query).tuples():
        ids.append(package_id)
        checksums += bytes.fromhex(checksum)
    return PackagesRead(ids, bytes(checksums))


def raw_file_page(
    session: Session, packages: Sequence[PackageContent], location_id: int, *, after: Place | None, limit: int
) -> Sequence[RawFile]:
    """Return the next `limit` files of packages, as they were read, ordered by package and path."""
    file, package = RawDataFile, RawDataPackage
    place = (file.raw_data_package_id, file.package_checksum, file.path)
    replaced_by = sa.case((package.checksum.is_distinct_from(file.package_checksum), package.checksum))
    query = (
        sa.select(package.id, package.name, file.package_checksum, file.path, file.size_bytes, file.sha256, replaced_by)
        .join(package, package.id == file.raw_data_package_id)
        .where(sa.tuple_(*place[:2]).in_(packages))
        .order_by(*place)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.tuple_(*place) > sa.tuple_(*map(sa.literal, after)))
    rows: Sequence[sa.Row[Any]] = session.execute(query).all()
    of_today = {row[0] for row in rows if row[-1] is None}
    copies = copies_of(session, PhysicalCopy.raw_data_package_id, of_today, location_id)
    nowhere = Copies()
    return [RawFile(*(*row, nowhere if row[-1] else copies.get(row[0], nowhere))) for row in rows]


def _packages(runs: sa.Select[tuple[RunId]]) -> sa.Select[tuple[PackageId, str]]:
    made_from = ancestors_of(sa.select(runs.subquery().c[0].label("run_id")))
    link = RunInputPackage
    read = sa.select(link.raw_data_package_id, link.checksum).where(link.run_id.in_(sa.select(made_from.c.run_id)))
    return read.distinct()
