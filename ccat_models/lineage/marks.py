"""What was decided about runs, or done to their products: tainted, blocked by a check, waived, purged, restored."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.quality import QualityCheck, QualityWaiver
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import RunSpace, SpaceState
from ccat_models.tables.taints import PackageTaint, RunTaint

_IDS: sa.BindParameter[Collection[int]] = sa.bindparam("ids", expanding=True)
_CHECK = QualityCheck
_TAINTED = (
    sa.select(RunTaint.run_id, RawDataPackage.name)
    .join(PackageTaint, PackageTaint.id == RunTaint.package_taint_id)
    .join(RawDataPackage, RawDataPackage.id == PackageTaint.raw_data_package_id)
    .where(RunTaint.run_id.in_(_IDS), PackageTaint.lifted_at.is_(None))
    .order_by(RunTaint.run_id, RawDataPackage.name)
)
_FAILED = (
    sa.select(_CHECK.run_id, _CHECK.name, _CHECK.blocking, QualityWaiver.waived_by)
    .outerjoin(QualityWaiver, QualityWaiver.quality_check_id == _CHECK.id)
    .where(_CHECK.run_id.in_(_IDS), sa.not_(_CHECK.passed), _CHECK.superseded_at.is_(None))
    .order_by(_CHECK.run_id, _CHECK.name)
)
_SPACE = (
    sa.select(RunSpace.run_id, RunSpace.state, RunSpace.restored_by_run_id, RunSpace.replaced_by_run_id)
    .where(RunSpace.run_id.in_(_IDS))
    .order_by(RunSpace.run_id)
)
_AGAIN = sa.select(Run.id, Run.regenerates_run_id).where(Run.id.in_(_IDS), Run.regenerates_run_id.is_not(None))
_REMOVED = (SpaceState.MARKED, SpaceState.PURGED, SpaceState.REPLACED, SpaceState.LOST)


def has_marks(connection: sa.Connection) -> bool:
    """Say whether any run has a mark."""
    tables = (
        PackageTaint.lifted_at.is_(None),
        sa.not_(QualityCheck.passed),
        RunSpace.state.in_(_REMOVED),
        Run.regenerates_run_id.is_not(None),
    )
    return bool(connection.scalar(sa.select(sa.or_(*(sa.select(sa.literal(1)).where(one).exists() for one in tables)))))


def marks_of(connection: sa.Connection, run_ids: Collection[RunId]) -> Mapping[RunId, tuple[str, ...]]:
    """Return run → its marks, e.g. "tainted by NGC253-0001", "rms_k waived by ada", "replaced by run 7"."""
    found: dict[RunId, list[str]] = defaultdict(list)
    for run_id, package in connection.execute(_TAINTED, {"ids": list(run_ids)}).tuples():
        found[run_id].append(f"tainted by {package}")
    for run_id, name, blocking, waived_by in connection.execute(_FAILED, {"ids": list(run_ids)}).tuples():
        mark = f"blocked by {name}" if blocking else f"{name} failed"
        found[run_id].append(mark if waived_by is None else f"{name} waived by {waived_by}")
    for run_id, first in connection.execute(_AGAIN, {"ids": list(run_ids)}).tuples():
        found[run_id].append(f"regenerates run {first}'s products")
    for run_id, state, restored_by, replaced_by in connection.execute(_SPACE, {"ids": list(run_ids)}).tuples():
        found[run_id] += _space_words(state, restored_by, replaced_by)
    return {run_id: tuple(words) for run_id, words in found.items()}


def _space_words(state: SpaceState, restored_by: RunId | None, replaced_by: RunId | None) -> list[str]:
    if state is SpaceState.REPLACED:
        return [f"replaced by run {replaced_by}"]
    if state in _REMOVED:
        return ["lost" if state is SpaceState.LOST else "purged"]
    return [] if restored_by is None else [f"restored by run {restored_by}"]
