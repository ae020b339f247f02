"""One Dagster run for many sub-groups of a step: which they are, how they are run, and how each ended."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import sleep

import dagster as dg

from ccat_assets.dagit.names import StepName
from ccat_assets.wiring.application import Application
from ccat_models.errors import CcatError
from ccat_models.gap.reasons import MEANING, Reason
from ccat_models.lineage.run_report import RunReport, read_reports
from ccat_models.run.lease import give_up_lease, take_lease
from ccat_models.run.request import has_asked
from ccat_models.run.unpublished import WAITER_PREFIX
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import RunStatus
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from resources.run.holder import is_gone

_PUBLISHERS = "dagster"  # the lease of the process that publishes
_TURN = timedelta(minutes=5)
_RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class BatchConfig(dg.Config):
    """The configuration of a Dagster run of a step. A request in Dagit is urgent, so cooldowns are ignored."""

    keys: list[str] | None = None  # any sub-groups; left out: the partitions of the run
    force: bool = False  # run also the sub-groups that are up to date
    retry: bool = True  # run also the sub-groups whose retries are exhausted
    ignore_cooldown: bool = True
    publish_only: bool = False  # run nothing: publish the runs that have ended and are not published yet
    decided: list[int] | None = None  # run nothing: publish the decisions about these published runs


@dataclass(frozen=True)
class Ended:
    """How a batch ended: reports of completed runs, the oldest first; by sub-group key, why the others failed."""

    completed: Sequence[RunReport]
    failed: Mapping[str, str] = field(default_factory=dict)
    published: Sequence[RunId] = ()  # once the events of this batch are stored


def keys_of(context: dg.AssetExecutionContext, config: BatchConfig) -> list[str]:
    """Return the sub-groups that a Dagster run is for; raise dg.Failure where there are none."""
    keys = list(dict.fromkeys(config.keys)) if config.keys is not None else _partition_keys(context)
    if not keys:
        tags = ", ".join(f"{tag} = {context.run.tags.get(tag)}" for tag in _RANGE_TAGS)
        raise dg.Failure(f"no partition to materialize ({tags}): is the range reversed?", allow_retries=False)
    return keys


def _partition_keys(context: dg.AssetExecutionContext) -> list[str]:
    tags = context.run.tags
    if "dagster/partition" not in tags and not all(tag in tags for tag in _RANGE_TAGS):
        raise dg.Failure("name the partitions to materialize, or `keys` in the configuration", allow_retries=False)
    return list(context.partition_keys)


def make(
    application: Application, name: StepName, keys: Sequence[str], config: BatchConfig, run: dg.DagsterRun
) -> Ended:
    """Request what the sub-groups lack, and wait for their runs; raise dg.Failure for unknown keys."""
    options = _options(application, name, config, run)
    attached = Attached(application.executor, f"{WAITER_PREFIX}{run.run_id}", application.settings.poll_seconds)
    try:
        outcome = attached.run_step(name.pipeline, name.step, keys, options)
    except CcatError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    answer, waited_for = outcome.last[name.step], outcome.runs[name.step]
    runs = {**answer.up_to_date, **waited_for}
    with application.ops_db.read() as session:
        reports = read_reports(session, sorted(runs.values()))
    completed = [report for report in reports.values() if report.run.status is RunStatus.COMPLETED]
    failed = {report.key: why_failed(report) for report in reports.values() if report not in completed}
    failed |= {key: _why_held(reason) for key, reason in answer.held.items() if key not in waited_for}
    published = [report.run.id for report in reports.values() if report.run.status is not RunStatus.CANCELLED]
    return Ended(completed, failed, published)


def why_failed(report: RunReport) -> str:
    """Return how a run ended that did not complete, as text."""
    run = report.run
    kind = run.failure_class.value if run.failure_class else run.status.value.lower()
    return f"run {run.id}: {kind}: {run.failure_message or 'no message'}"


def _why_held(reason: Reason) -> str:
    return f"not run: {reason.value}: {MEANING[reason]}"


def _options(application: Application, name: StepName, config: BatchConfig, run: dg.DagsterRun) -> RequestOptions:
    """Return the request's options.

    Dagster repeats a run that died. If the first one made its requests, `force` and `retry` are not applied again.
    """
    repeated = "dagster/retry_number" in run.tags
    by = f"{WAITER_PREFIX}{run.tags.get('dagster/root_run_id', run.run_id) if repeated else run.run_id}"
    is_new = not (repeated and _has_asked(application, name, by))
    return RequestOptions(
        by, ignore_cooldown=config.ignore_cooldown, force=config.force and is_new, retry=config.retry and is_new
    )


def _has_asked(application: Application, name: StepName, by: str) -> bool:
    """Say whether this requester has requested runs, or repeated ones, of a step."""
    with application.ops_db.read() as session:
        return has_asked(session, name.step_id, by)


@contextmanager
def publishing_turn(application: Application) -> Iterator[None]:
    """Wait until no other process publishes; the lease of a process that died is free at once."""
    holder = application.executor.holder
    while True:
        with application.ops_db.write() as session:
            if take_lease(session, _PUBLISHERS, holder, application.clock(), _TURN, is_gone):
                break
        sleep(application.settings.poll_seconds)
    try:
        yield
    finally:
        with application.ops_db.write() as session:
            give_up_lease(session, _PUBLISHERS, holder)
