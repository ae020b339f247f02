"""Kill a round at every statement that it sends to ops-db, one after the other, and let the next round continue.

Run as a program of its own (python -m tests.support.faults.round_kills CONFIG): it forks for every round, which a
process with threads cannot do safely. Some rounds are killed one after the other before one is not, at statements far
from each other: each continues with what the one before has committed. One ops-db is put back before them, so that no
statement is compiled twice. Answers with one JSON line for each such history; the first one says what an undisturbed
round leaves.
"""

import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.table import gap_now, sub_group_gap
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables import Base
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import PackageChange, SubGroupChange
from ccat_models.tables.pipelines import SubGroup
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, refresh_and_evaluate
from resources.request.standing import run_round
from tests.support.parts.clusters import local_cluster
from tests.support.parts.ops_db import empty
from tests.support.worlds.observatory import FakeClock

COMMIT = "COMMIT"
DEATHS = 4  # in one history
TABLES = [table for table in Base.metadata.sorted_tables if table.name != "run_status_transition"]
Here = Callable[[str], object]


@dataclass(frozen=True)
class World:
    """The one ops-db in which rounds are killed, put back to how it was before each of them."""

    ops_db: OpsDb
    base: Path
    now: FakeClock
    kept: Path  # what SQLite's file was before the round
    rows: Mapping[str, list[dict[str, Any]]]  # what PostgreSQL's tables and sequences were; to copy a database is slow
    sequences: Sequence[str]

    @staticmethod
    def open(url: str, base: Path) -> "World":
        """Remember how an ops-db is."""
        ops_db, kept = OpsDb(url), base / "kept.sqlite"
        if ops_db.is_sqlite:
            shutil.copyfile(ops_db.url.database or "", kept)
            return World(ops_db, base, FakeClock(), kept, {}, [])
        with ops_db.read() as session:
            rows = {table.name: list(session.execute(sa.select(table)).mappings()) for table in TABLES}
            query = "SELECT format('SELECT setval(%L, %s)', sequencename, last_value) FROM pg_sequences"
            sequences = session.scalars(sa.text(f"{query} WHERE last_value IS NOT NULL")).all()
        return World(
            ops_db, base, FakeClock(), kept, {name: [*map(dict, found)] for name, found in rows.items()}, sequences
        )

    def put_back(self) -> None:
        """Make ops-db what it was before the round; no process may be connected."""
        self.ops_db.close()
        if self.ops_db.is_sqlite:
            path = self.ops_db.url.database or ""
            for suffix in ("-wal", "-shm"):
                Path(path + suffix).unlink(missing_ok=True)
            shutil.copyfile(self.kept, path)
            return
        empty(self.ops_db)
        with self.ops_db.write() as session:
            session.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no triggers
            for table in TABLES:
                if self.rows[table.name]:
                    session.execute(sa.insert(table), self.rows[table.name])
            for statement in self.sequences:
                session.execute(sa.text(statement))

    def run_round(self) -> None:
        """Run one round of the location's pipelines."""
        run_round(local_cluster(self.ops_db, self.base / "workspace", slots=1, clock=self.now))

    def outcome(self) -> dict[str, Any]:
        """Return the runs, each sub-group's reason, and whether these are what an evaluation of all would find."""
        with self.ops_db.read() as session:
            runs, reasons = _runs(session), _reasons(session)
            noted = sum(len(session.scalars(sa.select(table.id)).all()) for table in (PackageChange, SubGroupChange))
            noted_rows = _rows(session, sub_group_gap)
        return {"runs": runs, "reasons": reasons, "noted": noted, "true": noted_rows == self._evaluated()}

    def _evaluated(self) -> list[list[str]]:
        cluster = local_cluster(self.ops_db, self.base / "workspace", slots=1, clock=self.now)
        with self.ops_db.request() as session:
            refresh_and_evaluate(session, cluster, load_pipeline(session, "letters"), RequestOptions("test"))
            rows = _rows(session, gap_now)
            session.rollback()
        return rows


