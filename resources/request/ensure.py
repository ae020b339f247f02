"""`ensure`: for each sub-group, return its up-to-date run, join a run in flight, or create one. Safe to repeat."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ccat_models.chunks import chunks
from ccat_models.errors import NotFound, Refused
from ccat_models.gap.answer import StepCounts, counts, gaps
from ccat_models.gap.evaluate import EvaluationOptions, evaluate
from ccat_models.gap.reasons import RENEWABLE, Reason
from ccat_models.gap.rounds import begin_round
from ccat_models.pipeline.view import PipelineView, StepView, load_pipeline
from ccat_models.run.cancel import wait_for
from ccat_models.run.regenerate import regenerate, regenerations_in_flight, renew
from ccat_models.run.request import create_runs, free_places, keys_of_new, request_rerun
from ccat_models.run.requested import Requested
from ccat_models.sub_group.refresh import refresh_all
from ccat_models.tables.base import RunId, StepId, SubGroupId
from resources.location import Cluster
from resources.ops_db import Session


@dataclass(frozen=True)
class RequestOptions:
    """The requester `by`, and its choices: `force` runs again what is up to date, `retry` renews used-up retries.

    Both apply to the steps named in `rerun`, or to all that are wanted.
    A `patient` requester's steps wait while upstream runs are in flight or will be created; with `upstream`, it also
    waits for those in flight that another requester began. With `follow`, a request for a whole pipeline begins a
    pipeline round: other processes then request the runs of downstream steps, and the requester need not wait.
    """

    by: str
    ignore_cooldown: bool = False
    patient: bool = False
    upstream: bool = False
    force: bool = False
    retry: bool = False
    rerun: Collection[str] | None = None
    follow: bool = False


@dataclass(frozen=True)
class Ensured:
    """What `ensure` found or did for one step, by sub-group key."""

    up_to_date: Mapping[str, RunId]  # the current run
    joined: Mapping[str, RunId]  # was in flight already
    created: Mapping[str, RunId]
    held: Mapping[str, Reason]  # why nothing can be run now
    counts: Mapping[StepId, StepCounts] = field(default_factory=dict)
    left: int = 0  # how many of the held sub-groups wait only because too many runs are in flight
    inputs: Mapping[RunId, str] = field(default_factory=dict)  # runs that regenerate purged inputs, and their steps
    upstream: frozenset[RunId] = frozenset()  # runs in flight of other requesters that waiting sub-groups wait for

    @property
    def in_flight(self) -> Mapping[str, RunId]:
        """Return the runs in flight that will make the products."""
        return {**self.joined, **self.created}

    @property
    def awaited(self) -> frozenset[RunId]:
        """Return the runs to wait for, those that make the inputs included."""
        return frozenset((*self.joined.values(), *self.created.values(), *self.inputs, *self.upstream))


def refresh_and_evaluate(session: Session, cluster: Cluster, pipeline: PipelineView, options: RequestOptions) -> None:
    """Update which packages belong to which sub-group, and fill `gap_now`; needs a request's or write session."""
    now = cluster.clock()
    refresh_all(session, [step.partitioning_id for step in pipeline.steps], now)
    evaluate(
        session, pipeline, EvaluationOptions(now, ignore_cooldown=options.ignore_cooldown, patient=options.patient)
    )


def ensure(
    cluster: Cluster,
    pipeline_name: str,
    step_name: str,
    keys: Collection[str] | None,
    options: RequestOptions,
    *,
    waiter: str | None = None,
    brief: bool = False,
) -> Ensured:
    """Make sure that each of the step's sub-groups (all if `keys` is None) has, or will have, its products.

    See `ensure_steps`.
    """
    wanted = {step_name: keys}
    return ensure_steps(cluster, pipeline_name, wanted, options, waiter=waiter, brief=brief)[step_name]


def ensure_steps(
    cluster: Cluster,
    pipeline_name: str,
    wanted: Mapping[str, Collection[str] | None],
    options: RequestOptions,
    *,
    waiter: str | None = None,
    brief: bool = False,
) -> dict[str, Ensured]:
    """Make sure that the wanted sub-groups of each step (all for None) have, or will have, their products.

    `waiter` names a requester that waits until the runs have ended; for it each sub-group is run at most once. A
    `brief` answer says what is up to date or held only when no run is in flight or left: that takes time. Raises
    NotFound for an unknown pipeline, step or key, and Refused for a pipeline of another processing location; in both
    cases nothing is changed.
    """
    with cluster.ops_db.request() as session:
        pipeline = _served_here(cluster, load_pipeline(session, pipeline_name))
        named = {pipeline.step(name).step_id for name in wanted}
        steps = [step for step in pipeline.steps if step.step_id in named]
        request = _Request(session, cluster, pipeline, options, waiter, wanted, once=waiter is not None)
        refresh_and_evaluate(session, cluster, pipeline, options)
        for step in steps:
            request.refuse_unknown(step)
        for step in steps:
            if options.rerun is None or step.name in options.rerun:
                request.request_rerun(step)
        return request.answers(steps, brief=brief)


def ensure_pipeline(
    cluster: Cluster, pipeline_name: str, options: RequestOptions, *, waiter: str | None = None, brief: bool = False
) -> dict[str, Ensured]:
    """Create every run that the pipeline can have now; return what was found or done, by step.

    `waiter` names a requester that waits until the runs have ended. A `brief` answer says what is up to date or held
    only when no run is in flight or left. Raises NotFound for an unknown pipeline, and Refused for one of another
    processing location.
    """
    with cluster.ops_db.request() as session:
        pipeline = _served_here(cluster, load_pipeline(session, pipeline_name))
        refresh_and_evaluate(session, cluster, pipeline, options)
        if options.follow:
            begin_round(session, pipeline.pipeline_id, by=options.by, now=cluster.clock())
        return _Request(session, cluster, pipeline, options, waiter).answers(pipeline.steps, brief=brief)


