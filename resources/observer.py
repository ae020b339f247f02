"""What the back end and the attempts' directories say of jobs on their way, written to ops-db."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from ccat_models.run import attempt as attempts_of
from ccat_models.run.work import OpenAttempt, anything_on_its_way, open_attempts
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from resources.attempt_store import Found
from resources.backend import Ending, Job, JobState, Sent
from resources.cluster import Cluster
from resources.collector import collect, fail

_OBSERVED = (RunStatus.SUBMITTED, RunStatus.RUNNING)
_MARKS_AT_A_TIME = 1000
_ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.UNKNOWN)


def ask(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> Mapping[str, Job]:
    """Ask the back end once about all attempts that may have a job."""
    sent = [_sent(attempt) for attempt in attempts if attempt.state is not AttemptState.INTENDED]
    return cluster.backend.find(sent) if sent else {}


def see_marks(cluster: Cluster) -> None:
    """Collect the attempts whose wrappers say that they have ended, without asking the back end."""
    if not cluster.marked:
        return
    with cluster.ops_db.read() as session:
        if not anything_on_its_way(session, cluster.location_id):
            return
    marks = sorted(cluster.store.ended())
    for first in range(0, len(marks), _MARKS_AT_A_TIME):
        some = marks[first : first + _MARKS_AT_A_TIME]
        with cluster.ops_db.read() as session:
            marked = open_attempts(session, cluster.location_id, cluster.backend.name, statuses=_OBSERVED, keys=some)
        _collect_all(cluster, marked, {})
        with cluster.ops_db.read() as session:
            seen_to = set(some) - attempts_of.still_open(session, some)
        if seen_to:
            cluster.store.ended(seen_to)


def observe(cluster: Cluster, attempts: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """Record what the back end said, cancel what nobody wants, and collect what is no longer there."""
    sent = [attempt for attempt in attempts if attempt.run_status in _OBSERVED]
    alive = {key: job for key, job in jobs.items() if job.state in _ALIVE}
    unwanted = [alive[a.submission_key] for a in sent if a.cancel_requested and a.submission_key in alive]
    lingering = [job for job in jobs.values() if job.ending is not None and job.ending.lingers]
    if unwanted or lingering:
        cluster.backend.cancel([*unwanted, *lingering])
    _record(cluster, sent, alive)
    _collect_all(cluster, [attempt for attempt in sent if attempt.submission_key not in alive], jobs)


def _sent(attempt: OpenAttempt) -> Sent:
    return Sent(attempt.submission_key, attempt.batch_key or "", attempt.batch_index or 0, attempt.job_id)


def _record(cluster: Cluster, sent: Sequence[OpenAttempt], alive: Mapping[str, Job]) -> None:
    """Record which jobs run, which are back, and why the others wait."""
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
        cluster.passing("running recorded")


def _collect_all(cluster: Cluster, gone: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    """Collect attempts whose jobs are no longer there, those with a result first."""
    # The queue first, the directories after it: a job that ends in between is then seen next time, never as missing.
    found = cluster.store.look([Path(attempt.directory or "") for attempt in gone])
    without: list[tuple[OpenAttempt, Found]] = []
    for attempt in gone:
        seen = found.get(Path(attempt.directory or ""))
        if seen is None:
            continue  # there was no time to look: next time
        if not collect(cluster, attempt, seen, jobs.get(attempt.submission_key)):
            without.append((attempt, seen))
    _miss(cluster, without, jobs)


def _miss(cluster: Cluster, without: Sequence[tuple[OpenAttempt, Found]], jobs: Mapping[str, Job]) -> None:
    """Let attempts without job and result be lost once that has lasted, and not while their wrappers live."""
    now, timing = cluster.clock(), cluster.timing
    newly = [attempt.id for attempt, _ in without if attempt.missing_since is None]
    if newly:
        with cluster.ops_db.write() as session:
            attempts_of.missing(session, newly, now)
    lost = [
        (attempt, seen)
        for attempt, seen in without
        if attempt.missing_since is not None
        and now - attempt.missing_since > timing.lost_after
        and not _lives(seen, timing.alive_within)
    ]
    if not lost:
        return
    told = {key: job.ending for key, job in jobs.items() if job.ending is not None}
    untold = [_sent(attempt) for attempt, _ in lost if attempt.submission_key not in told]
    endings = {**cluster.backend.endings(untold), **told} if untold else told
    never_began = cluster.store.claim([Path(attempt.directory or "") for attempt, _ in lost])
    for attempt, _ in lost:
        began = Path(attempt.directory or "") not in never_began
        _lose(cluster, attempt, endings.get(attempt.submission_key), began=began)


def _lives(seen: Found, within: timedelta) -> bool:
    age = seen.heartbeat_age_seconds
    return age is not None and age < within.total_seconds()


def _lose(cluster: Cluster, attempt: OpenAttempt, ending: Ending | None, *, began: bool) -> None:
    if attempt.cancel_requested:
        with cluster.ops_db.write() as session:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock())
        return
    seconds = int((cluster.clock() - (attempt.missing_since or cluster.clock())).total_seconds())
    story = f"without a result for {seconds} s; {'it had begun' if began else 'it never began'}"
    if ending is None:
        fail(cluster, attempt, FailureClass.LOST, f"not in the queue and {story}")
    else:
        fail(cluster, attempt, ending.failure, f"{ending.message}; {story}", evidence=dict(ending.evidence))
