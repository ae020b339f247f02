"""A batch of more sub-groups than may be in flight at once, and what Dagster's repetition of one asks for."""

import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RerunRequest, RunWaiter
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(8)]
CAPPED = "max_in_flight: 2\n"


def count(lab: DagsterWorld, table: type) -> int:
    with lab.application.ops_db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_a_batch_beyond_the_cap_is_run_whole(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare(*"abcdefg", "exit 65", extra=CAPPED)
    lab.refresh()
    said = lab.failure(lab.materialize("read", keys=KEYS))
    assert lab.called() == {f"read {key} 1": 1 for key in KEYS}
    assert lab.shown("read") == dict.fromkeys(KEYS[:7], 1)
    assert "1 of 8 sub-groups have no products" in said
    assert f"{KEYS[7]}: run 8: permanent: exit code 65 (bad data)" in said
    assert "not run" not in said
    assert (lab.unpublished(), count(lab, RunWaiter)) == (0, 0)


def test_a_batch_that_is_forced_beyond_the_cap_is_run_once_more_each(lab: DagsterWorld) -> None:
    lab.declare("a", "b", "c", extra=CAPPED)
    lab.refresh()
    assert lab.materialize("read", keys=KEYS[:3]).success
    assert lab.materialize("read", keys=KEYS[:3], force=True).success
    assert lab.called() == {f"read {key} 1": 2 for key in KEYS[:3]}
    assert lab.shown("read") == dict.fromkeys(KEYS[:3], 2)


def test_a_sub_group_that_lost_its_packages_before_its_first_run_fails_alone(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a", "b")
    lab.refresh()
    lab.observatory.withdraw(1)
    said = lab.failure(lab.materialize("read", keys=KEYS[:2]))
    assert lab.shown("read") == {KEYS[0]: 1}
    assert "1 of 2 sub-groups have no products" in said
    assert f"{KEYS[1]}: not run: inputs_withdrawn" in said


def test_a_key_that_really_does_not_exist_still_refuses_the_whole_batch(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a", "b")
    lab.refresh()
    lab.observatory.withdraw(1)
    said = lab.failure(lab.materialize("read", keys=[*KEYS[:2], "executed_obs_unit=nothing"]))
    assert "no sub-group of step read 'executed_obs_unit=nothing'" in said
    assert (count(lab, Run), lab.called()) == (0, {})


def test_runs_that_failed_in_a_killed_batch_are_not_retried_when_dagster_repeats_it(lab: DagsterWorld) -> None:
    lab.declare("exit 65", "b")
    lab.refresh()
    first = lab.materialize("read", keys=KEYS[:2])
    again = {"dagster/retry_number": "1", "dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id}
    assert "not run: retries_exhausted" in lab.failure(lab.materialize("read", keys=KEYS[:2], tags=again))
    assert lab.called() == {f"read {key} 1": 1 for key in KEYS[:2]}
    assert count(lab, RerunRequest) == 0
    lab.materialize("read", keys=KEYS[:2])
    assert lab.called()[f"read {KEYS[0]} 1"] == 2
    assert count(lab, RerunRequest) == 1, "of the spent one only"


def test_a_repeated_batch_whose_first_run_did_nothing_renews_what_is_spent(lab: DagsterWorld) -> None:
    lab.declare("exit 65")
    lab.refresh()
    lab.materialize("read", keys=KEYS[:1])
    root = {"dagster/retry_number": "1", "dagster/root_run_id": "died-before-it-asked"}
    lab.materialize("read", keys=KEYS[:1], tags=root)
    assert lab.called()[f"read {KEYS[0]} 1"] == 2
