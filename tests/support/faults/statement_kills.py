"""Kill the process that moves runs on at every statement, one after the other, and let another one continue.

Run as a program of its own (python -m tests.support.faults.statement_kills CONFIG): it forks for every process, which a
process with threads cannot do safely. In each world some are killed, at statements far from each other, so that each is
followed by a living one; a statement that no process reached after an earlier kill has a world of its own. Answers with
one JSON line for each world.
"""

import ast
import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

from ccat_models.run.cancel import request_cancel
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.errors import ShellDoubtful
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.run.executor import Executor
from resources.shell.local import LocalShell
from resources.shell.port import Completed
from tests.support.worlds.on_slurm import slurm_cluster_over

ROOT = Path(__file__).parents[3]
WATCHED = frozenset(
    str(ROOT / name)
    for name in (
        "resources/run/executor.py",
        "resources/run/leased_write.py",
        "resources/run/submitter.py",
        "resources/run/unsent.py",
        "resources/run/sender.py",
        "resources/run/preparation.py",
        "resources/run/batches.py",
        "resources/run/observer.py",
        "resources/run/collector.py",
        "resources/workspace/store.py",
        "resources/slurm/backend.py",
        "ccat_models/run/attempt.py",
        "ccat_models/run/work.py",
        "ccat_models/run/transitions.py",
        "ccat_models/run/lease.py",
        "ccat_models/product/collect.py",
    )
)
AT_A_TIME = 8
DEATHS = 3  # in one world
LONGEST_LIFE_SECONDS = 60.0
Statement = tuple[str, int]


class FakeDeafShell(LocalShell):
    """The real shell of this machine, but the reply to the very first sbatch is lost, in whichever process."""

    def __init__(self, environment: Mapping[str, str], lost_once: Path) -> None:
        super().__init__(environment)
        self._lost_once = lost_once

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a command; lose the first reply of sbatch."""
        done = super().run(command, stdin=stdin, timeout_seconds=timeout_seconds)
        if "sbatch" in command and not self._lost_once.exists():
            self._lost_once.touch()
            raise ShellDoubtful("the reply is lost")
        return done


@dataclass(frozen=True)
class World:
    """One private world: its directory holds a copy of ops-db and a workspace."""

    directory: Path
    environment: Mapping[str, str]
    kind: str

    @property
    def ops_db(self) -> OpsDb:
        """Return a new connection to the copy of ops-db."""
        return OpsDb(f"sqlite:///{self.directory / 'ops.sqlite'}")

    def cluster(self) -> Cluster:
        """Return the cluster, with the fault that this kind of world has."""
        lost_once = self.directory / "reply-lost"
        shell = (
            FakeDeafShell(self.environment, lost_once) if self.kind == "lost reply" else LocalShell(self.environment)
        )
        return slurm_cluster_over(shell, self.ops_db, self.directory / "workspace")

    def live(self) -> None:
        """Move the runs on until none is in flight."""
        cluster = self.cluster()
        executor, end = Executor(cluster), time.monotonic() + LONGEST_LIFE_SECONDS
        while time.monotonic() < end and self._in_flight(cluster):
            executor.tick()
            time.sleep(0.1)

    def _in_flight(self, cluster: Cluster) -> bool:
        with cluster.ops_db.read() as session:
            runs = session.scalars(sa.select(Run).where(Run.status.in_(IN_FLIGHT))).all()
        unwanted = [run.id for run in runs if run.status is RunStatus.RUNNING and run.cancel_requested_at is None]
        if self.kind == "cancelled" and unwanted:
            with cluster.ops_db.write() as session:
                request_cancel(session, unwanted, by="test", now=cluster.clock())
        return bool(runs)

    def outcome(self) -> dict[str, Any]:
        """Return what ops-db and the programs' own traces say."""
        with self.ops_db.read() as session:
            attempts = session.scalars(sa.select(Attempt).order_by(Attempt.id)).all()
            statuses = [status.value for status in session.scalars(sa.select(Run.status).order_by(Run.id))]
            batches = sorted({attempt.batch_key for attempt in attempts if attempt.batch_key})
        executions = {}
        for attempt in attempts:
            trace = Path(attempt.directory or "/nowhere") / "output" / "science" / "executions.txt"
            executions[f"{attempt.run_id}-{attempt.number}"] = len(trace.read_text()) if trace.exists() else 0
        open_attempts = [attempt.id for attempt in attempts if attempt.state is not AttemptState.ENDED]
        return {"statuses": statuses, "executions": executions, "open": open_attempts, "batches": batches}


