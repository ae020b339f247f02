from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.execution import ObserverLease
from ccat_models.tables.insert import insert_or_ignore


@dataclass(frozen=True)
class Lease:
    """A holder's lease on a cluster; the generation changes whenever the lease goes to another holder."""

    cluster: str
    holder: str
    generation: int


def take_lease(
    session: Session,
    cluster: str,
    holder: str,
    now: datetime,
    lasting: timedelta,
    is_gone: Callable[[str], bool],
) -> Lease | None:
    """Take or renew the lease on a cluster, in a write transaction; return None if another holder has it.

    A lease that has expired, or whose holder `is_gone`, is taken over.
    """
    session.execute(insert_or_ignore(session, ObserverLease).values(cluster=cluster))
    lease = session.get_one(ObserverLease, cluster, with_for_update=True)
    elsewhere = lease.holder not in (None, holder)
    if elsewhere and lease.expires_at is not None and lease.expires_at > now and not is_gone(lease.holder or ""):
        return None
    if lease.holder != holder:
        lease.generation += 1
    lease.holder, lease.expires_at = holder, now + lasting
    return Lease(cluster, holder, lease.generation)


def renew_lease(session: Session, lease: Lease, now: datetime, lasting: timedelta) -> bool:
    """Renew a lease, even an expired one; say whether it still belongs to this holder."""
    renewed = (
        sa.update(ObserverLease)
        .where(
            ObserverLease.cluster == lease.cluster,
            ObserverLease.holder == lease.holder,
            ObserverLease.generation == lease.generation,
        )
        .values(expires_at=now + lasting)
        .returning(ObserverLease.cluster)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(renewed) is not None


def give_up_lease(session: Session, cluster: str, holder: str) -> None:
    """Give up the lease, if this holder has it."""
    session.execute(
        sa.update(ObserverLease)
        .where(ObserverLease.cluster == cluster, ObserverLease.holder == holder)
        .values(holder=None, expires_at=None)
    )


def held_leases(session: Session) -> Sequence[ObserverLease]:
    """Return the leases that are held."""
    return session.scalars(sa.select(ObserverLease).where(ObserverLease.holder.is_not(None))).all()


def observed_at(session: Session, cluster: str) -> datetime | None:
    """Return when the cluster was last asked for the state of its jobs."""
    return session.scalar(sa.select(ObserverLease.observed_at).where(ObserverLease.cluster == cluster))


def record_observed(session: Session, cluster: str, now: datetime) -> None:
    """Record that the cluster is asked for the state of its jobs now."""
    session.execute(sa.update(ObserverLease).where(ObserverLease.cluster == cluster).values(observed_at=now))
