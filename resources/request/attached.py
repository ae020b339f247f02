"""Request runs and wait until they have ended.

This process executes them if it holds the cluster's lease; otherwise it reads in ops-db what another process does.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from ccat_models.gap.reasons import Reason
from ccat_models.run.cancel import FORGOTTEN_AFTER, abandon, stop_waiting, wait_for
from ccat_models.run.listing import statuses_of
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ENDED, ENDED_BADLY, RunStatus
from resources.errors import TransientError
from resources.request.ensure import Ensured, RequestOptions, ensure_pipeline, ensure_steps, has_place
from resources.run.executor import Executor
from resources.space.purging import finish

_LOG = logging.getLogger(__name__)

Progress = Callable[[Mapping[RunId, RunStatus]], None]
Sleep = Callable[[float], None]
Look = Callable[[RequestOptions], Mapping[str, Ensured]]
Wanted = Mapping[str, Collection[str] | None]


def _say_nothing(statuses: Mapping[RunId, RunStatus]) -> None:
    del statuses


@dataclass
class _Noted:
    """The runs that ops-db has recorded this waiter for, and when it was recorded last."""

    runs: set[RunId] = field(default_factory=set)
    at: datetime | None = None

    def add(self, run_ids: Collection[RunId], at: datetime) -> None:
        """Remember that ops-db has recorded the waiter for these runs."""
        self.runs.update(run_ids)
        self.at = at


@dataclass(frozen=True)
class Attached:
    """A requester that waits until its runs have ended; ops-db records it under the name `waiter`."""

    executor: Executor
    waiter: str
    poll_seconds: float
    progress: Progress = _say_nothing
    sleep: Sleep = time.sleep
    _noted: _Noted = field(default_factory=_Noted)

    def run_pipeline(self, pipeline: str, options: RequestOptions) -> "Outcome":
        """Run the pipeline's gaps, upstream steps first, until nothing more can be run.

        Raises NotFound for an unknown pipeline.
        """

        def look(options: RequestOptions) -> Mapping[str, Ensured]:
            return ensure_pipeline(self.executor.cluster, pipeline, options, waiter=self.waiter, brief=True)

        return self._round_after_round(pipeline, look, options)

    def run_step(self, pipeline: str, step: str, keys: Collection[str] | None, options: RequestOptions) -> "Outcome":
        """Run these sub-groups of a step (all if `keys` is None) where they have gaps, each at most once.

        Raises NotFound for an unknown pipeline, step or key, in which case nothing is changed.
        """
        return self._round_after_round(pipeline, self._look_at(pipeline, {step: keys}), options)

    def run_steps(self, pipeline: str, wanted: Wanted, options: RequestOptions) -> "Outcome":
        """Run the wanted sub-groups of each step (all for None) where they have gaps, each at most once.

        A sub-group waits for what it reads: runs of other steps that are wanted, and those in flight that another
        requester began. When nothing more is on its way, it takes what is complete, as its step's fan-in allows. Raises
        NotFound for an unknown pipeline, step or key, in which case nothing is changed.
        """
        patient = replace(options, patient=True, upstream=True)
        return self._round_after_round(pipeline, self._look_at(pipeline, wanted), patient, last=options)

    def _look_at(self, pipeline: str, wanted: Wanted) -> Look:
        def look(options: RequestOptions) -> Mapping[str, Ensured]:
            return ensure_steps(self.executor.cluster, pipeline, wanted, options, waiter=self.waiter, brief=True)

        return look

    def _round_after_round(
        self, pipeline: str, look: Look, options: RequestOptions, *, last: RequestOptions | None = None
    ) -> "Outcome":
        """Request runs and wait for them until there is nothing more to run; then look with the `last` options."""
        outcome = Outcome()
        self._finish_purges()
        with self._waiting():
            while True:
                answers = look(options)
                outcome.note(answers)
                # Without this, the next look would force again what this one has run.
                options = replace(options, force=False, retry=False)
                in_flight = {run for answer in answers.values() for run in answer.awaited}
                left = [step for step, answer in answers.items() if answer.left]
                if in_flight:
                    self._noted.add(in_flight, self.executor.cluster.clock())
                    self._until_some_end(in_flight, outcome)
                elif left:
                    self._until_a_place_is_free(pipeline, left)
                elif last is not None and any(
                    Reason.WAITING_FOR_UPSTREAM in one.held.values() for one in answers.values()
                ):
                    options, last = replace(last, force=False, retry=False), None
                else:
                    if outcome.statuses:
                        outcome.statuses.update(self._look(outcome.statuses))
                    return outcome

    def _finish_purges(self) -> None:
        """Finish purges that other processes began and left: marked products can neither be read nor regenerated."""
        try:
            finish(self.executor.cluster)
        except TransientError as error:
            _LOG.warning("%s: %s: what is marked is removed later", self.executor.cluster.name, error)

    def _until_a_place_is_free(self, pipeline: str, steps: Collection[str]) -> None:
        """Wait while as many runs are in flight as the steps, the pipeline or the location allow."""
        while True:
            self.executor.tick()
            self.progress({})
            self.sleep(self.poll_seconds)
            if has_place(self.executor.cluster, pipeline, steps):
                return

    def _until_some_end(self, in_flight: Collection[RunId], outcome: "Outcome") -> None:
        """Wait until all runs ended, or, after two seconds, until one has: downstream steps may then have gaps."""
        begun = time.monotonic()
        while True:
            outcome.statuses.update(self._look(in_flight))
            ended = sum(outcome.statuses[run] in ENDED for run in in_flight)
            if ended == len(in_flight) or (ended and time.monotonic() - begun > 2):
                return
            self.sleep(self.poll_seconds)

    def _look(self, run_ids: Collection[RunId]) -> dict[RunId, RunStatus]:
        cluster = self.executor.cluster
        self._note(run_ids)  # before anything else: an interruption cancels only the runs that are recorded here
        self.executor.tick()
        with cluster.ops_db.read() as session:
            statuses = statuses_of(session, run_ids)
        self.progress(statuses)
        return statuses

    def _note(self, run_ids: Collection[RunId]) -> None:
        """Record in ops-db that this waiter waits: at once for new runs, else well before the record expires."""
        cluster, noted = self.executor.cluster, self._noted
        now = cluster.clock()
        if noted.runs.issuperset(run_ids) and noted.at is not None and now - noted.at < FORGOTTEN_AFTER / 6:
            return
        with cluster.ops_db.write() as session:
            wait_for(session, run_ids, self.waiter, now)
        noted.add(run_ids, now)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        cluster = self.executor.cluster
        self._noted.runs.clear()
        try:
            yield
        except BaseException:
            # Interrupted or failed: this process no longer waits, so runs that no other requester wants are cancelled.
            with cluster.ops_db.write() as session:
                cancelled = abandon(session, self.waiter, by=self.waiter, now=cluster.clock())
            if cancelled:
                self.executor.tick()
            self.executor.release()
            raise
        with cluster.ops_db.write() as session:
            stop_waiting(session, self.waiter)
        self.executor.release()


@dataclass
class Outcome:
    """What an attached requester's runs did."""

    statuses: dict[RunId, RunStatus] = field(default_factory=dict)
    created: Counter[str] = field(default_factory=Counter)
    joined: Counter[str] = field(default_factory=Counter)
    regenerating: dict[RunId, str] = field(default_factory=dict)  # runs that regenerate purged products: their steps
    runs: dict[str, dict[str, RunId]] = field(default_factory=dict)  # the last run waited for, by step and key
    last: Mapping[str, Ensured] = field(default_factory=dict)

    def note(self, answers: Mapping[str, Ensured]) -> None:
        """Add what one more look at the pipeline found or created, by step."""
        for step, answer in answers.items():
            runs = self.runs.setdefault(step, {})
            self.created[step] += len(answer.created)
            self.joined[step] += sum(runs.get(key) != run for key, run in answer.joined.items())
            runs.update(answer.in_flight)
            self.regenerating.update(answer.inputs)
        self.last = answers

    @property
    def failed(self) -> list[RunId]:
        """Return the runs that did not complete."""
        return [run for run, status in self.statuses.items() if status in ENDED_BADLY]
