"""Decisions about completed runs since a time: changed limits, waivers, taints, and lifted taints."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy.orm import Session

from ccat_models.run.newest import is_newest_completed
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.quality import QualityCheck, QualityWaiver
from ccat_models.tables.taints import PackageTaint, RunTaint


class Decisions(BaseModel):
    """The newest decisions; they are made by one requester at a time (`OpsDb.request`), so their ids are in order."""

    model_config = ConfigDict(frozen=True)

    check: int = 0
    waiver: int = 0
    taint: int = 0
    lifted: int = 0  # number of lifted taints
    lifted_at: AwareDatetime | None = None


def newest_decisions(session: Session) -> Decisions:
    """Return the newest decisions, by one query that reads the ends of indexes and the taints."""
    query = sa.select(
        *(
            sa.select(sa.func.coalesce(sa.func.max(table.id), 0)).scalar_subquery()
            for table in (QualityCheck, QualityWaiver, PackageTaint)
        ),
        sa.select(sa.func.count(PackageTaint.lifted_at)).scalar_subquery(),
        sa.select(sa.func.max(PackageTaint.lifted_at)).scalar_subquery(),
    )
    return Decisions(**dict(zip(Decisions.model_fields, session.execute(query).tuples().one(), strict=True)))


def runs_decided(session: Session, since: Decisions, *, after: RunId, limit: int) -> Sequence[RunId]:
    """Return the next `limit` runs, by id, about which something was decided since then.

    Of a sub-group's runs, only the newest completed one is returned. Checks made when a run completed are no decisions.
    """
    return session.scalars(
        sa.select(Run.id)
        .where(Run.id.in_(_decided(since)), Run.id > after, Run.status == RunStatus.COMPLETED, is_newest_completed())
        .order_by(Run.id)
        .limit(limit)
    ).all()


def _decided(since: Decisions) -> sa.CompoundSelect[tuple[RunId]]:
    check = QualityCheck
    judged = (
        sa.select(check.run_id)
        .join(Run, Run.id == check.run_id)
        .where(check.id > since.check, check.judged_at > Run.status_changed_at)
    )
    waived = sa.select(check.run_id).join(QualityWaiver).where(QualityWaiver.id > since.waiver)
    marked = sa.select(RunTaint.run_id).join(PackageTaint).where(_is_new(since.taint, since.lifted_at))
    return sa.union(judged, waived, marked)


def _is_new(taint: int, lifted_at: datetime | None) -> sa.ColumnElement[bool]:
    lifted = PackageTaint.lifted_at.is_not(None) if lifted_at is None else PackageTaint.lifted_at >= lifted_at
    return sa.or_(PackageTaint.id > taint, lifted)
