"""Several processes that fill the same gaps at the same time, and one that is killed at each of its statements."""

import json
import random
import subprocess  # noqa: TID251 - processes of their own, which fork and are killed
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.table import gap_now, sub_group_gap
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import IN_FLIGHT, RunStatusHistory
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, refresh_and_evaluate
from resources.request.standing import run_round
from tests.support.faults.round_kills import COMMIT
from tests.support.worlds.manual import ManualWorld, release, step

CONTINUOUS: dict[str, Any] = {"mode": "standing", "trigger": {"type": "continuous"}}
READ = step("read", version_policy="latest")
JOIN = step("join", ["source"], depends_on=["read"], when="any")
ARRIVALS = 30
PATIENCE_SECONDS = 120.0

# Fills gaps again and again, at random moments, until the file `stop` exists; creates a file once it has made runs.
RIVAL = """
import os, random, sys, time
from pathlib import Path
from resources.request.ensure import RequestOptions, ensure_pipeline
from resources.ops_db import OpsDb
from resources.request.standing import run_round
from tests.support.parts.clusters import local_cluster
from tests.support.worlds.observatory import FakeClock
url, base, kind, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
cluster, created = local_cluster(OpsDb(url), base / "workspace", slots=1, clock=FakeClock()), 0
chance, parent = random.Random(number), os.getppid()
while os.getppid() == parent and not (base / "stop").exists():
    if kind == "round":
        found = run_round(cluster)
        created += 0 if found is None else found.created.total()
    else:
        answers = ensure_pipeline(cluster, "letters", RequestOptions("ada"))
        created += sum(len(answer.created) for answer in answers.values())
    (base / f"alive-{number}").touch()
    if created:
        (base / f"made-{number}").touch()
    time.sleep(chance.uniform(0, 0.2))
"""


@contextmanager
def rivals(works: ManualWorld) -> Iterator[None]:
    """Let two processes run rounds and a third one request the pipeline while the block lasts."""
    base, url = works.observatory.base, works.cluster.ops_db.url.render_as_string(hide_password=False)
    kinds = enumerate(("round", "round", "ensure"))
    words = [[sys.executable, "-c", RIVAL, url, str(base), kind, str(number)] for number, kind in kinds]
    processes = [subprocess.Popen(command) for command in words]
    try:
        until(lambda: have_all(works, "alive"), processes)
        yield
        assert [process.poll() for process in processes] == [None, None, None]
        (base / "stop").touch()
        assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def have_all(works: ManualWorld, what: str) -> bool:
    """Say whether each of the three has created its file of this kind."""
    return all((works.observatory.base / f"{what}-{number}").exists() for number in range(3))


def until(condition: Any, processes: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert [process.poll() for process in processes] == [None] * len(processes)
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.02)


def something_arrives(works: ManualWorld, chance: random.Random, number: int) -> None:
    """Let scans arrive, arrive again and go, and some of the runs on their way complete."""
    works.observatory.scan(chance.randrange(12), f"content {number}")
    if number % 7 == 6:
        works.observatory.withdraw(newest_scan(works))
    for run in works.in_flight():
        if chance.random() < 0.5:
            works.complete(run, outputs={"science/text.txt": f"of run {run}"})
    time.sleep(chance.uniform(0, 0.1))  # the rivals act at another moment each time


def newest_scan(works: ManualWorld) -> int:
    with works.cluster.ops_db.read() as session:
        key = session.scalar(sa.text("SELECT name FROM raw_data_package ORDER BY id DESC LIMIT 1"))
    return int(str(key).removeprefix("scan-"))


def most_in_flight(works: ManualWorld) -> Counter[tuple[int, int]]:
    """Return by step and sub-group how many of its runs were in flight at a time at most, according to the history."""
    flying, most = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    in_flight = {status.value for status in IN_FLIGHT}
    history = RunStatusHistory
    with works.cluster.ops_db.read() as session:
        rows = sa.select(history.from_status, history.to_status, Run.step_id, Run.sub_group_id)
        for before, after, *cell in session.execute(rows.join(Run, Run.id == history.run_id).order_by(history.id)):
            place = (cell[0], cell[1])
            flying[place] += (after in in_flight) - (before in in_flight)
            most[place] = max(most[place], flying[place])
    return most


