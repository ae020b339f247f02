from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration, NotFound, Refused
from ccat_models.product.listing import find_run_of, is_path, named_runs
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.pipelines import ReductionStep, SubGroup
from ccat_models.tables.products import QualityMetric
from ccat_models.tables.quality import QualityCheck, QualityWaiver


@dataclass(frozen=True)
class WaiverRow:
    """Who accepted a run's products although a check failed, and why."""

    reason: str
    waived_by: str
    waived_at: datetime


@dataclass(frozen=True)
class CheckRow:
    """The result of a declared limit for a run; `value` is None if the program gave no number."""

    id: int
    name: str
    metric: str
    value: float | None
    minimum: float | None
    maximum: float | None
    blocking: bool
    passed: bool
    judged_at: datetime
    waiver: WaiverRow | None

    @property
    def blocks(self) -> bool:
        """Say whether this check blocks the run's products."""
        return self.blocking and not self.passed and self.waiver is None

    @property
    def finding(self) -> str:
        """Return the finding as text, e.g. "rms_k 0.7 is above 0.5"."""
        if self.value is None:
            return f"the program gave no number {self.metric}"
        if self.minimum is not None and self.value < self.minimum:
            return f"{self.metric} {self.value:g} is below {self.minimum:g}"
        if self.maximum is not None and self.value > self.maximum:
            return f"{self.metric} {self.value:g} is above {self.maximum:g}"
        return f"{self.metric} {self.value:g} keeps its limits"


@dataclass(frozen=True)
class CheckOfRun:
    """A check and its run."""

    run_id: RunId
    step: str
    sub_group: str
    check: CheckRow


def list_checks(session: Session, steps: Sequence[StepId], *, failed_only: bool, limit: int) -> Sequence[CheckOfRun]:
    """Return the results of the current limits for these steps' runs, the newest run first."""
    query = (
        sa.select(Run.id, ReductionStep.name, SubGroup.key, QualityCheck, QualityWaiver)
        .join(QualityCheck, QualityCheck.run_id == Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .outerjoin(QualityWaiver, QualityWaiver.quality_check_id == QualityCheck.id)
        .where(Run.step_id.in_(steps), QualityCheck.superseded_at.is_(None))
        .order_by(Run.id.desc(), QualityCheck.name)
        .limit(limit)
    )
    if failed_only:
        query = query.where(sa.not_(QualityCheck.passed))
    return [
        CheckOfRun(run_id, step, key, _row(check, waiver))
        for run_id, step, key, check, waiver in session.execute(query).tuples()
    ]


def checks_of(session: Session, run_ids: Sequence[RunId]) -> Mapping[RunId, Sequence[CheckRow]]:
    """Return the results of the current limits for these runs, by run, ordered by name."""
    found: dict[RunId, list[CheckRow]] = {run_id: [] for run_id in run_ids}
    query = (
        sa.select(QualityCheck, QualityWaiver)
        .outerjoin(QualityWaiver, QualityWaiver.quality_check_id == QualityCheck.id)
        .where(QualityCheck.run_id.in_(run_ids), QualityCheck.superseded_at.is_(None))
        .order_by(QualityCheck.run_id, QualityCheck.name)
    )
    for check, waiver in session.execute(query).tuples():
        found[check.run_id].append(_row(check, waiver))
    return found


def metrics_of(session: Session, run_ids: Collection[RunId]) -> Sequence[QualityMetric]:
    """Return the numbers that programs have given of these runs, by name."""
    query = sa.select(QualityMetric).where(QualityMetric.run_id.in_(run_ids)).order_by(QualityMetric.name)
    return session.scalars(query).all()


def newest_metrics(session: Session) -> Mapping[StepId, Sequence[str]]:
    """Return of each step the names of the metrics that its newest completed run left, in their order."""
    newest = (
        sa.select(sa.func.max(Run.id)).where(Run.status == RunStatus.COMPLETED, Run.is_result).group_by(Run.step_id)
    )
    query = (
        sa.select(Run.step_id, QualityMetric.name)
        .join(Run, Run.id == QualityMetric.run_id)
        .where(QualityMetric.run_id.in_(newest))
        .order_by(QualityMetric.name)
    )
    metrics: dict[StepId, list[str]] = defaultdict(list)
    for step_id, name in session.execute(query).tuples():
        metrics[step_id].append(name)
    return metrics


def find_failing(session: Session, text: str, name: str) -> RunId:
    """Return the run whose check a text means; texts are those of `find_product`.

    For a path it is the newest run in which the check fails without a waiver: that failure may be the reason why an
    older run is current. If there is none, or the text is no path, it is the run that `find_product` takes, failing or
    not. Raises as `find_product` does.
    """
    if is_path(text):
        waived = sa.select(sa.literal(1)).where(QualityWaiver.quality_check_id == QualityCheck.id).exists()
        failing = (
            named_runs(text)
            .join(QualityCheck, QualityCheck.run_id == Run.id)
            .where(QualityCheck.name == name, QualityCheck.superseded_at.is_(None))
            .where(sa.not_(QualityCheck.passed), sa.not_(waived))
            .order_by(None)
            .order_by(Run.id.desc())
            .limit(1)
        )
        run_id: RunId | None = session.scalar(failing)
        if run_id is not None:
            return run_id
    return find_run_of(session, text)


def waive(session: Session, run_id: RunId, name: str, *, by: str, reason: str, now: datetime) -> CheckRow:
    """Accept the run's products although a check failed; return the check with its waiver.

    In a request's transaction. Raises NotFound with the run's checks, Refused if the check passes or is waived already,
    and InvalidDeclaration for an empty or too long reason.
    """
    if not reason.strip():
        raise InvalidDeclaration("reason: must say why the products are good enough")
    check_fits("reason", reason, QualityWaiver.reason)
    check_fits("by", by, QualityWaiver.waived_by)
    checks = {check.name: check for check in checks_of(session, [run_id])[run_id]}
    if name not in checks:
        raise NotFound(f"quality check of run {run_id}", name, sorted(checks))
    check = checks[name]
    if check.passed:
        raise Refused(f"check {name} of run {run_id}: nothing to waive: {check.finding}")
    if check.waiver is not None:
        given = check.waiver
        raise Refused(
            f"check {name} of run {run_id}: waived already by {given.waived_by} on {given.waived_at:%Y-%m-%d}:"
            f" {given.reason}"
        )
    session.execute(
        sa.insert(QualityWaiver).values(quality_check_id=check.id, reason=reason, waived_by=by, waived_at=now)
    )
    return next(row for row in checks_of(session, [run_id])[run_id] if row.name == name)


def _row(check: QualityCheck, waiver: QualityWaiver | None) -> CheckRow:
    return CheckRow(
        id=check.id,
        name=check.name,
        metric=check.metric,
        value=check.value,
        minimum=check.minimum,
        maximum=check.maximum,
        blocking=check.blocking,
        passed=check.passed,
        judged_at=check.judged_at,
        waiver=None if waiver is None else WaiverRow(waiver.reason, waiver.waived_by, waiver.waived_at),
    )
