"""One Dagster run for many sub-groups of a step: which, how they are made, and what came of each."""

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

_PUBLISHERS = "dagster"  # whose turn it is to publish, as a lease
_TURN = timedelta(minutes=5)
_RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class BatchConfig(dg.Config):
    """What a run of a step is asked to do; whoever materializes in Dagit wants it now, so cooldowns are ignored."""

    keys: list[str] | None = None  # any sub-groups; left out: the partitions of the run
    force: bool = False  # run again what is up to date
    retry: bool = True  # try again what has spent its retries
    ignore_cooldown: bool = True
    publish_only: bool = False  # run nothing: show what has been run and is not shown yet
    decided: list[int] | None = None  # run nothing: show what was decided about these runs since they were shown


@dataclass(frozen=True)
class Ended:
    """What came of a batch: reports of what completed, oldest first; by sub-group key, why the others did not."""

    completed: Sequence[RunReport]
    failed: Mapping[str, str] = field(default_factory=dict)
    told: Sequence[RunId] = ()  # that Dagster knows once the batch is over


def keys_of(context: dg.AssetExecutionContext, config: BatchConfig) -> list[str]:
    """Return the sub-groups that a run is for; raise dg.Failure where it is for none."""
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
    """Make sure that the sub-groups have their products, waiting for their runs; raise dg.Failure for unknown keys."""
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
    told = [report.run.id for report in reports.values() if report.run.status is not RunStatus.CANCELLED]
    return Ended(completed, failed, told)


def why_failed(report: RunReport) -> str:
    """Return in words how a run that did not complete ended."""
    run = report.run
    kind = run.failure_class.value if run.failure_class else run.status.value.lower()
    return f"run {run.id}: {kind}: {run.failure_message or 'no message'}"


def _why_held(reason: Reason) -> str:
    return f"not run: {reason.value}: {MEANING[reason]}"


def _options(application: Application, name: StepName, config: BatchConfig, run: dg.DagsterRun) -> RequestOptions:
    """Return the wish; where Dagster repeats a run that died, what it asked for before its death is not asked again."""
    repeated = "dagster/retry_number" in run.tags
    by = f"{WAITER_PREFIX}{run.tags.get('dagster/root_run_id', run.run_id) if repeated else run.run_id}"
    anew = not (repeated and _has_asked(application, name, by))
    return RequestOptions(
        by, ignore_cooldown=config.ignore_cooldown, force=config.force and anew, retry=config.retry and anew
    )


def _has_asked(application: Application, name: StepName, by: str) -> bool:
    """Say whether somebody has had runs made, or tried again, of a step."""
    with application.ops_db.read() as session:
        return has_asked(session, name.step_id, by)


@contextmanager
def publishing_turn(application: Application) -> Iterator[None]:
    """Wait until nobody else publishes; the turn of a process that died is over at once."""
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
