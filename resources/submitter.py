"""Sending attempts, at most one execution each: intent first, look-up before a second send, claim on the node."""

from collections.abc import Sequence
from pathlib import Path

from ccat_models.contract.job import Job
from ccat_models.run import attempt as attempts_of
from ccat_models.run.briefing import RunBriefing, brief
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from resources.apptainer import find_apptainer
from resources.attempt_plan import AttemptPlan, render_job
from resources.backend import JobRequest
from resources.cluster import Cluster
from resources.errors import ResourceError, StagingFailed, SubmissionDoubtful, SubmissionRefused
from resources.software import check_code, image_file
from resources.staging import attempt_plan
from resources.workspace import prepare


def submit(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> None:
    """Send the attempts that are taken up and not known to be sent."""
    staging = [attempt for attempt in attempts if attempt.run_status is RunStatus.STAGING_DATA]
    intended = [attempt for attempt in staging if attempt.state is AttemptState.INTENDED]
    doubtful = [attempt for attempt in staging if attempt.state is AttemptState.SENDING]
    unsent = _settle(cluster, doubtful) if doubtful else []
    plans = _prepare(cluster, [*intended, *unsent])
    if plans:
        _send(cluster, plans)


def claim(directory: Path) -> bool:
    """Claim an attempt in its wrapper's place, so that a job of it that turns up later runs nothing."""
    try:
        (directory / "claim").mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _settle(cluster: Cluster, doubtful: Sequence[OpenAttempt]) -> list[OpenAttempt]:
    """Find out what became of attempts that may have been sent; return those that may surely be sent again."""
    jobs = cluster.backend.find([attempt.submission_key for attempt in doubtful])
    now = cluster.clock()
    accepted, unsent = [], []
    for attempt in doubtful:
        started = attempt.directory is not None and (Path(attempt.directory) / "claim").exists()
        if attempt.submission_key in jobs or started:
            accepted.append((attempt.id, attempt.run_id))
        elif attempt.sent_at is not None and now - attempt.sent_at > cluster.timing.resend_after:
            unsent.append(attempt)
    if accepted:
        with cluster.ops_db.write() as session:
            attempts_of.sent(session, accepted, now)
    return unsent


def _prepare(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> list[tuple[OpenAttempt, AttemptPlan]]:
    if not attempts:
        return []
    with cluster.ops_db.read() as session:
        briefings = brief(session, [attempt.run_id for attempt in attempts])
    plans, commands = [], {}
    for attempt in attempts:
        if attempt.cancel_requested:
            _cancel(cluster, attempt)
            continue
        try:
            plan, job = _lay_out(cluster, briefings[attempt.run_id], attempt)
        except (ResourceError, OSError) as error:
            with cluster.ops_db.write() as session:
                attempts_of.failed(session, attempt.id, FailureClass.STAGING, str(error), cluster.clock())
            continue
        plans.append((attempt, plan))
        commands[attempt.id] = (str(plan.directory.path), job.runtime, list(job.command))
    cluster.passing("directories laid out")
    with cluster.ops_db.write() as session:
        attempts_of.sending(session, commands, cluster.clock())
    cluster.passing("intent committed")
    return plans


def _cancel(cluster: Cluster, attempt: OpenAttempt) -> None:
    if attempt.directory is not None:
        claim(Path(attempt.directory))
    with cluster.ops_db.write() as session:
        attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock())


def _lay_out(cluster: Cluster, briefing: RunBriefing, attempt: OpenAttempt) -> tuple[AttemptPlan, Job]:
    version = briefing.run.software_version
    image, apptainer = image_file(version.image_reference, version.image_sha256, cluster.sif_cache), find_apptainer()
    if image is not None and apptainer is None:
        raise StagingFailed(f"{version.image_reference}: this machine has no apptainer to run it")
    check_code(version)
    plan = attempt_plan(briefing, attempt, attempt.resources, cluster.base, image)
    rendered = render_job(plan, python=cluster.python, apptainer=apptainer or "apptainer")
    prepare(plan.directory, rendered.manifest, rendered.job, rendered.links)
    return plan, rendered.job


def _send(cluster: Cluster, plans: Sequence[tuple[OpenAttempt, AttemptPlan]]) -> None:
    requests = [
        JobRequest(
            submission_key=attempt.submission_key,
            attempt_directory=plan.directory.path,
            cpus=plan.cpus,
            memory_gb=plan.memory_gb,
            time_limit_seconds=plan.time_limit_seconds,
        )
        for attempt, plan in plans
    ]
    try:
        cluster.backend.submit(requests)
    except SubmissionDoubtful:
        return  # the intent is committed: `_settle` asks by key before anything is sent again
    except SubmissionRefused as refusal:
        with cluster.ops_db.write() as session:
            for attempt, _ in plans:
                attempts_of.failed(session, attempt.id, FailureClass.INFRASTRUCTURE, str(refusal), cluster.clock())
        return
    cluster.passing("sent")
    with cluster.ops_db.write() as session:
        attempts_of.sent(session, [(attempt.id, attempt.run_id) for attempt, _ in plans], cluster.clock())
    cluster.passing("sending recorded")
