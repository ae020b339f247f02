"""What the back end and the attempts' directories say of jobs on their way, written to ops-db."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.contract.result import Result
from ccat_models.product.collect import Collected, register
from ccat_models.run import attempt as attempts_of
from ccat_models.run.retry import classify
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from resources.backend import Job, JobState
from resources.cluster import Cluster
from resources.errors import OutputsUnusable, ResultUnreadable
from resources.outputs import output_directory_of, read_metrics, verify_outputs
from resources.submitter import claim
from resources.workspace import read_result

_OBSERVED = (RunStatus.SUBMITTED, RunStatus.RUNNING)


def observe(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> None:
    """Ask the back end once about all attempts on their way and record what changed."""
    sent = [attempt for attempt in attempts if attempt.run_status in _OBSERVED]
    if not sent:
        return
    unwanted = [attempt.submission_key for attempt in sent if attempt.cancel_requested]
    if unwanted:
        cluster.backend.cancel(unwanted)
    # The queue first, the directories after it: a job that ends in between is then seen next time, never as missing.
    jobs = cluster.backend.find([attempt.submission_key for attempt in sent])
    _record_running(cluster, sent, jobs)
    for attempt in sent:
        if attempt.submission_key not in jobs:
            _left_the_queue(cluster, attempt)


def _record_running(cluster: Cluster, sent: Sequence[OpenAttempt], jobs: Mapping[str, Job]) -> None:
    started = [
        (attempt, jobs[attempt.submission_key])
        for attempt in sent
        if attempt.state is not AttemptState.RUNNING
        and attempt.submission_key in jobs
        and jobs[attempt.submission_key].state is JobState.RUNNING
    ]
    back = [attempt.id for attempt in sent if attempt.submission_key in jobs and attempt.missing_since is not None]
    if started or back:
        with cluster.ops_db.write() as session:
            attempts_of.seen_again(session, back)
            for attempt, job in started:
                attempts_of.running(session, attempt.id, attempt.run_id, job.job_id, cluster.clock())
        cluster.passing("running recorded")


def _left_the_queue(cluster: Cluster, attempt: OpenAttempt) -> None:
    directory = Path(attempt.directory or "")
    try:
        result = read_result(directory, attempt.submission_key)
        if result is None:
            _missing(cluster, attempt, directory)
        elif result.outcome == "completed":
            _collect(cluster, attempt, directory, result)
        else:
            _ended_badly(cluster, attempt, result)
    except (ResultUnreadable, OutputsUnusable, OSError) as error:  # one attempt's bad files must not hold up the others
        _fail(cluster, attempt, FailureClass.COLLECTION, str(error))


def _missing(cluster: Cluster, attempt: OpenAttempt, directory: Path) -> None:
    now = cluster.clock()
    if attempt.missing_since is None:
        with cluster.ops_db.write() as session:
            attempts_of.missing(session, attempt.id, now)
        return
    if now - attempt.missing_since <= cluster.timing.lost_after:
        return
    never_started = claim(directory)
    if attempt.cancel_requested:
        with cluster.ops_db.write() as session:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, now)
        return
    began = "it never began" if never_started else "it had begun"
    seconds = int((now - attempt.missing_since).total_seconds())
    message = f"not in the queue and without a result for {seconds} s; {began}"
    _fail(cluster, attempt, FailureClass.LOST, message)


def _collect(cluster: Cluster, attempt: OpenAttempt, directory: Path, result: Result) -> None:
    verify_outputs(directory, result)
    output_directory = output_directory_of(directory)
    collected = Collected(
        result=result,
        output_directory=output_directory,
        location_id=cluster.location_id,
        location_path=directory.relative_to(cluster.base).as_posix(),
        metrics=read_metrics(directory, output_directory, result),
    )
    cluster.passing("outputs verified")
    with cluster.ops_db.write() as session:
        register(session, attempt.id, attempt.run_id, collected, cluster.clock())
    cluster.passing("collected")


def _ended_badly(cluster: Cluster, attempt: OpenAttempt, result: Result) -> None:
    if attempt.cancel_requested:
        with cluster.ops_db.write() as session:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock(), result)
        return
    failure = classify(result)
    if failure is not None:
        _fail(cluster, attempt, *failure, result=result)


def _fail(
    cluster: Cluster, attempt: OpenAttempt, failure: FailureClass, message: str, result: Result | None = None
) -> None:
    evidence = None if result is None else {"outcome": result.outcome, "signal": result.signal, "host": result.host}
    with cluster.ops_db.write() as session:
        attempts_of.failed(session, attempt.id, failure, message, cluster.clock(), result=result, evidence=evidence)
    cluster.passing("failure recorded")
