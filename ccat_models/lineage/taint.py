"""Taints: packages that must not be used, and everything that was made from them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration, NotFound, Refused
from ccat_models.lineage.scope import descendants
from ccat_models.tables.base import PackageId, RunId
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.taints import PackageTaint, RunTaint


@dataclass(frozen=True)
class TaintRow:
    """A taint of a package, which may have been lifted."""

    id: int
    package: str
    reason: str
    tainted_by: str
    tainted_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


_COLUMNS = (
    PackageTaint.id,
    RawDataPackage.name,
    PackageTaint.reason,
    PackageTaint.tainted_by,
    PackageTaint.tainted_at,
    PackageTaint.lifted_by,
    PackageTaint.lifted_at,
)


@dataclass(frozen=True)
class TouchedStep:
    """How many runs of a step have read tainted data; `in_flight` of them have not ended."""

    pipeline: str
    step: str
    runs: int
    products: int
    in_flight: int


def taint(session: Session, names: Collection[str], *, reason: str, by: str, now: datetime) -> Sequence[TouchedStep]:
    """Taint packages, mark every run that has read them, directly or not, and return the affected steps.

    The packages leave their sub-groups. Products made from them are neither results nor inputs any more, so that gaps
    open for runs without these packages. In a request's transaction. Raises NotFound for an unknown package, Refused
    for one that is tainted already, InvalidDeclaration for an empty or too long reason; nothing is changed then.
    """
    if not reason.strip():
        raise InvalidDeclaration("reason: must say why the packages must not be used")
    check_fits("reason", reason, PackageTaint.reason)
    check_fits("by", by, PackageTaint.tainted_by)
    packages = _packages(session, names)
    for known in list_taints(session, names=names):
        raise Refused(
            f"package {known.package}: tainted already by {known.tainted_by} on {known.tainted_at:%Y-%m-%d}:"
            f" {known.reason}"
        )
    rows = [
        {"raw_data_package_id": package, "reason": reason, "tainted_by": by, "tainted_at": now}
        for package in packages.values()
    ]
    taints = list(session.scalars(sa.insert(PackageTaint).returning(PackageTaint.id), rows))
    for taint_id in taints:
        session.execute(sa.insert(RunTaint).from_select(["run_id", "package_taint_id"], _made_from(taint_id)))
    return touched_by(session, taints)


def lift(session: Session, names: Collection[str], *, by: str, now: datetime) -> Sequence[TouchedStep]:
    """Lift the taints of packages, so that they and what was made from them are used again; return the affected steps.

    In a request's transaction. Raises NotFound for an unknown package, Refused for one that is not tainted; nothing is
    changed then.
    """
    check_fits("by", by, PackageTaint.lifted_by)
    _packages(session, names)
    taints = {row.package: row.id for row in list_taints(session, names=names)}
    for name in sorted(set(names) - set(taints)):
        raise Refused(f"package {name}: is not tainted")
    lifted = sa.update(PackageTaint).where(PackageTaint.id.in_(taints.values())).values(lifted_by=by, lifted_at=now)
    session.execute(lifted.execution_options(synchronize_session=False))
    return touched_by(session, list(taints.values()))


def list_taints(
    session: Session, *, names: Collection[str] | None = None, with_lifted: bool = False
) -> Sequence[TaintRow]:
    """Return the taints, the oldest first; `names` selects packages, `with_lifted` includes lifted taints."""
    query = sa.select(*_COLUMNS).select_from(PackageTaint).join(RawDataPackage).order_by(PackageTaint.id)
    if not with_lifted:
        query = query.where(PackageTaint.lifted_at.is_(None))
    if names is not None:
        query = query.where(RawDataPackage.name.in_(names))
    return [TaintRow(*row) for row in session.execute(query).tuples()]


def taints_of(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[TaintRow]]:
    """Return, for each run, the taints of what it has read, lifted ones included."""
    found: dict[RunId, list[TaintRow]] = {run_id: [] for run_id in run_ids}
    query = (
        sa.select(RunTaint.run_id, *_COLUMNS)
        .join(PackageTaint, PackageTaint.id == RunTaint.package_taint_id)
        .join(RawDataPackage)
        .where(RunTaint.run_id.in_(run_ids))
        .order_by(RunTaint.run_id, PackageTaint.id)
    )
    for run_id, *row in session.execute(query):
        found[run_id].append(TaintRow(*row))
    return found


def touched_by(session: Session, taints: Collection[int]) -> Sequence[TouchedStep]:
    """Return, for each step, how many runs and products these taints mark."""
    runs = sa.select(RunTaint.run_id).where(RunTaint.package_taint_id.in_(taints)).distinct().subquery()
    made = (
        sa.select(DataProduct.run_id, sa.func.count().label("products"))
        .join(runs, runs.c.run_id == DataProduct.run_id)
        .group_by(DataProduct.run_id)
        .subquery()
    )
    query = (
        sa.select(Pipeline.name, ReductionStep.name, sa.func.count())
        .add_columns(sa.func.coalesce(sa.func.sum(made.c.products), 0))
        .add_columns(sa.func.count(sa.case((Run.status.in_(IN_FLIGHT), 1))))
        .select_from(runs)
        .join(Run, Run.id == runs.c.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .outerjoin(made, made.c.run_id == Run.id)
        .group_by(Pipeline.name, ReductionStep.name, ReductionStep.id)
        .order_by(Pipeline.name, ReductionStep.id)
    )
    return [TouchedStep(row[0], row[1], row[2], int(row[3]), row[4]) for row in session.execute(query)]


def _packages(session: Session, names: Collection[str]) -> dict[str, PackageId]:
    query = sa.select(RawDataPackage.name, RawDataPackage.id)
    found = dict(session.execute(query.where(RawDataPackage.name.in_(names))).tuples().all())
    unknown = sorted(set(names) - set(found))
    if unknown:
        known = session.scalars(sa.select(RawDataPackage.name).order_by(RawDataPackage.id.desc()).limit(20))
        raise NotFound("raw data package", ", ".join(unknown[:5]), list(known))
    return found


def _made_from(taint_id: int) -> sa.Select[tuple[RunId, int]]:
    """Return every run that has read the tainted package, directly or through products, whatever its status."""
    readers = (
        sa.select(RunInputPackage.run_id)
        .join(PackageTaint, PackageTaint.raw_data_package_id == RunInputPackage.raw_data_package_id)
        .where(PackageTaint.id == taint_id)
    )
    return sa.select(descendants(readers).c.run_id, sa.literal(taint_id))
