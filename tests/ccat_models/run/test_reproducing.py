import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.errors import NotFound
from ccat_models.lineage.completed import completed_runs
from ccat_models.lineage.start import find_start
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.estimate import estimates
from ccat_models.run import attempt as attempts_of
from ccat_models.run import reproducing, work
from ccat_models.run.listing import list_runs
from ccat_models.run.reproducing import FORGOTTEN_AFTER, Reproducing
from ccat_models.tables import Base
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, AttemptState, FailureClass, Purpose
from resources.ops_db import OpsDb
from tests.support.worlds.manual import ManualWorld, step

SOON = FORGOTTEN_AFTER.total_seconds()


@pytest.fixture
def works(ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give one run that has completed."""
    works = ManualWorld.open(ops_db, tmp_path)
    works.observatory.scan(0)
    works.declare(step("read"))
    works.run_all()
    return works


def again(works: ManualWorld, *run_ids: int) -> list[AttemptId]:
    """Add attempts that reproduce runs and say that they are laid out."""
    runs = [Reproducing(RunId(run), secrets.token_hex(16), f"/scratch/{run}", {"cpus": 1}) for run in run_ids]
    with works.cluster.ops_db.write() as session:
        backend, now = works.cluster.backend.name, works.cluster.clock()
        added = list(reproducing.add_reproductions(session, runs, backend, now).values())
        reproducing.laid_out(session, {attempt: ("process", ["true"]) for attempt in added})
    return added


def opened(works: ManualWorld) -> Sequence[work.OpenAttempt]:
    with works.cluster.ops_db.read() as session:
        where = works.cluster.location_id, works.cluster.backend.name
        return work.open_reproductions(session, *where, works.cluster.clock())


def rows(works: ManualWorld) -> Mapping[str, list[str]]:
    """Return all rows but the attempts that reproduce."""
    with works.cluster.ops_db.read() as session:
        of_runs = {"attempt": Attempt.purpose == Purpose.EXECUTE}
        tables = {
            name: sa.select(table).where(of_runs.get(name, sa.true())) for name, table in Base.metadata.tables.items()
        }
        return {name: sorted(repr(tuple(row)) for row in session.execute(query)) for name, query in tables.items()}


def test_whatever_becomes_of_a_reproduction_changes_nothing_else(works: ManualWorld) -> None:
    before, now = rows(works), works.cluster.clock()
    one, other = [*again(works, 1), *again(works, 1)]
    with works.cluster.ops_db.write() as session:
        intents = [attempts_of.Intent(id_, "/scratch/1", "process", ["true"], "b" * 32, id_) for id_ in (one, other)]
        assert attempts_of.sending(session, intents, now) == {one, other}
        jobs = {(one, RunId(1)): "7_0", (other, RunId(1)): "7_1"}
        attempts_of.sent(session, jobs, now)
        attempts_of.running(session, jobs, now)
    assert [(attempt.number, attempt.state) for attempt in opened(works)] == [
        (-1, AttemptState.RUNNING),
        (-2, AttemptState.RUNNING),
    ]
    with works.cluster.ops_db.write() as session:
        attempts_of.failed(session, one, FailureClass.SCIENCE, "made up", now)
        attempts_of.cancelled(session, other, RunId(1), now)
    assert opened(works) == []
    with works.cluster.ops_db.read() as session:
        ended = {attempt.id: attempt.failure_class for attempt in reproducing.ended(session, [one, other])}
        assert completed_runs(session, [RunId(1)])[RunId(1)].attempt.number == 1
    assert ended == {one: FailureClass.SCIENCE, other: None}
    assert rows(works) == before


def test_no_answer_takes_a_reproduction_into_account(works: ManualWorld) -> None:
    (attempt,) = again(works, 1)
    with works.cluster.ops_db.read() as session:
        pipeline = load_pipeline(session, "letters")
        estimated = estimates(session, pipeline)
    with works.cluster.ops_db.write() as session:
        measured = {"state": AttemptState.ENDED, "wall_seconds": 1e6, "host": "elsewhere"}
        session.execute(sa.update(Attempt).where(Attempt.id == attempt).values(measured))
    with works.cluster.ops_db.read() as session:
        assert estimates(session, pipeline) == estimated
        assert [run.attempts for run in list_runs(session)] == [1]
        with pytest.raises(NotFound):
            find_start(session, "node:elsewhere")


def test_only_a_run_that_has_completed_is_reproduced(works: ManualWorld) -> None:
    works.observatory.scan(1)
    works.request()
    assert again(works, 2) == []
    works.complete()
    assert len(again(works, 1, 2)) == 2


def test_reproductions_without_a_waiter_are_cancelled_and_later_removed(works: ManualWorld) -> None:
    cluster, location = works.cluster, works.cluster.location_id
    given_up, forgotten, waited_for = [*again(works, 1), *again(works, 1), *again(works, 1)]
    with cluster.ops_db.read() as session:
        assert work.anything_to_do(session, location)
        assert work.latest_cancel_request(session, location, cluster.clock()) is None
    asked_at = cluster.clock()
    with cluster.ops_db.write() as session:
        reproducing.give_up(session, [given_up], asked_at)
    with cluster.ops_db.read() as session:
        assert work.latest_cancel_request(session, location, cluster.clock()) == asked_at
    assert [attempt.cancel_requested for attempt in opened(works)] == [True, False, False]
    works.observatory.clock.pass_seconds(SOON)
    with cluster.ops_db.write() as session:
        reproducing.want(session, [waited_for], cluster.clock())
        intents = [attempts_of.Intent(forgotten, "/scratch/1", "process", ["true"], "b" * 32, 0)]
        assert attempts_of.sending(session, intents, cluster.clock()) == set()
        reproducing.seen_to(session, [given_up, forgotten])  # neither has ended
        attempts_of.cancelled(session, forgotten, RunId(1), cluster.clock())
    assert [attempt.cancel_requested for attempt in opened(works)] == [True, False]
    with cluster.ops_db.read() as session:
        assert [(one.id, one.has_ended) for one in reproducing.lapsed(session, location, cluster.clock())] == [
            (given_up, False)
        ]
    works.observatory.clock.pass_seconds(SOON)
    with cluster.ops_db.write() as session:
        lapsed = reproducing.lapsed(session, location, cluster.clock())
        attempts_of.cancelled(session, given_up, RunId(1), cluster.clock())
        attempts_of.cancelled(session, waited_for, RunId(1), cluster.clock())
        reproducing.seen_to(session, [given_up, forgotten, waited_for])
    assert [(one.id, one.has_ended) for one in lapsed] == [(given_up, False), (forgotten, True)]
    with cluster.ops_db.read() as session:
        assert not work.anything_to_do(session, location)


def test_what_is_not_laid_out_is_not_moved(works: ManualWorld) -> None:
    run = Reproducing(RunId(1), "0" * 32, "/scratch/1", {})
    with works.cluster.ops_db.write() as session:
        reproducing.add_reproductions(session, [run], works.cluster.backend.name, works.cluster.clock())
    assert opened(works) == []
    works.observatory.clock.pass_seconds(SOON)
    assert [attempt.cancel_requested for attempt in opened(works)] == [True]
