"""Record attempts that are not known to be sent as accepted, cancelled or failed.

An attempt's directory is claimed before the attempt ends: its job may exist although the reply was lost, and would run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.run import attempt as attempts_of
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import FailureClass
from resources.backend import Job
from resources.location import Cluster
from resources.run.leased_write import LeasedWrite


def block_start(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> tuple[list[OpenAttempt], list[OpenAttempt]]:
    """Prevent that jobs of these attempts begin; return the attempts that are now blocked, and those that have begun.

    The latter were claimed before by their wrappers, and must not be ended here. An attempt without a directory was
    never about to be sent, and has no job.
    """
    sent = [Path(attempt.directory) for attempt in attempts if attempt.directory is not None]
    begun = {str(directory) for directory in set(sent) - cluster.store.claim(sent)}
    return [one for one in attempts if one.directory not in begun], [one for one in attempts if one.directory in begun]


def accept(leased: LeasedWrite, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """Record that the back end has accepted these attempts: it has their jobs, or they have begun."""
    if not attempts:
        return
    cluster = leased.cluster
    ids = {key: job.job_id for key, job in jobs.items()}
    with leased.write() as session:
        accepted = {(attempt.id, attempt.run_id): ids.get(attempt.submission_key) for attempt in attempts}
        attempts_of.sent(session, accepted, cluster.clock())
    # The process that asked to cancel may end soon: cancel now, not when the back end is asked next.
    unwanted = [jobs[a.submission_key] for a in attempts if a.cancel_requested and a.submission_key in jobs]
    if unwanted:
        cluster.backend.cancel(unwanted)


def cancel(leased: LeasedWrite, attempts: Sequence[OpenAttempt]) -> None:
    """End attempts that are to be cancelled; those that have begun are accepted, and later cancelled as any job."""
    if not attempts:
        return
    blocked, begun = block_start(leased.cluster, attempts)
    with leased.write() as session:
        for attempt in blocked:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, leased.cluster.clock())
    accept(leased, begun, {})


def fail(leased: LeasedWrite, failure: FailureClass, failing: Sequence[tuple[OpenAttempt, str]]) -> None:
    """End attempts as failed, each with its message; those that have begun are accepted."""
    if not failing:
        return
    blocked, begun = block_start(leased.cluster, [attempt for attempt, _ in failing])
    messages = {attempt.id: message for attempt, message in failing}
    with leased.write() as session:
        for attempt in blocked:
            attempts_of.failed(session, attempt.id, failure, messages[attempt.id], leased.cluster.clock())
    accept(leased, begun, {})
