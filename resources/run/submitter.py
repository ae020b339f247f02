"""Decide about attempts that are not known to be sent: accept them, end them, or lay them out and send them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.run.submission import MOST_SENDS, Step, SubmissionState, next_step
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import AttemptState, FailureClass, Purpose, RunStatus
from resources.backend import Job
from resources.location import Cluster
from resources.run import unsent
from resources.run.leased_write import LeasedWrite
from resources.run.preparation import laid_out, prepare
from resources.run.sender import send


def submit(leased: LeasedWrite, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job] | None) -> None:
    """Accept, end or send the attempts that are taken up and not known to be sent.

    `jobs` has the back end's jobs by submission key; None where it was not asked in this tick.
    """
    cluster = leased.cluster
    staging = [attempt for attempt in attempts if attempt.run_status is RunStatus.STAGING_DATA]
    steps = _steps(cluster, staging, jobs)
    unsent.accept(leased, steps[Step.ACCEPT], jobs or {})
    unsent.cancel(leased, steps[Step.CANCEL])
    given_up = f"sent {MOST_SENDS} times, and {cluster.backend.name} never knew of it"
    unsent.fail(leased, FailureClass.INFRASTRUCTURE, [(attempt, given_up) for attempt in steps[Step.GIVE_UP]])
    executing = [attempt for attempt in steps[Step.SEND] if attempt.purpose is Purpose.EXECUTE]
    prepared, problems = prepare(cluster, executing)
    bad = [(attempt, problems[attempt.id]) for attempt in executing if attempt.id in problems]
    unsent.fail(leased, FailureClass.STAGING, bad)
    again = laid_out(cluster, [attempt for attempt in steps[Step.SEND] if attempt.purpose is Purpose.REPRODUCE])
    send(leased, [*prepared, *again])


def _steps(
    cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job] | None
) -> dict[Step, list[OpenAttempt]]:
    """Return the attempts, sorted by what to do with them."""
    doubtful = [attempt for attempt in attempts if attempt.state is AttemptState.SENDING and attempt.directory]
    asked = [] if jobs is None else [attempt for attempt in doubtful if attempt.submission_key not in jobs]
    found = cluster.store.look([Path(attempt.directory or "") for attempt in asked])
    now, steps = cluster.clock(), defaultdict(list)
    for attempt in attempts:
        seen = found.get(Path(attempt.directory or ""))
        looked_at = jobs is not None and (attempt.submission_key in jobs or seen is not None)
        submission = SubmissionState(
            state=attempt.state,
            cancel_requested=attempt.cancel_requested,
            known=attempt.submission_key in (jobs or {}) if looked_at else None,
            claimed=seen is not None and seen.claimed,
            waited=now - (attempt.sent_at or now),
            sends=attempt.sends,
        )
        steps[next_step(submission, cluster.timing.resend_after)].append(attempt)
    return steps
