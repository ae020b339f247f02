"""Real programs on the local back end, moved on tick by tick with a clock of our own."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, AttemptState, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.backend import BackEnd, Sent, Timing
from resources.local.backend import LocalBackEnd
from resources.run.executor import Executor
from tests.support.worlds.manual import ManualWorld, step

PATIENCE_SECONDS = 30.0
TIMING = Timing(lost_after=timedelta(seconds=1), resend_after=timedelta(seconds=1))


@dataclass
class TickedWorld:
    """A pipeline `letters` with one step `read` per scan, whose program counts itself."""

    works: ManualWorld
    slots: int = 4

    def __post_init__(self) -> None:
        base, node = self.works.cluster.base, self.works.cluster.backend.node
        local = LocalBackEnd(base, self.slots, node.python, kill_after_seconds=1.0, apptainer=node.apptainer)
        self.works.cluster = replace(self.works.cluster, backend=local, timing=TIMING)

    @property
    def executor(self) -> Executor:
        """Return one more process's executor."""
        return Executor(self.works.cluster)

    @property
    def local(self) -> LocalBackEnd:
        """Return the real back end."""
        assert isinstance(self.works.cluster.backend, LocalBackEnd)
        return self.works.cluster.backend

    def behind(self, backend: BackEnd) -> None:
        """Use another back end from now on."""
        self.works.cluster = replace(self.works.cluster, backend=backend)

    def declare(self, *contents: str, seconds: float = 0, **fields: Any) -> None:
        """Let one scan of each content arrive, and declare the pipeline."""
        for number, content in enumerate(contents):
            self.works.observatory.scan(number, content)
        self.works.declare(step("read", parameters=self.parameters | {"seconds": seconds}, **fields))

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters with which the program counts itself."""
        return {"calls": str(self._calls)}

    def called(self) -> Counter[str]:
        """Return how often the program was executed on each scan and attempt."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return Counter(line.removeprefix("read executed_obs_unit=") for line in lines)

    def tick(self, seconds: float = 0.1) -> bool:
        """Let some of the observatory's time pass, then tick."""
        self.works.observatory.clock.pass_seconds(seconds)
        return self.executor_of_this.tick()

    @property
    def executor_of_this(self) -> Executor:
        """Return the executor that always holds the lease here."""
        return Executor(self.works.cluster, holder="bench")

    def until(self, condition: Callable[[], bool], seconds: float = 0.1) -> None:
        """Tick until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.statuses()
            self.tick(seconds)
            time.sleep(0.02)

    def until_ended(self) -> list[str]:
        """Tick until no run is in flight; return how they ended."""
        self.until(lambda: not self.works.in_flight())
        return self.statuses()

    def until_written(self) -> list[Path]:
        """Tick until all jobs are sent, and wait until they have ended, without collecting them."""
        self.until(lambda: all(attempt.state is not AttemptState.INTENDED for attempt in self.attempts()))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.local.find([Sent(attempt.submission_key) for attempt in self.attempts()]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self.directories()

    def run(self, run_id: int = 1) -> Run:
        """Return a run."""
        with self.works.cluster.ops_db.read() as session:
            return session.get_one(Run, RunId(run_id))

    def attempts(self) -> list[Attempt]:
        """Return all attempts, oldest first."""
        with self.works.cluster.ops_db.read() as session:
            return list(session.scalars(sa.select(Attempt).order_by(Attempt.id)))

    def directories(self) -> list[Path]:
        """Return the directories of all attempts that have one."""
        return [Path(attempt.directory) for attempt in self.attempts() if attempt.directory]

    def statuses(self) -> list[str]:
        """Return the status of each run, oldest first."""
        with self.works.cluster.ops_db.read() as session:
            return [status.value for status in session.scalars(sa.select(Run.status).order_by(Run.id))]

    def has(self, *statuses: RunStatus) -> Callable[[], bool]:
        """Return whether the runs have these statuses now, as a condition."""
        return lambda: self.statuses() == [status.value for status in statuses]

    @property
    def _calls(self) -> Path:
        return self.works.observatory.base / "calls"
