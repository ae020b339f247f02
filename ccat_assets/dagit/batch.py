"""One Dagster run for many sub-groups of steps: which they are, how they are run, and how each ended."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import sleep

import dagster as dg

from ccat_assets.dagit.backfills import Neighbours
from ccat_assets.dagit.failures import why_failed
from ccat_assets.dagit.names import StepName
from ccat_assets.wiring.application import Application
from ccat_models.errors import CcatError
from ccat_models.gap.reasons import MEANING
from ccat_models.lineage.run_report import RunReport, read_reports
from ccat_models.run.lease import give_up_lease, take_lease
from ccat_models.run.request import has_asked
from ccat_models.run.unpublished import WAITER_PREFIX
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import RunStatus
from resources.request.attached import Attached, Outcome, Wanted
from resources.request.attached import Progress as ProgressCallback
from resources.request.ensure import RequestOptions
from resources.run.holder import is_gone

_PUBLISHERS = "dagster"  # the lease of the process that publishes
_TURN = timedelta(minutes=5)
_RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class BatchConfig(dg.Config):
    """The configuration of a Dagster run of steps. A request in Dagit is urgent, so cooldowns are ignored."""

    keys: list[str] | None = None  # any sub-groups; left out: the partitions of the run
    force: bool = False  # run also the sub-groups that are up to date
    retry: bool = True  # run also the sub-groups whose retries are exhausted
    ignore_cooldown: bool = True
    publish_only: bool = False  # run nothing: publish the runs that have ended and are not published yet
    decided: list[int] | None = None  # run nothing: publish the decisions about these published runs


@dataclass(frozen=True)
class Ended:
    """How a step's batch ended: reports of completed runs, the oldest first; by key, why the others failed."""

    name: StepName
    completed: Sequence[RunReport]
    failed: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[RunReport] = ()  # of those that had a run
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


@dataclass(frozen=True)
class Batch:
    """Sub-groups of steps that one Dagster run has to make."""

    application: Application
    names: Sequence[StepName]
    keys: Sequence[str]
    config: BatchConfig
    run: dg.DagsterRun
    neighbours: Neighbours
    progress: ProgressCallback

    @property
    def _waiter(self) -> str:
        return f"{WAITER_PREFIX}{self.run.run_id}"

    def make(self) -> list[Ended]:
        """Request what the sub-groups lack, and wait for their runs; return how each step's ended.

        Raises dg.Failure for unknown keys.
        """
        wanted = {**self.neighbours.earlier, **{name.step: self.keys for name in self.names}}
        outcome = self._run(wanted, _options(self.application, self.names, self.config, self.run))
        ended = [_ended(self.application, name, outcome) for name in self.names]
        return [*ended, *self._dropped()] if any(one.failed for one in ended) else ended

    def _dropped(self) -> Iterator[Ended]:
        """Request the steps for which Dagster begins no run any more; yield why they cannot be run, where that is so.

        A sensor publishes their runs. Several runs of a backfill may come here: they share those runs.
        """
        dropped = self.neighbours.dropped
        if not dropped:
            return
        wanted = {**self.neighbours.before_dropped, **{name.step: keys for name, keys in dropped.items()}}
        outcome = self._run(wanted, RequestOptions(self._waiter, ignore_cooldown=self.config.ignore_cooldown))
        for name in dropped:
            yield Ended(name, (), _held(name, outcome))

    def _run(self, wanted: Wanted, options: RequestOptions) -> Outcome:
        poll_seconds = self.application.settings.poll_seconds
        attached = Attached(self.application.executor, self._waiter, poll_seconds, self.progress)
        try:
            return attached.run_steps(self.names[0].pipeline, wanted, options)
        except CcatError as error:
            raise dg.Failure(str(error), allow_retries=False) from error


def _ended(application: Application, name: StepName, outcome: Outcome) -> Ended:
    runs = {**outcome.last[name.step].up_to_date, **outcome.runs[name.step]}
    with application.ops_db.read() as session:
        reports = read_reports(session, sorted(runs.values()))
    completed = [report for report in reports.values() if report.run.status is RunStatus.COMPLETED]
    failures = [report for report in reports.values() if report.run.status is not RunStatus.COMPLETED]
    failed = {report.key: why_failed(report) for report in failures} | _held(name, outcome)
    published = [report.run.id for report in reports.values() if report.run.status is not RunStatus.CANCELLED]
    return Ended(name, completed, failed, failures, published)


def _held(name: StepName, outcome: Outcome) -> dict[str, str]:
    """Return the sub-groups for which there was no run, and why."""
    held, waited_for = outcome.last[name.step].held, outcome.runs[name.step]
    return {key: f"not run: {reason.value}: {MEANING[reason]}" for key, reason in held.items() if key not in waited_for}


def _options(
    application: Application, names: Sequence[StepName], config: BatchConfig, run: dg.DagsterRun
) -> RequestOptions:
    """Return the request's options.

    Dagster repeats a run that died. If the first one made its requests, which it does for all steps at once, `force`
    and `retry` are not applied again.
    """
    repeated = "dagster/retry_number" in run.tags
    by = f"{WAITER_PREFIX}{run.tags.get('dagster/root_run_id', run.run_id) if repeated else run.run_id}"
    is_new = not (repeated and any(_has_asked(application, name, by) for name in names))
    return RequestOptions(
        by,
        ignore_cooldown=config.ignore_cooldown,
        force=config.force and is_new,
        retry=config.retry and is_new,
        rerun={name.step for name in names},
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