def _runs(session: Session) -> list[list[str]]:
    """Return what the runs were made for, without ids: on PostgreSQL these depend on the number of kills."""
    rows = session.execute(sa.select(Run, SubGroup.key).join(SubGroup, SubGroup.id == Run.sub_group_id)).tuples()
    return sorted([str(run.step_id), key, str(run.fingerprint), run.reason, run.status.value] for run, key in rows)


def _reasons(session: Session) -> list[list[str]]:
    gap = sub_group_gap.c
    rows = session.execute(
        sa.select(gap.step_id, SubGroup.key, gap.reason, gap.alive).join(SubGroup, SubGroup.id == gap.sub_group_id)
    )
    return sorted([str(value) for value in row] for row in rows)


def _rows(session: Session, table: sa.Table) -> list[list[str]]:
    query = sa.select(table).order_by(table.c.step_id, table.c.sub_group_id)
    return [[str(value) for value in row] for row in session.execute(query)]


def watch(ops_db: OpsDb, here: Here) -> None:
    """Call back before every statement and every commit."""

    def statement(_connection: object, _cursor: object, text: str, *_: object) -> None:
        here(text)

    sa.event.listen(ops_db.engine, "before_cursor_execute", statement)
    sa.event.listen(ops_db.engine, "commit", lambda _connection: here(COMMIT))


class Place:
    """Distinguishes statements by all that their transaction has sent before them."""

    def __init__(self) -> None:
        self._sent: list[str] = []

    def after(self, text: str) -> int:
        """Return where a round is that sends this now."""
        self._sent.append(text)
        here = hash(tuple(self._sent))
        if text == COMMIT:
            self._sent.clear()
        return here


def die_at(wanted: int) -> Here:
    """Return what kills this process before the statement at a place."""
    place = Place()

    def strike(text: str) -> None:
        if place.after(text) == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def live(world: World, here: Here) -> int:
    """Run a round in a process of its own and return by which signal it died, 0 for none."""
    world.ops_db.close()  # no two processes may share a connection
    pid = os.fork()
    if not pid:
        status = 1
        try:
            watch(world.ops_db, here)
            world.run_round()
            status = 0
        finally:
            os._exit(status)
    _, ending = os.waitpid(pid, 0)
    return os.WTERMSIG(ending) if os.WIFSIGNALED(ending) else -os.WEXITSTATUS(ending)


def recorded(world: World) -> dict[int, str]:
    """Run a round undisturbed and return its statements by their places; compiles them for all later rounds."""
    world.put_back()
    place, passed, recording = Place(), dict[int, str](), [True]
    watch(world.ops_db, lambda text: passed.setdefault(place.after(text), text) if recording else None)
    world.run_round()
    recording.clear()
    return passed


def kill_everywhere(world: World) -> Iterator[dict[str, Any]]:
    """Yield the outcome of an undisturbed round, then those of histories with killed rounds and one that completed."""
    statements = recorded(world)
    yield {"struck": [], "missed": [], **world.outcome()}
    waiting = list(statements)
    for deaths in (DEATHS, 1):  # a place that no round reached after another was killed has a history of its own
        missed: list[int] = []
        histories = math.ceil(len(waiting) / deaths)
        for first in range(histories):
            world.put_back()
            ends = {place: live(world, die_at(place)) for place in waiting[first::histories]}
            world.run_round()
            alive = [place for place, death in ends.items() if death != signal.SIGKILL]
            struck = [" ".join(statements[place].split())[:100] for place in ends if place not in alive]
            yield {"struck": struck, "missed": alive if deaths == 1 else [], **world.outcome()}
            missed += alive
        waiting = [place for place in statements if place in missed]


def main() -> None:
    """Read the configuration and answer on standard output."""
    config = json.loads(Path(sys.argv[1]).read_text())
    world = World.open(config["url"], Path(config["base"]))
    for outcome in kill_everywhere(world):
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()
    world.ops_db.close()


if __name__ == "__main__":
    main()
