"""The parts of a lineage: runs, the raw packages that they read, and the packages' files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.scope import Scope
from ccat_models.lineage.ways import RUNS, RunNode, RunReader
from ccat_models.tables.base import PackageId, RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class FileNode:
    """A raw file of a package."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackageNode:
    """A raw data package with the checksum that a run read, and the first of its `file_count` files."""

    id: PackageId
    name: str
    checksum: str
    files: tuple[FileNode, ...]
    file_count: int


@dataclass(frozen=True)
class Lineage:
    """What a run's products were made from, back to the raw files.

    The counts include producers and packages that are not listed.
    """

    root: RunId
    runs: Mapping[RunId, RunNode]
    producers: Mapping[RunId, tuple[RunId, ...]]  # run → the runs whose products it read
    packages: Mapping[RunId, tuple[PackageNode, ...]]  # run → the packages it read
    producer_counts: Mapping[RunId, int] = field(default_factory=dict)
    package_counts: Mapping[RunId, int] = field(default_factory=dict)


def stream(session: Session, query: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
    """Yield a query's rows in portions, so that memory is bounded."""
    options = {"yield_per": _ROWS_AT_ONCE}
    # Queries select columns only: the connection is faster than the session, which looks for objects in each row.
    with session.connection().execute(query, execution_options=options) as result:
        yield from result.partitions()


def run_nodes(session: Session, scope: Scope) -> Iterator[RunNode]:
    """Yield the runs ordered by id: a producer comes before the readers of its products."""
    query = RUNS.join(scope, scope.c.run_id == Run.id).order_by(scope.c.run_id)
    reader = RunReader(session)
    for rows in stream(session, query):
        yield from reader.nodes(rows)


def producer_links(
    session: Session, scope: Scope, *, most: int | None = None
) -> Iterator[tuple[RunId, int, tuple[RunId, ...]]]:
    """Yield each run that read products, the number of runs that made them, and the first `most` of these runs."""
    links = (
        sa.select(RunInputProduct.run_id, RunInputProduct.producer_run_id.label("producer"))
        .join(scope, scope.c.run_id == RunInputProduct.run_id)
        .distinct()
        .subquery()
    )
    rank = sa.func.row_number().over(partition_by=links.c.run_id, order_by=links.c.producer).label("rank")
    count = sa.func.count().over(partition_by=links.c.run_id).label("count")
    ranked = sa.select(links, count, rank).subquery()
    query = sa.select(ranked.c.run_id, ranked.c.count, ranked.c.producer).order_by(ranked.c.run_id, ranked.c.rank)
    if most is not None:
        query = query.where(ranked.c.rank <= most)
    for (run_id, found), rows in groupby(chain.from_iterable(stream(session, query)), itemgetter(0, 1)):
        yield run_id, found, tuple(row[2] for row in rows)


def package_links(
    session: Session,
    scope: Scope,
    *,
    most: int | None = None,
    after: tuple[RunId, str] | None = None,
    limit: int | None = None,
) -> Iterator[tuple[RunId, int, PackageNode]]:
    """Yield, for each run, the number of packages it read, and each of the first `most` of them with `most` files.

    With `after` (run, package name) and `limit`, only the links in that range are yielded and counted.
    """
    rank = sa.func.row_number().over(partition_by=RunInputPackage.run_id, order_by=RawDataPackage.name).label("rank")
    count = sa.func.count().over(partition_by=RunInputPackage.run_id).label("count")
    read = (
        sa.select(RunInputPackage.run_id, count, RawDataPackage.id, RawDataPackage.name)
        .add_columns(RunInputPackage.checksum, rank)
        .join(scope, scope.c.run_id == RunInputPackage.run_id)
        .join(RawDataPackage, RawDataPackage.id == RunInputPackage.raw_data_package_id)
    )
    if after is not None:
        read = read.where(sa.tuple_(RunInputPackage.run_id, RawDataPackage.name) > sa.tuple_(*map(sa.literal, after)))
    if limit is not None:
        read = read.order_by(RunInputPackage.run_id, RawDataPackage.name).limit(limit)
    for rows in _by_package(session, read.subquery(), most):
        _, run_id, found, package_id, name, checksum, files = rows[0][:7]
        listed = tuple(FileNode(*row[7:10]) for row in rows if row[7] is not None)
        yield run_id, found, PackageNode(package_id, name, checksum, listed, files)


def _by_package(session: Session, read: sa.Subquery, most: int | None) -> Iterator[list[sa.Row[Any]]]:
    file = RawDataFile
    window: dict[str, Any] = {"partition_by": (read.c.run_id, read.c.rank)}
    files = (
        sa.select(read.c.rank, read.c.run_id, read.c.count, read.c.id, read.c.name, read.c.checksum)
        .add_columns(sa.func.count(file.id).over(**window).label("files"), file.path, file.sha256, file.size_bytes)
        .add_columns(sa.func.row_number().over(**window, order_by=file.path).label("file_rank"))
        .select_from(read)
        .outerjoin(file, file.of(read.c.id, read.c.checksum))
    )
    if most is not None:
        files = files.where(read.c.rank <= most)
    shown = files.subquery()
    query = sa.select(shown).order_by(shown.c.run_id, shown.c.rank, shown.c.file_rank)
    if most is not None:
        query = query.where(shown.c.file_rank <= most)
    for _, rows in groupby(chain.from_iterable(stream(session, query)), itemgetter(1, 0)):
        yield list(rows)
