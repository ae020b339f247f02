from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.gaps import ReasonCount, SubGroupGap


def forget_gaps(session: Session, which: sa.ColumnElement[bool], now: datetime) -> None:
    """Delete what is known of the gaps of sub-groups that are not asked about any more, and count them no longer."""
    counted = sa.select(SubGroupGap.step_id, SubGroupGap.reason, sa.func.count()).where(which)
    gone = session.execute(counted.group_by(SubGroupGap.step_id, SubGroupGap.reason)).tuples().all()
    for step_id, reason, number in gone:
        of = (ReasonCount.step_id == step_id, ReasonCount.reason == reason)
        last = session.scalar(sa.select(ReasonCount.count).where(*of).order_by(ReasonCount.id.desc()).limit(1))
        if last is not None:
            session.add(ReasonCount(step_id=step_id, reason=reason, count=last - number, at=now))
    if gone:
        session.flush()
        session.execute(sa.delete(SubGroupGap).where(which).execution_options(synchronize_session=False))
