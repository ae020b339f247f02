"""Tainted packages: what must not be used, and everything that was made from it."""

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
    """A taint of a package that stands, or stood until it was lifted."""

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
    """How many runs of a step have read what is tainted; `in_flight` of them are still on their way."""

    pipeline: str
    step: str
    runs: int
    products: int
    in_flight: int


def taint(session: Session, names: Collection[str], *, reason: str, by: str, now: datetime) -> Sequence[TouchedStep]:
    """Say of packages that they must not be used, mark every run that has read them, and return where those are.

    They leave their sub-groups, and what was made from them is neither a result nor an input any more, so that it is
    made again without them. In a request's transaction. Raises NotFound for an unknown package, Refused for one that is
    tainted already, InvalidDeclaration for an empty reason or one that is too long; nothing is changed then.
    """
    if not reason.strip():
        raise InvalidDeclaration("reason: must say why the packages must not be used")
    check_fits("reason", reason, PackageTaint.reason)
    check_fits("by", by, PackageTaint.tainted_by)
    packages = _packages(session, names)
    for standing in list_taints(session, names=names):
        raise Refused(
            f"package {standing.package}: tainted already by {standing.tainted_by} on {standing.tainted_at:%Y-%m-%d}:"
            f" {standing.reason}"
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
    """Say of packages that they may be used again: what was made from them counts as it did; return where that is.

    In a request's transaction. Raises NotFound for an unknown package, Refused for one that is not tainted; nothing is
    changed then.
    """
    check_fits("by", by, PackageTaint.lifted_by)
    _packages(session, names)
    standing = {row.package: row.id for row in list_taints(session, names=names)}
    for name in sorted(set(names) - set(standing)):
        raise Refused(f"package {name}: is not tainted")
    lifted = sa.update(PackageTaint).where(PackageTaint.id.in_(standing.values())).values(lifted_by=by, lifted_at=now)
    session.execute(lifted.execution_options(synchronize_session=False))
    return touched_by(session, list(standing.values()))


def list_taints(
    session: Session, *, names: Collection[str] | None = None, with_lifted: bool = False
) -> Sequence[TaintRow]:
    """Return the taints that stand, the oldest first; those that were lifted too, if they are wanted."""
    query = sa.select(*_COLUMNS).select_from(PackageTaint).join(RawDataPackage).order_by(PackageTaint.id)
    if not with_lifted:
        query = query.where(PackageTaint.lifted_at.is_(None))
    if names is not None:
        query = query.where(RawDataPackage.name.in_(names))
    return [TaintRow(*row) for row in session.execute(query).tuples()]


def taints_of(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[TaintRow]]:
    """Return by run the taints, standing or lifted, of what it has read."""
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
    """Return by step how many runs and products these taints mark."""
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
    """Return every run that has read the tainted package, or a product of such a run, whatever its state."""
    readers = (
        sa.select(RunInputPackage.run_id)
        .join(PackageTaint, PackageTaint.raw_data_package_id == RunInputPackage.raw_data_package_id)
        .where(PackageTaint.id == taint_id)
    )
    return sa.select(descendants(readers).c.run_id, sa.literal(taint_id))