def asked_for(works: ManualWorld) -> Counter[tuple[Any, ...]]:
    """Return how often a run was created for each input set of a sub-group."""
    with works.cluster.ops_db.read() as session:
        runs = session.scalars(sa.select(Run)).all()
        return Counter(
            (run.step_id, run.sub_group_id, run.fingerprint, run.config_id, run.software_version_id) for run in runs
        )


def assert_true_to_the_last_column(works: ManualWorld) -> None:
    """Compare the stored gaps with an evaluation of everything."""
    with works.cluster.ops_db.request() as session:
        noted = rows_of(session, sub_group_gap)
        refresh_and_evaluate(session, works.cluster, load_pipeline(session, "letters"), RequestOptions("test"))
        assert noted == rows_of(session, gap_now)


def rows_of(session: Session, table: sa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(sa.select(table).order_by(table.c.step_id, table.c.sub_group_id))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_three_processes_that_fill_the_same_gaps_request_nothing_twice(
    ops_db: OpsDb, tmp_path: Path, seed: int
) -> None:
    works, chance = ManualWorld.open(ops_db, tmp_path), random.Random(seed)
    works.declare(READ, JOIN, **CONTINUOUS)
    with rivals(works):
        for number in range(10 * ARRIVALS):
            something_arrives(works, chance, number)
            if number >= ARRIVALS and have_all(works, "made"):
                break
    assert have_all(works, "made"), "one of them never was the first"
    while run_round(works.cluster) is not None or works.in_flight():
        works.complete()
    assert set(most_in_flight(works).values()) == {1}
    assert set(asked_for(works).values()) == {1}
    assert_true_to_the_last_column(works)


def interrupted_history(ops_db: OpsDb, base: Path) -> None:
    """Leave behind much work for a round: new, corrected and withdrawn data, runs that ended, a release."""
    works = ManualWorld.open(ops_db, base)
    works.declare(READ, JOIN, **CONTINUOUS)
    for number in range(6):
        works.observatory.scan(number)
    run_round(works.cluster)
    first, second, *_ = works.in_flight()
    works.complete(first)
    run_round(works.cluster)
    works.fail(second)
    works.complete()
    works.releases.append(release("1.1.0"))
    works.declare(READ, JOIN, **CONTINUOUS)
    works.observatory.scan(0, "corrected")
    works.observatory.scan(7)
    works.observatory.withdraw(3)


def kill_everywhere(url: str, base: Path) -> list[dict[str, Any]]:
    """Return what became of each world in which a round was killed, that of the undisturbed one first."""
    config = base / "config.json"
    config.write_text(json.dumps({"url": url, "base": str(base)}))
    command = [sys.executable, "-m", "tests.support.faults.round_kills", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


def assert_nothing_is_lost(outcomes: list[dict[str, Any]]) -> None:
    undisturbed, *killed = outcomes
    assert (undisturbed["true"], undisturbed["noted"]) == (True, 0)
    assert len(undisturbed["runs"]) > 10
    statements = [statement for outcome in killed for statement in outcome["struck"]]
    assert {statement.split()[0] for statement in statements} >= {"SELECT", "INSERT", "DELETE", COMMIT}
    assert len(statements) > 50
    assert [outcome["missed"] for outcome in killed if outcome["missed"]] == []
    compared = ("runs", "reasons", "noted", "true")
    wrong = [outcome for outcome in killed if any(outcome[what] != undisturbed[what] for what in compared)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_next_round_continues_after_one_killed_at_any_statement(ops_db: OpsDb, tmp_path: Path) -> None:
    interrupted_history(ops_db, tmp_path)
    ops_db.close()
    assert_nothing_is_lost(kill_everywhere(ops_db.url.render_as_string(hide_password=False), tmp_path))
