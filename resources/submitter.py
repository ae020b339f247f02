"""Sending attempts, at most one execution each: intent first, look-up before a second send, claim on the node."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.run import attempt as attempts_of
from ccat_models.run.submission import MOST_SENDS, Standing, Step, next_step
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from resources.backend import Batch, Job
from resources.batches import Prepared, batches_of
from resources.cluster import Cluster
from resources.errors import ShellUnavailable, SubmissionDoubtful, SubmissionPostponed, SubmissionRefused
from resources.preparation import prepare


def submit(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job] | None) -> None:
    """Move on the attempts that are taken up and not known to be sent.

    `jobs` are those that the back end was found to have, None where it was not asked.
    """
    staging = [attempt for attempt in attempts if attempt.run_status is RunStatus.STAGING_DATA]
    steps = _steps(cluster, staging, jobs)
    _accept(cluster, steps[Step.ACCEPT], jobs or {})
    _cancel(cluster, steps[Step.CANCEL])
    _give_up(cluster, steps[Step.GIVE_UP])
    batches = batches_of(prepare(cluster, steps[Step.SEND]), cluster.backend.largest_batch)
    _commit_intent(cluster, batches)
    _send(cluster, batches)


def _steps(
    cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job] | None
) -> dict[Step, list[OpenAttempt]]:
    """Return what to do with each attempt."""
    doubtful = [attempt for attempt in attempts if attempt.state is AttemptState.SENDING and attempt.directory]
    asked = [] if jobs is None else [attempt for attempt in doubtful if attempt.submission_key not in jobs]
    found = cluster.store.look([Path(attempt.directory or "") for attempt in asked])
    now, steps = cluster.clock(), defaultdict(list)
    for attempt in attempts:
        seen = found.get(Path(attempt.directory or ""))
        looked_at = jobs is not None and (attempt.submission_key in jobs or seen is not None)
        standing = Standing(
            state=attempt.state,
            cancel_requested=attempt.cancel_requested,
            known=attempt.submission_key in (jobs or {}) if looked_at else None,
            claimed=seen is not None and seen.claimed,
            waited=now - (attempt.sent_at or now),
            sends=attempt.sends,
        )
        steps[next_step(standing, cluster.timing.resend_after)].append(attempt)
    return steps


def _accept(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    if not attempts:
        return
    ids = {key: job.job_id for key, job in jobs.items()}
    with cluster.ops_db.write() as session:
        accepted = {(attempt.id, attempt.run_id): ids.get(attempt.submission_key) for attempt in attempts}
        attempts_of.sent(session, accepted, cluster.clock())
    cluster.passing("found to be sent")
    # Whoever does not want them may be on his way out: they end now, not when the back end is asked next.
    unwanted = [jobs[a.submission_key] for a in attempts if a.cancel_requested and a.submission_key in jobs]
    if unwanted:
        cluster.backend.cancel(unwanted)


def _cancel(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> None:
    if not attempts:
        return
    cluster.store.claim([Path(attempt.directory) for attempt in attempts if attempt.directory is not None])
    with cluster.ops_db.write() as session:
        for attempt in attempts:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock())


def _give_up(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> None:
    if not attempts:
        return
    cluster.store.claim([Path(attempt.directory) for attempt in attempts if attempt.directory is not None])
    message = f"sent {MOST_SENDS} times, and {cluster.backend.name} never knew of it"
    with cluster.ops_db.write() as session:
        for attempt in attempts:
            attempts_of.failed(session, attempt.id, FailureClass.INFRASTRUCTURE, message, cluster.clock())


def _commit_intent(cluster: Cluster, batches: Sequence[tuple[Batch, Sequence[Prepared]]]) -> None:
    intents = [
        attempts_of.Intent(
            attempt_id=item.attempt.id,
            directory=str(item.plan.directory.path),
            runtime=item.job.runtime,
            command=item.job.command,
            batch_key=batch.key,
            batch_index=request.index,
        )
        for batch, items in batches
        for item, request in zip(items, batch.requests, strict=True)
    ]
    if intents:
        with cluster.ops_db.write() as session:
            attempts_of.sending(session, intents, cluster.clock())
        cluster.passing("intent committed")


def _send(cluster: Cluster, batches: Sequence[tuple[Batch, Sequence[Prepared]]]) -> None:
    """Send batch after batch; one that is in doubt or put off ends the sending for now."""
    for number, (batch, items) in enumerate(batches):
        try:
            job_id = cluster.backend.submit(batch)
        except SubmissionDoubtful:
            # The intent is committed: the back end is asked by key before anything is sent again.
            _postpone(cluster, batches[number + 1 :])
            return
        except (SubmissionPostponed, ShellUnavailable):
            _postpone(cluster, batches[number:])
            raise
        except SubmissionRefused as refusal:
            _fail(cluster, items, str(refusal))
            continue
        cluster.passing("sent")
        accepted = {
            (item.attempt.id, item.attempt.run_id): None if job_id is None else f"{job_id}_{request.index}"
            for item, request in zip(items, batch.requests, strict=True)
        }
        with cluster.ops_db.write() as session:
            attempts_of.sent(session, accepted, cluster.clock())
        cluster.passing("sending recorded")


def _postpone(cluster: Cluster, batches: Sequence[tuple[Batch, Sequence[Prepared]]]) -> None:
    attempts = [item.attempt.id for _, items in batches for item in items]
    if attempts:
        with cluster.ops_db.write() as session:
            attempts_of.postponed(session, attempts)


def _fail(cluster: Cluster, items: Sequence[Prepared], message: str) -> None:
    with cluster.ops_db.write() as session:
        for item in items:
            attempts_of.failed(session, item.attempt.id, FailureClass.INFRASTRUCTURE, message, cluster.clock())