def has_place(cluster: Cluster, pipeline_name: str, step_names: Collection[str]) -> bool:
    """Say whether one of these steps may have one more run in flight; raise NotFound for one that is unknown."""
    with cluster.ops_db.read() as session:
        pipeline = load_pipeline(session, pipeline_name)
        steps = [pipeline.step(name) for name in step_names]
        return any(free_places(session, pipeline, step, cluster.max_in_flight) != 0 for step in steps)


def _served_here(cluster: Cluster, pipeline: PipelineView) -> PipelineView:
    """Return a pipeline that this cluster may run; raise Refused for one of another processing location."""
    if pipeline.processing_location_id != cluster.location_id:
        raise Refused(
            f"pipeline {pipeline.name}: is run at processing location {pipeline.processing_location_id}, "
            f"and this process serves {cluster.location_id} (setting processing_location_id)"
        )
    return pipeline


@dataclass(frozen=True)
class _Request:
    """One request, after `gap_now` was filled: for the sub-groups in `keys` of each step, or for all of them."""

    session: Session
    cluster: Cluster
    pipeline: PipelineView
    options: RequestOptions
    waiter: str | None
    keys: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    once: bool = False  # run no sub-group whose run the waiter has waited for already

    def _requested(self, step: StepView) -> Requested:
        return Requested(self.session, self.keys.get(step.name))

    def refuse_unknown(self, step: StepView) -> None:
        """Raise NotFound, naming some known keys, unless every key is one of the step's."""
        keys = self.keys.get(step.name)
        if keys is None:
            return
        unknown = sorted(set(keys) - self._requested(step).known_keys(step))
        if unknown:
            choices = [gap.key for gap in gaps(self.session, step, limit=20)]
            raise NotFound(f"sub-group of step {step.name}", ", ".join(unknown[:5]), choices)

    def request_rerun(self, step: StepView) -> None:
        """Record which sub-groups are forced or retried, and evaluate the gaps again if there are any."""
        options, session, now = self.options, self.session, self.cluster.clock()
        if not (options.force or options.retry):
            return
        if asked := self._requested(step).sub_groups(step, None if options.force else RENEWABLE):
            request_rerun(session, step, asked, force=options.force, by=options.by, now=now)
            evaluate(session, self.pipeline, EvaluationOptions(now, options.ignore_cooldown, options.patient))
        lacked = self._requested(step).lacked(self.pipeline, step) if options.retry else None
        if lacked is not None:
            renew(session, self.pipeline, lacked, by=options.by, now=now)

    def answers(self, steps: Sequence[StepView], *, brief: bool) -> dict[str, Ensured]:
        """Create the runs that may be in flight now, and return what was found or done, by step."""
        begun = {step.name: self._begin(step) for step in steps}
        in_flight = {run for answer in begun.values() for run in answer.awaited}
        if self.waiter is not None and in_flight:
            wait_for(self.session, in_flight, self.waiter, self.cluster.clock())
        if brief and (in_flight or any(answer.left for answer in begun.values())):
            return begun
        found = counts(self.session)
        return {step.name: self._whole(step, replace(begun[step.name], counts=found)) for step in steps}

    def _begin(self, step: StepView) -> Ensured:
        requested = self._requested(step)
        joined = requested.in_flight(step)
        inputs = self._inputs(step)
        created, left = self._create(step)
        upstream = requested.upstream_in_flight(self.pipeline, step) if self.options.upstream else ()
        return Ensured({}, joined, created, {}, left=left, inputs=inputs, upstream=frozenset(upstream))

    def _inputs(self, step: StepView) -> dict[RunId, str]:
        """Return the runs, requested now or before, that regenerate purged products for the step's sub-groups."""
        lacked = self._requested(step).lacked(self.pipeline, step)
        if lacked is None:
            return {}
        regenerate(
            self.session,
            self.pipeline,
            lacked,
            backend=self.cluster.backend.name,
            requested_by=self.options.by,
            now=self.cluster.clock(),
            at_location=self.cluster.max_in_flight,
        )
        return regenerations_in_flight(self.session, lacked)

    def _whole(self, step: StepView, begun: Ensured) -> Ensured:
        up_to_date, held, done = {}, {}, begun.in_flight
        for gap in gaps(self.session, step, keys=self.keys.get(step.name)):
            if gap.reason is Reason.UP_TO_DATE and gap.acceptable_run_id is not None:
                up_to_date[gap.key] = gap.acceptable_run_id
            elif gap.key not in done:
                held[gap.key] = gap.reason
        return replace(begun, up_to_date=up_to_date, held=held)

    def _create(self, step: StepView) -> tuple[dict[str, RunId], int]:
        """Return the runs created, by key, and how many more could not be: too many are in flight."""
        waiter = self.waiter if self.once else None
        requested = self._requested(step)
        total, again = requested.count_wanted(step, waiter)
        if total == again:
            return {}, 0
        created: set[RunId] = set()
        everything = self.keys.get(step.name) is None and not again
        for only in [None] if everything else chunks(requested.wanted(step, waiter)):
            made = self._create_runs(step, only)
            created.update(made)
            if not made:
                break
        return keys_of_new(self.session, step.step_id, created), total - again - len(created)

    def _create_runs(self, step: StepView, only: Collection[SubGroupId] | None) -> Mapping[RunId, SubGroupId]:
        return create_runs(
            self.session,
            self.pipeline,
            step,
            backend=self.cluster.backend.name,
            requested_by=self.options.by,
            now=self.cluster.clock(),
            only=only,
            at_location=self.cluster.max_in_flight,
        )
