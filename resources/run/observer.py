"""Record in ops-db what the back end and the attempts' directories say of jobs that were sent."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ccat_models.run import attempt as attempts_of
from ccat_models.run.work import LeftBehind, OpenAttempt, any_job_possible, open_attempts, open_reproductions
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from resources.backend import ALIVE, Ending, Job, JobState
from resources.errors import TransientError
from resources.location import Cluster
from resources.run.batches import sent_as
from resources.run.collector import collect, fail, needs_explanation
from resources.run.unsent import block_start
from resources.workspace.store import Found

_LOG = logging.getLogger(__name__)
_OBSERVED = (RunStatus.SUBMITTED, RunStatus.RUNNING)
_MARKS_AT_A_TIME = 1000
_ASKED_AT_A_TIME = 100


def ask(cluster: Cluster, attempts: Sequence[OpenAttempt], ended: Sequence[LeftBehind] = ()) -> Mapping[str, Job]:
    """Ask the back end once about all attempts that may have a job; return the jobs by submission key."""
    sent = [sent_as(attempt) for attempt in attempts if attempt.state is not AttemptState.INTENDED]
    sent += [sent_as(attempt) for attempt in ended]
    return cluster.backend.find(sent) if sent else {}


def clear(cluster: Cluster, ended: Sequence[LeftBehind], jobs: Mapping[str, Job]) -> None:
    """Cancel jobs of attempts that have ended: those still in the queue, and of lost attempts also running ones."""
    left = [(jobs[attempt.submission_key], attempt.is_lost) for attempt in ended if attempt.submission_key in jobs]
    _cancel(cluster, [job for job, lost in left if job.state is JobState.QUEUED or (lost and job.state in ALIVE)])


def see_marks(cluster: Cluster) -> None:
    """Collect the attempts whose wrappers say that they have ended, without asking the back end."""
    if not cluster.backend.node.leaves_marks:
        return
    with cluster.ops_db.read() as session:
        if not any_job_possible(session, cluster.location_id):
            return
    marks = sorted(cluster.store.ended())
    for first in range(0, len(marks), _MARKS_AT_A_TIME):
        some = marks[first : first + _MARKS_AT_A_TIME]
        with cluster.ops_db.read() as session:
            here = cluster.location_id, cluster.backend.name
            marked = open_attempts(session, *here, statuses=_OBSERVED, keys=some)
            again = open_reproductions(session, *here, cluster.clock(), keys=some)
        _collect_marked(cluster, [*marked, *(attempt for attempt in again if attempt.run_status in _OBSERVED)])
        with cluster.ops_db.read() as session:
            seen_to = set(some) - attempts_of.still_open(session, some)
        if seen_to:
            cluster.store.ended(seen_to)


def observe(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """Record the state of jobs, cancel those whose attempts are to be cancelled, and collect those that are gone."""
    sent = [attempt for attempt in attempts if attempt.run_status in _OBSERVED]
    alive = {key: job for key, job in jobs.items() if job.state in ALIVE}
    lingering = {key: job for key, job in jobs.items() if job.ending is not None and job.ending.lingers}
    unwanted = [alive[a.submission_key] for a in sent if a.cancel_requested and a.submission_key in alive]
    _cancel(cluster, [*unwanted, *lingering.values()])
    _end_lingering(cluster, [attempt for attempt in sent if attempt.submission_key in lingering], lingering)
    _record(cluster, sent, alive)
    gone = [a for a in sent if a.submission_key not in alive and a.submission_key not in lingering]
    _collect_gone(cluster, gone, jobs)


def _cancel(cluster: Cluster, jobs: Sequence[Job]) -> None:
    """Ask the back end to end jobs; log if that fails now, so that the other jobs are still observed."""
    if not jobs:
        return
    try:
        cluster.backend.cancel(jobs)
    except TransientError as error:
        _LOG.warning("%s: not cancelled yet: %s", cluster.name, error)


def _end_lingering(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """End attempts whose jobs wait in the queue and will never run, and prevent that they ever start.

    An attempt may have begun, and its job been queued again: then it may have left a result, or may run again by now.
    Without a result it ends only after `Timing.lost_after`, as any attempt whose job is missing.
    """
    blocked, begun = block_start(cluster, attempts)
    for attempt in blocked:
        _lose(cluster, attempt, jobs[attempt.submission_key].ending, "it never began")
    looked_at = [(attempt, seen) for attempt, seen in _look(cluster, begun) if seen.trouble is None]
    for attempt, seen in looked_at:
        if not seen.is_silent:
            collect(cluster, attempt, seen, jobs[attempt.submission_key].ending)
    for attempt, _ in _given_up(cluster, [(attempt, seen) for attempt, seen in looked_at if seen.is_silent]):
        _lose(cluster, attempt, jobs[attempt.submission_key].ending, "it had begun")


def _record(cluster: Cluster, sent: Sequence[OpenAttempt], alive: Mapping[str, Job]) -> None:
    """Record which jobs run, which were missing and were found again, and why the others wait."""
    started, back, waits = {}, [], {}
    for attempt in sent:
        job = alive.get(attempt.submission_key)
        if job is None:
            continue
        if job.state is JobState.RUNNING and attempt.state is not AttemptState.RUNNING:
            started[attempt.id, attempt.run_id] = job.job_id
        elif attempt.missing_since is not None:
            back.append(attempt.id)
        if job.state is JobState.QUEUED and job.reason and (attempt.evidence or {}).get("waits") != job.reason:
            waits[attempt.id] = job.reason
    if started or back or waits:
        with cluster.ops_db.write() as session:
            attempts_of.seen_again(session, back)
            attempts_of.waiting(session, waits)
            attempts_of.running(session, started, cluster.clock())


def _look(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> list[tuple[OpenAttempt, Found]]:
    """Return what attempts left in their directories, without those that the store had no time for in this call."""
    found = cluster.store.look([Path(attempt.directory or "") for attempt in attempts])
    return [(a, found[Path(a.directory or "")]) for a in attempts if Path(a.directory or "") in found]


def _collect_marked(cluster: Cluster, marked: Sequence[OpenAttempt]) -> None:
    """Collect attempts whose results are there, except those whose end only the back end can explain."""
    for attempt, seen in _look(cluster, marked):
        if not seen.is_silent and seen.trouble is None and not needs_explanation(attempt, seen):
            collect(cluster, attempt, seen, None)


def _collect_gone(cluster: Cluster, gone: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """Collect attempts whose jobs are gone, and record as lost those that left no result.

    The back end's accounting is asked once, about at most `_ASKED_AT_A_TIME` attempts; the others wait until next time.
    """
    # The queue was read before the directories: a job that ends in between is collected next time, and not missing.
    found = _look(cluster, gone)
    looked_at = [(attempt, seen) for attempt, seen in found if seen.trouble is None]
    _give_up_unread(cluster, [(attempt, seen.trouble) for attempt, seen in found if seen.trouble is not None])
    silent = _given_up(cluster, [(attempt, seen) for attempt, seen in looked_at if seen.is_silent])
    lost, never_began = _claimed(cluster, silent[:_ASKED_AT_A_TIME])
    unexplained = [attempt for attempt, seen in looked_at if needs_explanation(attempt, seen)]
    room = _ASKED_AT_A_TIME - len(lost)
    endings = _endings(cluster, [*lost, *unexplained[:room]], jobs)
    later = {attempt.id for attempt in unexplained[room:]}
    for attempt, seen in looked_at:
        if not seen.is_silent and attempt.id not in later:
            collect(cluster, attempt, seen, endings.get(attempt.submission_key))
    _lose_all(cluster, lost, never_began, endings)


def _endings(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> dict[str, Ending]:
    """Return how jobs ended, by submission key: by the queue, and for these attempts also by the accounting."""
    accounts = cluster.backend.endings([sent_as(attempt) for attempt in attempts]) if attempts else {}
    endings = dict(accounts)
    for key, job in jobs.items():
        if job.ending is not None:
            more = accounts[key].evidence if key in accounts and accounts[key].failure is job.ending.failure else {}
            endings[key] = replace(job.ending, evidence={**more, **job.ending.evidence})
    return endings


def _given_up(cluster: Cluster, silent: Sequence[tuple[OpenAttempt, Found]]) -> list[tuple[OpenAttempt, Found]]:
    """Record which attempts are missing; return those missing for too long whose wrappers give no sign of life."""
    now, timing = cluster.clock(), cluster.timing
    _note_missing(cluster, [attempt for attempt, _ in silent])
    return [
        (attempt, seen)
        for attempt, seen in silent
        if attempt.missing_since is not None
        and now - attempt.missing_since > timing.lost_after
        and not seen.lives(timing.alive_within)
    ]


def _note_missing(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> None:
    newly = [attempt.id for attempt in attempts if attempt.missing_since is None]
    if newly:
        with cluster.ops_db.write() as session:
            attempts_of.missing(session, newly, cluster.clock())


def _give_up_unread(cluster: Cluster, troubled: Sequence[tuple[OpenAttempt, str]]) -> None:
    """Wait for files that cannot be read now; after `Timing.unread_after` the attempt has failed, or is cancelled."""
    _note_missing(cluster, [attempt for attempt, _ in troubled])
    for attempt, trouble in troubled:
        since = cluster.clock() - (attempt.missing_since or cluster.clock())
        if since > cluster.timing.unread_after:
            ending = Ending(FailureClass.COLLECTION, trouble)
            _lose(cluster, attempt, ending, f"not to be read for {int(since.total_seconds())} s")
        else:
            _LOG.warning("%s: %s: asking again later", cluster.name, trouble)


def _claimed(
    cluster: Cluster, given_up: Sequence[tuple[OpenAttempt, Found]]
) -> tuple[list[OpenAttempt], Collection[Path]]:
    """Claim missing attempts, so that a job that appears later runs nothing.

    Returns the attempts that are lost, and the directories of those that never began. An attempt that its wrapper
    claimed after we looked is alive, and not lost, however long its job was missing.
    """
    never_began = cluster.store.claim([Path(attempt.directory or "") for attempt, _ in given_up])
    lost = [a for a, seen in given_up if seen.claimed or Path(a.directory or "") in never_began]
    return lost, never_began


def _lose_all(
    cluster: Cluster, lost: Sequence[OpenAttempt], never_began: Collection[Path], endings: Mapping[str, Ending]
) -> None:
    now = cluster.clock()
    for attempt in lost:
        seconds = int((now - (attempt.missing_since or now)).total_seconds())
        began = "it never began" if Path(attempt.directory or "") in never_began else "it had begun"
        _lose(cluster, attempt, endings.get(attempt.submission_key), f"without a result for {seconds} s; {began}")


def _lose(cluster: Cluster, attempt: OpenAttempt, ending: Ending | None, story: str) -> None:
    if attempt.cancel_requested:
        with cluster.ops_db.write() as session:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock())
        return
    if ending is None:
        fail(cluster, attempt, FailureClass.LOST, f"not in the queue and {story}")
    else:
        fail(cluster, attempt, ending.failure, f"{ending.message}; {story}", evidence=dict(ending.evidence))
