import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccat_models.pipeline.values import RESERVED_CHECKS
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb
from tests.support.parts.dagit import Dagit
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.served_dagster import served_lab

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(6)]
LAUNCH = """
mutation ($keys: [String!], $asset: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: [{path: $asset}], partitionNames: $keys}) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
ASSET = """
query ($asset: [String!]!) {
  assetNodeOrError(assetKey: {path: $asset}) { ... on AssetNode {
    groupName description owners { ... on UserAssetOwner { email } } kinds
    dependencyKeys { path } dependedByKeys { path }
    assetPartitionStatuses { ... on DefaultPartitionStatuses {
      materializedPartitions failedPartitions materializingPartitions unmaterializedPartitions } }
    assetChecksOrError { ... on AssetChecks { checks { name
      executionForLatestMaterialization { status evaluation { success } } } } }
  } }
}
"""
TERMINATE = """
mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""


@pytest.fixture
def server(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[tuple[DagsterWorld, Dagit]]:
    """Give a lab of six scans, the last of which fails, and a Dagit with its daemon on it."""

    def fill(lab: DagsterWorld) -> None:
        lab.declare("a", "b", "c", "d", "exit 65", "exit 75", seconds="0")
        lab.refresh()

    with served_lab(sqlite_ops_db, tmp_path, fill) as served:
        yield served


def until(condition: Callable[[], Any], within_seconds: float = 180) -> Any:
    end = time.monotonic() + within_seconds
    while not (found := condition()):
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.5)
    return found


def asset(running: Dagit, step: str) -> dict[str, Any]:
    found: dict[str, Any] = running.graphql(ASSET, asset=["letters", step])["assetNodeOrError"]
    return found


def finished(lab: DagsterWorld) -> list[dg.DagsterRun]:
    runs = list(lab.instance.get_runs())
    return runs if runs and all(run.is_finished for run in runs) else []


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_backfill_shows_each_partition_as_it_ended(server: tuple[DagsterWorld, Dagit]) -> None:
    lab, running = server
    launched = running.graphql(LAUNCH, keys=KEYS[:5], asset=["letters", "read"])["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    (run,) = until(lambda: finished(lab))
    assert run.status is dg.DagsterRunStatus.FAILURE
    found = asset(running, "read")
    shown = found["assetPartitionStatuses"]
    assert set(shown["materializedPartitions"]) == set(KEYS[:4])
    assert shown["failedPartitions"] == [KEYS[4]]
    assert set(shown["unmaterializedPartitions"]) == set(KEYS[4:])
    assert all(check["executionForLatestMaterialization"] for check in found["assetChecksOrError"]["checks"])
    assert found["dependencyKeys"] == [{"path": ["raw", "letters-data"]}]
    assert found["dependedByKeys"] == [{"path": ["letters", "clean"]}]
    assert found["owners"] == [{"email": "team@example.org"}]
    assert {check["name"] for check in found["assetChecksOrError"]["checks"]} == set(RESERVED_CHECKS)
    assert lab.called() == {f"read {key} 1": 1 for key in KEYS[:5]}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_cancelled_in_dagit_cancels_its_jobs(
    sqlite_ops_db: OpsDb, server: tuple[DagsterWorld, Dagit]
) -> None:
    lab, running = server
    lab.declare(seconds="300")
    running.graphql("mutation { reloadWorkspace { __typename } }")
    running.graphql(LAUNCH, keys=KEYS[:1], asset=["letters", "read"])
    until(lab.called)
    (run,) = lab.instance.get_runs()
    assert running.graphql(TERMINATE, run=run.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"

    def status() -> RunStatus | None:
        with sqlite_ops_db.read() as session:
            found = session.get(Run, 1)
            return None if found is None else found.status

    until(lambda: finished(lab))
    until(lambda: lab.application.executor.tick() and status() is RunStatus.CANCELLED, within_seconds=60)
    ended = lab.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.CANCELED
