from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.execution import RunWaiter


def waiters(session: Session, prefix: str) -> Sequence[str]:
    """Return who waits for runs, of those whose name begins with the prefix."""
    mine = RunWaiter.waiter.startswith(prefix, autoescape=True)
    return session.scalars(sa.select(RunWaiter.waiter).where(mine).distinct().order_by(RunWaiter.waiter)).all()
