from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.contract.result import Output, Result
from ccat_models.fingerprint import Lanes
from ccat_models.pipeline.quality import judge_run
from ccat_models.product.restored import is_same, record_space, replace_products, restore
from ccat_models.run.attempt import ended_well
from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, ProductId, RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.places import DataProductPhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.products import INPUT_TYPES, REMOVABLE_TYPES, DataProduct, DataProductType, QualityMetric


@dataclass(frozen=True)
class Metric:
    """A number of a qa/*.json file, with limits if the program gave any."""

    name: str
    value: float
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Collected:
    """What a completed attempt has left; paths are relative, as said at each field."""

    result: Result
    output_directory: str  # relative to the attempt's directory; product paths are relative to it
    location_id: int
    location_path: str  # of the attempt's directory, relative to the data location
    metrics: Mapping[str, Sequence[Metric]]  # product path → its numbers


def register(session: Session, attempt: AttemptId, run_id: RunId, collected: Collected, now: datetime) -> bool:
    """Register a run's products, copies, metrics and checks, and complete it; all in the caller's transaction.

    A run that regenerates another restores that run's products, if all files that later steps read are the same;
    otherwise its own products replace them. Returns False, and changes nothing, if the run was collected or ended
    already.
    """
    if not move(session, [run_id], RunStatus.COLLECTING_RESULTS, now):
        return False
    first = session.scalar(sa.select(Run.regenerates_run_id).where(Run.id == run_id))
    if first is None:
        _register_all(session, run_id, collected, now)
        _set_outputs(session, run_id, collected)
    elif is_same(session, first, {product_path(collected, one): one.sha256 for one in _read_later(collected)}):
        _register_evidence(session, run_id, collected, now)
        restore(session, first, run_id, f"{collected.location_path}/{collected.output_directory}", now)
    else:
        _register_all(session, run_id, collected, now)
        replace_products(session, first, run_id, now)
    ended_well(session, attempt, collected.result)
    return bool(move(session, [run_id], RunStatus.COMPLETED, now))


def product_path(collected: Collected, output: Output) -> str:
    """Return an output's path relative to the program's output directory."""
    return output.path.removeprefix(collected.output_directory + "/")


def _read_later(collected: Collected) -> list[Output]:
    return [output for output in collected.result.outputs if DataProductType(output.type) in INPUT_TYPES]


def _register_all(session: Session, run_id: RunId, collected: Collected, now: datetime) -> None:
    products = _insert_products(session, run_id, collected, now)
    _insert_copies(session, products, collected, now)
    _insert_metrics(session, run_id, products, collected)
    record_space(session, run_id, collected.location_id, now)
    judge_run(session, run_id, now)


def _register_evidence(session: Session, run_id: RunId, collected: Collected, now: datetime) -> None:
    """Register the products that a regenerating run keeps as its own: logs, plots and numbers."""
    evidence = [output for output in collected.result.outputs if DataProductType(output.type) not in REMOVABLE_TYPES]
    result = collected.result.model_copy(update={"outputs": tuple(evidence)})
    products = _insert_products(session, run_id, replace(collected, result=result), now)
    _insert_copies(session, products, collected, now)
    record_space(session, run_id, collected.location_id, now)


def _set_outputs(session: Session, run_id: RunId, collected: Collected) -> None:
    inputs = _read_later(collected)
    lanes = sum((_lanes(run_id, collected, output) for output in inputs), Lanes.none())
    session.execute(
        sa.update(Run)
        .where(Run.id == run_id)
        .values(output_count=len(inputs), **{f"output_lane_{i}": lane for i, lane in enumerate(lanes.values)})
    )


def _lanes(run_id: RunId, collected: Collected, output: Output) -> Lanes:
    return Lanes.of("product", f"{run_id}/{product_path(collected, output)}", output.sha256)


def _insert_products(
    session: Session, run_id: RunId, collected: Collected, now: datetime
) -> dict[str, tuple[ProductId, Output]]:
    outputs = {product_path(collected, output): output for output in collected.result.outputs}
    rows = [
        {
            "run_id": run_id,
            "type": DataProductType(output.type),
            "path": path,
            "size_bytes": output.size_bytes,
            "sha256": output.sha256,
            "created_at": now,
            "extra": {},
        }
        for path, output in outputs.items()
    ]
    if not rows:
        return {}
    inserted = session.execute(sa.insert(DataProduct).returning(DataProduct.path, DataProduct.id), rows)
    return {path: (product_id, outputs[path]) for path, product_id in inserted.tuples()}


def _insert_copies(
    session: Session, products: Mapping[str, tuple[ProductId, Output]], collected: Collected, now: datetime
) -> None:
    rows = [
        {
            "kind": "data_product",
            "data_location_id": collected.location_id,
            "path": f"{collected.location_path}/{output.path}",
            "status": PhysicalCopyStatus.PRESENT,
            "created_at": now,
            "checksum_verified_at": now,
            "data_product_id": product_id,
        }
        for product_id, output in products.values()
    ]
    if rows:
        session.execute(sa.insert(DataProductPhysicalCopy), rows)


def _insert_metrics(
    session: Session, run_id: RunId, products: Mapping[str, tuple[ProductId, Output]], collected: Collected
) -> None:
    rows = [
        {
            "run_id": run_id,
            "data_product_id": products[path][0],
            "name": metric.name,
            "value": metric.value,
            "minimum": metric.minimum,
            "maximum": metric.maximum,
        }
        for path, metrics in collected.metrics.items()
        for metric in metrics
    ]
    if rows:
        session.execute(sa.insert(QualityMetric), rows)
