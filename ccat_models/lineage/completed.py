"""The records of completed runs: the completed attempt, its products, and the inputs that have changed since."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.validity import has_restored
from ccat_models.product.listing import products_of_runs
from ccat_models.run.newest import is_current
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, Purpose, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.places import READABLE, DataProductPhysicalCopy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct, QualityMetric
from ccat_models.tables.raw_data import PackageState, RawDataPackage


@dataclass(frozen=True)
class CompletedRun:
    """A completed run: its last attempt, its products by path, its numbers by product path and name.

    Its inputs are only compared with what is registered now, never listed: a caller may ask for all runs of a pipeline.
    """

    attempt: Attempt
    products: Mapping[str, DataProduct]
    numbers: Mapping[str, Mapping[str, float]]
    changed_inputs: Sequence[str]  # one sentence for each input that has changed since it was read


def current_runs(session: Session, pipeline: str) -> list[RunId]:
    """Return the current run of each step and sub-group of a pipeline, where there is one."""
    query = (
        sa.select(Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .where(Pipeline.name == pipeline, is_current())
        .order_by(Run.id)
    )
    return list(session.scalars(query))


def completed_runs(session: Session, run_ids: Collection[RunId]) -> dict[RunId, CompletedRun]:
    """Return the records of those of the runs that completed, in a constant number of queries."""
    attempts = (
        sa.select(Attempt)
        .join(Run, Run.id == Attempt.run_id)
        .where(Attempt.run_id.in_(run_ids), Attempt.directory.is_not(None), Run.status == RunStatus.COMPLETED)
        .where(Attempt.purpose == Purpose.EXECUTE)
        .order_by(Attempt.run_id, Attempt.number)
    )
    completed = {attempt.run_id: attempt for attempt in session.scalars(attempts)}  # the last one wins
    products, numbers = _made(session, run_ids)
    changed, purged = _changed_packages(session, run_ids), _purged_products(session, run_ids)
    return {
        run_id: CompletedRun(attempt, products[run_id], numbers[run_id], changed[run_id] + purged[run_id])
        for run_id, attempt in completed.items()
    }


def _made(
    session: Session, run_ids: Collection[RunId]
) -> tuple[Mapping[RunId, Mapping[str, DataProduct]], Mapping[RunId, Mapping[str, Mapping[str, float]]]]:
    """Return the products and numbers of each run; restored products count for the run that regenerated them, too."""
    restoring = sa.select(Run.id, Run.regenerates_run_id).where(Run.id.in_(run_ids), has_restored(Run.id))
    restored = {again: first for again, first in session.execute(restoring).tuples() if first is not None}
    wanted = {*run_ids, *restored.values()}
    products, numbers = _products(session, wanted), _numbers(session, wanted)
    for again, first in restored.items():
        removable = {path: one for path, one in products[first].items() if one.type in REMOVABLE_TYPES}
        products[again] = removable | products[again]
        numbers[again] = numbers[first]
    return products, numbers


def _products(session: Session, run_ids: Collection[RunId]) -> dict[RunId, dict[str, DataProduct]]:
    products: dict[RunId, dict[str, DataProduct]] = defaultdict(dict)
    for product in products_of_runs(session, run_ids):
        products[product.run_id][product.path] = product
    return products


def _numbers(session: Session, run_ids: Collection[RunId]) -> dict[RunId, dict[str, dict[str, float]]]:
    numbers: dict[RunId, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    query = (
        sa.select(QualityMetric.run_id, DataProduct.path, QualityMetric.name, QualityMetric.value)
        .join(DataProduct, DataProduct.id == QualityMetric.data_product_id)
        .where(QualityMetric.run_id.in_(run_ids))
    )
    for run_id, path, name, value in session.execute(query).tuples():
        numbers[run_id][path][name] = value
    return numbers


def _changed_packages(session: Session, run_ids: Collection[RunId]) -> dict[RunId, list[str]]:
    query = (
        sa.select(RunInputPackage.run_id, RawDataPackage.name, RawDataPackage.state)
        .add_columns(RunInputPackage.checksum, RawDataPackage.checksum)
        .join(RawDataPackage, RawDataPackage.id == RunInputPackage.raw_data_package_id)
        .where(
            RunInputPackage.run_id.in_(run_ids),
            sa.or_(
                RawDataPackage.state != PackageState.ARCHIVED,
                RawDataPackage.checksum.is_distinct_from(RunInputPackage.checksum),
            ),
        )
        .order_by(RunInputPackage.run_id, RawDataPackage.name)
    )
    changed: dict[RunId, list[str]] = defaultdict(list)
    for run_id, name, state, read, now in session.execute(query).tuples():
        if state is not PackageState.ARCHIVED:
            changed[run_id].append(f"package {name}: withdrawn, it is {state.value} and not archived")
        else:
            changed[run_id].append(f"package {name}: changed, checksum {str(now)[:12]}…, read was {read[:12]}…")
    return changed


def _purged_products(session: Session, run_ids: Collection[RunId]) -> dict[RunId, list[str]]:
    copies = sa.select(DataProductPhysicalCopy.id).where(DataProductPhysicalCopy.data_product_id == DataProduct.id)
    query = (
        sa.select(RunInputProduct.run_id, DataProduct.id, DataProduct.path, DataProduct.run_id)
        .join(DataProduct, DataProduct.id == RunInputProduct.data_product_id)
        .where(
            RunInputProduct.run_id.in_(run_ids),
            copies.exists(),
            ~copies.where(DataProductPhysicalCopy.status.in_(READABLE)).exists(),
        )
        .order_by(RunInputProduct.run_id, DataProduct.id)
    )
    purged: dict[RunId, list[str]] = defaultdict(list)
    for run_id, product_id, path, producer in session.execute(query).tuples():
        purged[run_id].append(f"product {product_id} ({path} of run {producer}): purged")
    return purged
