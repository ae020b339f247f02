from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.errors import NotFound
from ccat_models.run.circuit import Circuit, find_circuit, list_circuits, reset_circuit
from ccat_models.run.listing import count_in_flight
from ccat_models.tables.execution import CircuitReset, FailureClass
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.observatory import NOON
from tests.support.worlds.pipeline import dump


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give an observatory of five scans whose step `read` opens its circuit at two failures."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(5):
        works.observatory.scan(number)
    works.declare(step("read", circuit_threshold=2), step("other"))
    return works


def circuit(works: ManualWorld) -> Circuit:
    with works.cluster.ops_db.read() as session:
        return find_circuit(session, "letters", "read")


def reset(works: ManualWorld) -> Circuit:
    with works.cluster.ops_db.request() as session:
        return reset_circuit(session, "letters", "read", by="ada", now=works.cluster.clock())


def fail(works: ManualWorld, *numbers: int, failure: FailureClass = FailureClass.SCIENCE) -> None:
    """Let each scan fail a minute after the one before."""
    for number in numbers:
        works.observatory.clock.pass_seconds(60)
        works.ask("read", f"scan-{number}")
        works.fail(failure=failure)


def minutes_after_noon(circuit: Circuit) -> float:
    assert circuit.open_since is not None
    return (circuit.open_since - NOON).total_seconds() / 60


def test_a_circuit_opens_when_so_many_failed_and_says_since_when(works: ManualWorld) -> None:
    assert circuit(works) == Circuit("letters", "read", 0, 2, None, None, None)
    fail(works, 0)
    assert (circuit(works).failures, circuit(works).is_open, circuit(works).open_since) == (1, False, None)
    works.ask("read", "scan-3")
    fail(works, 1, failure=FailureClass.PERMANENT)
    found = circuit(works)
    assert (found.failures, found.is_open, minutes_after_noon(found)) == (3, True, 2.0)
    assert (found.last_failed_run, found.last_failure) == (works.run_of("read", "scan-1"), "made up")


def test_a_circuit_stays_open_since_its_first_time(works: ManualWorld) -> None:
    works.ask("read", "scan-0", "scan-1", "scan-2")
    for run in reversed(works.in_flight()):
        works.observatory.clock.pass_seconds(60)
        works.fail(run)
    found = circuit(works)
    assert (found.failures, minutes_after_noon(found), found.last_failed_run) == (3, 2.0, 1)


def test_what_is_not_the_programs_fault_is_neither_counted_nor_shown(works: ManualWorld) -> None:
    fail(works, 0)
    fail(works, 1, 2, failure=FailureClass.LOST)
    found = circuit(works)
    assert (found.failures, found.last_failed_run) == (1, works.run_of("read", "scan-0"))


def test_reset_counts_from_the_newest_run_on(works: ManualWorld) -> None:
    fail(works, 0, 1)
    assert set(works.reasons("read").values()) == {"circuit_open"}
    was = reset(works)
    assert (was.is_open, was.failures) == (True, 2)
    assert circuit(works) == Circuit("letters", "read", 0, 2, None, None, None)
    assert works.reasons("read")["scan-4"] == "missing"
    with works.cluster.ops_db.read() as session:
        (row,) = session.scalars(sa.select(CircuitReset))
    assert (row.reset_by, row.reset_at, row.last_run_id) == ("ada", works.cluster.clock(), 2)
    fail(works, 2, 3)
    assert minutes_after_noon(circuit(works)) == 4.0, "those before the reset count no more"


def test_a_run_on_its_way_when_the_circuit_is_reset_counts_no_more(works: ManualWorld) -> None:
    works.ask("read", "scan-0")
    works.ask("read", "scan-1")
    works.ask("read", "scan-4")
    *failed, late = works.in_flight()
    works.fail(*failed)
    reset(works)
    works.fail(late)
    assert circuit(works).failures == 0


def test_runs_are_in_a_row_as_they_ended(works: ManualWorld) -> None:
    works.ask("read")
    first, *others, last = works.in_flight()
    works.complete(last)
    for run in others:
        works.observatory.clock.pass_seconds(60)
        works.fail(run)
    found = circuit(works)
    assert (found.failures, minutes_after_noon(found), found.last_failed_run) == (3, 2.0, others[-1])
    assert works.reasons("read")["scan-0"] == "in_flight"
    works.observatory.clock.pass_seconds(60)
    works.complete(first)
    assert circuit(works).failures == 0, "a good run is the last, although it was asked for first"


@pytest.mark.parametrize("failures", [0, 1])
def test_resetting_a_closed_circuit_changes_nothing(works: ManualWorld, failures: int) -> None:
    fail(works, *range(failures))
    before = dump(works.cluster.ops_db)
    was = reset(works)
    assert (was.is_open, was.failures) == (False, failures)
    assert dump(works.cluster.ops_db) == before


def test_every_step_has_a_circuit(works: ManualWorld) -> None:
    fail(works, 0, 1)
    works.observatory.clock.pass_seconds(60)
    works.ask("other", "scan-0")
    works.fail()
    with works.cluster.ops_db.read() as session:
        found = list_circuits(session)
    assert [(one.step, one.failures, one.threshold, one.is_open) for one in found] == [
        ("read", 2, 2, True),
        ("other", 1, 5, False),
    ]
    assert [one.last_failed_run for one in found] == [works.run_of("read", "scan-1"), works.run_of("other", "scan-0")]
    assert minutes_after_noon(found[0]) == 2.0


def test_unknown_names_are_answered_with_the_known_ones(works: ManualWorld) -> None:
    with works.cluster.ops_db.request() as session:
        with pytest.raises(NotFound, match="no pipeline 'lettres'; known: letters"):
            reset_circuit(session, "lettres", "read", by="ada", now=NOON)
        with pytest.raises(NotFound, match="no step of pipeline letters 'reed'; known: read, other"):
            reset_circuit(session, "letters", "reed", by="ada", now=NOON)


def test_runs_on_their_way_are_counted_by_step_and_status(works: ManualWorld) -> None:
    works.ask("read", "scan-0", "scan-1")
    works.complete(works.in_flight()[0])
    works.ask("read", "scan-2", "scan-3")
    with works.cluster.ops_db.read() as session:
        assert count_in_flight(session, "letters") == {"read": {"PENDING": 3}}
        assert count_in_flight(session, "other") == {}
