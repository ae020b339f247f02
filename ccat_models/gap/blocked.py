"""Completed runs whose products are blocked: they are neither results nor inputs."""

import sqlalchemy as sa

from ccat_models.tables.base import RunId
from ccat_models.tables.quality import QualityCheck, QualityWaiver
from ccat_models.tables.space import GONE, RunSpace
from ccat_models.tables.taints import PackageTaint, RunTaint


def is_blocked(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that a run's products are blocked: tainted, failing a blocking check, or gone for good."""
    return sa.or_(is_tainted(run_id), fails_check(run_id), is_gone(run_id))


def is_gone(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that a run's products were purged and cannot be regenerated, or were replaced by others."""
    gone = sa.select(sa.literal(1)).where(RunSpace.run_id == run_id, RunSpace.state.in_(GONE))
    return gone.correlate_except(RunSpace).exists()


def is_tainted(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that a run has read a tainted package, or a product that was made from one."""
    taints = (
        sa.select(sa.literal(1))
        .join_from(RunTaint, PackageTaint, PackageTaint.id == RunTaint.package_taint_id)
        .where(RunTaint.run_id == run_id, PackageTaint.lifted_at.is_(None))
    )
    return taints.correlate_except(RunTaint, PackageTaint).exists()


def fails_check(run_id: sa.SQLColumnExpression[RunId]) -> sa.ColumnElement[bool]:
    """Return the condition that a run fails a blocking check that has no waiver."""
    check = QualityCheck
    waived = sa.select(sa.literal(1)).where(QualityWaiver.quality_check_id == check.id).correlate(check).exists()
    failing = sa.select(sa.literal(1)).where(
        check.run_id == run_id, check.superseded_at.is_(None), check.blocking, sa.not_(check.passed), sa.not_(waived)
    )
    return failing.correlate_except(check, QualityWaiver).exists()
