"""What products were made from, and what was made from them: whole lineages, and streams of any length."""

from collections import defaultdict
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.nodes import FileNode, Lineage, PackageNode, package_links, producer_links, run_nodes
from ccat_models.lineage.scope import FEW, ancestors, descendants, exactly, page
from ccat_models.lineage.start import Start, first_runs
from ccat_models.lineage.ways import RunNode
from ccat_models.tables.base import ProductId, RunId
from ccat_models.tables.products import DataProduct

__all__ = [
    "FileNode",
    "Lineage",
    "PackageNode",
    "RunNode",
    "ancestor_runs",
    "descendant_runs",
    "lineage_of",
    "packages_read",
    "producer_of",
    "producers_read",
]


def lineage_of(session: Session, run_id: RunId, *, most: int | None = None) -> Lineage:
    """Return the lineage of a run, in a constant number of queries, whatever its depth.

    With `most` it is shortened: `most` producers and packages of each run, `most` files of each package, and no more
    than some hundred runs, the nearest.
    """
    scope = page(session, ancestors(run_id)) if most is None else exactly(_nearest(session, run_id, most))
    runs = {run.id: run for run in run_nodes(session, scope)}
    producers, producer_counts = dict[RunId, tuple[RunId, ...]](), dict[RunId, int]()
    for reader, count, found in producer_links(session, scope, most=most):
        producers[reader] = tuple(producer for producer in found if producer in runs)
        producer_counts[reader] = count
    packages, package_counts = defaultdict[RunId, list[PackageNode]](list), dict[RunId, int]()
    for reader, count, package in package_links(session, scope, most=most):
        packages[reader].append(package)
        package_counts[reader] = count
    read = {reader: tuple(found) for reader, found in packages.items()}
    return Lineage(run_id, runs, producers, read, producer_counts, package_counts)


def ancestor_runs(
    session: Session, run_id: RunId, *, after: RunId | None = None, limit: int | None = None
) -> Iterator[RunNode]:
    """Yield a run and all runs it was made from, ordered by id: producers come before their readers.

    The next page begins `after` the last id of the page before.
    """
    return run_nodes(session, page(session, ancestors(run_id), after=after, limit=limit))


def descendant_runs(
    session: Session, start: Start, *, after: RunId | None = None, limit: int | None = None
) -> Iterator[RunNode]:
    """Yield the runs that `start` has affected, directly or through products, ordered by id.

    The next page begins `after` the last id of the page before.
    """
    return run_nodes(session, page(session, descendants(first_runs(start)), after=after, limit=limit))


def packages_read(
    session: Session, run_id: RunId, *, after: tuple[RunId, str] | None = None, limit: int | None = None
) -> Iterator[tuple[RunId, PackageNode]]:
    """Yield every package that a run was made from, with its files, once for each run that read it directly, by name.

    The next page begins `after` the last run and name of the page before.
    """
    links = package_links(session, page(session, ancestors(run_id)), after=after, limit=limit)
    return ((reader, package) for reader, _, package in links)


def producers_read(session: Session, run_id: RunId) -> Iterator[tuple[RunId, tuple[RunId, ...]]]:
    """Yield, of the runs that a run was made from, each that read products, with the runs that made those products."""
    links = producer_links(session, page(session, ancestors(run_id)))
    return ((reader, producers) for reader, _, producers in links)


def producer_of(session: Session, product_id: ProductId) -> RunId | None:
    """Return the run that made a product."""
    return session.scalar(sa.select(DataProduct.run_id).where(DataProduct.id == product_id))


def _nearest(session: Session, run_id: RunId, most: int) -> set[RunId]:
    """Return a run and the first producers of each run, generation by generation, until there are enough."""
    found = frontier = {run_id}
    while frontier:
        links = producer_links(session, exactly(frontier), most=most)
        further = {producer for _, _, producers in links for producer in producers} - found
        frontier = set(sorted(further, reverse=True)[: FEW - len(found)])
        found = found | frontier
    return found
