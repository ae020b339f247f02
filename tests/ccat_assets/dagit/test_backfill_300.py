"""A backfill of 300 partitions through the real webserver and daemon: what failed, and nothing else, is run again."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb
from tests.support.parts.dagit import Dagit
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.served_dagster import served_lab

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1200)]

SCANS = 300
PATIENCE_SECONDS = 360  # alone the first backfill takes 50 s, beside another that takes both processors 120
BROKEN = (0, 99, 100, 101, 150, 151, 200, 298, 299)  # Dagster makes runs of neighbours: five
LAUNCH = """
mutation ($keys: [String!]) {
  launchPartitionBackfill(
    backfillParams: {assetSelection: [{path: ["letters", "read"]}], partitionNames: $keys}
  ) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
"""
STATUSES = """
{ assetNodeOrError(assetKey: {path: ["letters", "read"]}) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions materializingPartitions unmaterializedPartitions } }
  partitionStats { numMaterialized numFailed numMaterializing numPartitions }
} } }
"""


@pytest.fixture
def server(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[tuple[DagsterWorld, Dagit]]:
    """Give a lab of 300 scans, nine of them broken, and a Dagit with its daemon on it."""

    def fill(lab: DagsterWorld) -> None:
        for number in range(SCANS):
            lab.observatory.scan(number, "exit 65" if number in BROKEN else "a")
        declaration = pipeline_yaml(lab.calls).replace("    when:", "    circuit_threshold: 100\n    when:")
        lab.observatory.declare(declaration, lab.code)
        lab.refresh()

    with served_lab(sqlite_ops_db, tmp_path, fill) as served:
        yield served


def keys(numbers: Collection[int]) -> list[str]:
    return [f"executed_obs_unit=scan-{number}" for number in numbers]


def until(condition: Callable[[], object], state: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, state()
        time.sleep(0.5)


def backfill(lab: DagsterWorld, running: Dagit, wanted: Sequence[str], *, runs: int) -> set[dg.DagsterRunStatus]:
    """Launch a backfill and return how its runs ended; Dagster itself takes half a minute more to see that they have."""
    launched = running.graphql(LAUNCH, keys=wanted)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    its_own = dg.RunsFilter(tags={"dagster/backfill": launched["backfillId"]})

    def ended() -> list[dg.DagsterRun]:
        return [run for run in lab.instance.get_runs(its_own) if run.is_finished]

    until(lambda: len(ended()) == runs, lambda: what_goes_on(lab, running, its_own))
    assert len(lab.instance.get_runs(its_own)) == runs
    return {run.status for run in ended()}


def what_goes_on(lab: DagsterWorld, running: Dagit, wanted: dg.RunsFilter) -> str:
    """Return how far a backfill is: its runs with their last events, the runs of ops-db, and the programs' last words."""
    lines = [f"not all runs of the backfill ended within {PATIENCE_SECONDS} s", f"ops-db: {dict(statuses(lab))}"]
    for run in lab.instance.get_runs(wanted):
        last = [one.get_dagster_event() for one in lab.instance.all_logs(run.run_id)[-5:] if one.is_dagster_event]
        said = [f"{event.event_type_value} {(event.message or '')[:200]}" for event in last]
        lines.append(f"{run.run_id} {run.status.value}: {said}")
    return "\n".join([*lines, running.log.read_text(errors="replace")[-6000:]])


def assert_shown(running: Dagit, failed: Collection[str]) -> None:
    """Compare what Dagit shows of each partition, and the numbers on the asset's page."""
    found = running.graphql(STATUSES)["assetNodeOrError"]
    statuses, count = found["assetPartitionStatuses"], len(failed)
    assert sorted(statuses["failedPartitions"]) == sorted(failed)
    assert sorted(statuses["materializedPartitions"]) == sorted(set(keys(range(SCANS))) - set(failed))
    assert statuses["materializingPartitions"] == []
    numbers = {"numMaterialized": SCANS - count, "numFailed": count, "numMaterializing": 0, "numPartitions": SCANS}
    assert found["partitionStats"] == numbers


def executed(lab: DagsterWorld) -> Counter[str]:
    """Return how often each sub-group's program was executed, by its own trace."""
    return Counter({key: lab.calls.read_text().count(f"read {key} ") for key in keys(range(SCANS))})


def statuses(lab: DagsterWorld) -> Counter[RunStatus]:
    with lab.application.ops_db.read() as session:
        return Counter(session.scalars(sa.select(Run.status)))


def test_only_the_failed_of_300_partitions_are_run_again(server: tuple[DagsterWorld, Dagit]) -> None:
    lab, running = server
    broken = keys(BROKEN)
    once, again = Counter(keys(range(SCANS))), Counter(broken)

    assert backfill(lab, running, keys(range(SCANS)), runs=3) == {dg.DagsterRunStatus.FAILURE}
    assert_shown(running, failed=broken)
    assert statuses(lab) == {RunStatus.COMPLETED: 291, RunStatus.FAILED: 9}
    assert executed(lab) == once

    assert backfill(lab, running, broken, runs=5) == {dg.DagsterRunStatus.FAILURE}
    assert_shown(running, failed=broken)
    assert statuses(lab) == {RunStatus.COMPLETED: 291, RunStatus.FAILED: 18}
    assert executed(lab) == once + again

    for number in BROKEN:
        lab.observatory.scan(number, "corrected")
    assert backfill(lab, running, broken, runs=5) == {dg.DagsterRunStatus.SUCCESS}
    assert_shown(running, failed=[])
    assert statuses(lab) == {RunStatus.COMPLETED: 300, RunStatus.FAILED: 18}
    assert executed(lab) == once + again + again
    assert lab.shown("read") == once