@dataclass
class Tracer:
    """Calls back at every statement of the watched modules."""

    at_statement: Callable[[Statement], None]

    def __call__(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        """Trace the frames of the watched modules alone."""
        del argument
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            self.at_statement((frame.f_code.co_filename, frame.f_lineno))
        return self


def all_statements() -> set[Statement]:
    """Return where the statements of the watched modules begin; an expression over several lines is one."""
    trees = {name: ast.parse(Path(name).read_text()) for name in WATCHED}
    return {
        (name, node.lineno) for name, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.stmt)
    }


def record(world: World) -> list[Statement]:
    """Run a world to its end and return the executed statements, in their order."""
    passed: dict[Statement, None] = {}
    sys.settrace(Tracer(passed.setdefault))
    world.live()
    sys.settrace(None)
    known = all_statements()
    return [statement for statement in passed if statement in known]


def die_at(statement: Statement) -> Callable[[Statement], None]:
    """Return a hook that kills this process when it reaches a statement."""

    def strike(passed: Statement) -> None:
        if passed == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def fork(life: Callable[[], None]) -> int:
    """Live a life in a process of its own and return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        life()
        status = 0
    finally:
        os._exit(status)


def lives(world: World, statements: Sequence[Statement]) -> Iterator[int]:
    """Yield the processes of a world, one after the other: a victim for each statement, then the one that completes."""

    def victim(statement: Statement) -> None:
        sys.settrace(Tracer(die_at(statement)))
        world.live()

    for statement in statements:
        yield fork(partial(victim, statement))
    yield fork(world.live)


def far_apart(statements: Sequence[Statement]) -> list[Sequence[Statement]]:
    """Return the statements of each world, in the order in which they are executed."""
    worlds = math.ceil(len(statements) / DEATHS)
    return [statements[first::worlds] for first in range(worlds)]


def kill_everywhere(
    template: Path, base: Path, environment: Mapping[str, str], kind: str, done: set[str]
) -> Iterator[dict[str, Any]]:
    """Yield what became of each world in which processes were killed, at all statements that are not done already."""
    passed = record(new_world(template, base / "recorded", environment, kind))
    waiting = far_apart([statement for statement in passed if name_of(statement) not in done])
    numbers = itertools.count()
    running: dict[int, tuple[World, Sequence[Statement], Iterator[int], list[int]]] = {}
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            statements = waiting.pop(0)
            world = new_world(template, base / str(next(numbers)), environment, kind)
            its_lives = lives(world, statements)
            running[next(its_lives)] = (world, statements, its_lives, [])
        pid, status = os.wait()
        world, statements, its_lives, deaths = running.pop(pid)
        deaths.append(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))
        following = next(its_lives, None)
        if following is not None:
            running[following] = (world, statements, its_lives, deaths)
            continue
        if len(statements) > 1:
            missed = zip(statements, deaths, strict=False)
            waiting += [[statement] for statement, death in missed if death != signal.SIGKILL]
        yield {"kind": kind, "statements": [*map(name_of, statements)], "deaths": deaths, **world.outcome()}
        with contextlib.suppress(OSError):
            shutil.rmtree(world.directory)


def name_of(statement: Statement) -> str:
    """Return a statement as file:line."""
    return f"{Path(statement[0]).relative_to(ROOT)}:{statement[1]}"


def new_world(template: Path, directory: Path, environment: Mapping[str, str], kind: str) -> World:
    """Return a world that begins with a copy of the template's ops-db."""
    directory.mkdir(parents=True)
    shutil.copyfile(template, directory / "ops.sqlite")
    return World(directory, environment, kind)


def main() -> None:
    """Read the configuration and answer on standard output."""
    config = json.loads(Path(sys.argv[1]).read_text())
    template, base = Path(config["template"]), Path(config["base"])
    found = kill_everywhere(template, base, config["environment"], config["kind"], set(config["done"]))
    for outcome in found:
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
