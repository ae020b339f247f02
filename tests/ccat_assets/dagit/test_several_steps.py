"""Several steps at once, through the real webserver and daemon: what can be made is made, and all else says why not."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
import pytest

from resources.ops_db import OpsDb
from tests.support.parts.dagit import Dagit
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.served_dagster import served_lab

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

SCANS, BROKEN = 20, (3, 12)
KEYS = [f"executed_obs_unit=scan-{number}" for number in range(SCANS)]
FAILED = {KEYS[number]: "FAILED" for number in BROKEN}
SOURCES = ["source=source-1", "source=source-2"]
EVERYTHING = {"read": KEYS, "clean": KEYS, "join": SOURCES, "map": ["all"]}
WAITS = "not run: waiting_for_upstream: upstream products do not exist yet"
PATIENCE_SECONDS = 300
LAUNCH = """
mutation ($wanted: [PartitionsByAssetSelector!]) {
  launchPartitionBackfill(backfillParams: {partitionsByAssets: $wanted}) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
Served = tuple[DagsterWorld, Dagit, bool]  # whether a step needs all of its inputs


def declare(lab: DagsterWorld, when: str, map_reads: str) -> None:
    """Let 20 scans arrive, two of them broken, and declare the pipeline with a fourth step, which reads all of one."""
    for number in range(SCANS):
        lab.observatory.scan(number, "exit 65" if number in BROKEN else "a")
    text = pipeline_yaml(lab.calls, when=when)
    join = text[text.rindex("  - name: join") :]
    whole = join.replace("join", "map").replace("[clean]", f"[{map_reads}]").replace("[source]", "[]")
    lab.observatory.declare(text + whole, lab.code)
    lab.refresh()


@pytest.fixture(
    params=[("sqlite", "any", "join"), ("sqlite", "all", "join"), ("postgres", "any", "clean")], ids="-".join
)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Give the world, and a Dagit with its daemon on it."""
    database, when, map_reads = request.param
    ops_db: OpsDb = request.getfixturevalue(f"{database}_ops_db")
    with served_lab(ops_db, tmp_path, lambda lab: declare(lab, when, map_reads)) as (lab, running):
        yield lab, running, when == "all"


def backfill(served: Served, wanted: Mapping[str, Sequence[str]]) -> Sequence[dg.DagsterRun]:
    """Launch a backfill over partitions of several steps; return its Dagster runs once it has ended."""
    lab, running, _ = served
    selected = [
        {
            "assetKey": {"path": ["letters", step]},
            "partitions": {"ranges": [{"start": key, "end": key} for key in keys]},
        }
        for step, keys in wanted.items()
    ]
    launched = running.graphql(LAUNCH, wanted=selected)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = lab.instance.get_backfill(launched["backfillId"])
        assert found is not None
        runs = lab.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": found.backfill_id}))
        if found.status.value in ("COMPLETED_SUCCESS", "COMPLETED_FAILED"):
            return runs
        assert time.monotonic() < end, (found.status, runs, running.log.read_text(errors="replace")[-6000:])
        time.sleep(0.5)


def said(lab: DagsterWorld, runs: Sequence[dg.DagsterRun]) -> str:
    """Return in which words Dagster runs failed; none of them may leave out a step without a reason."""
    texts = []
    for run in runs:
        events = [entry.get_dagster_event() for entry in lab.instance.all_logs(run.run_id) if entry.is_dagster_event]
        assert not [event for event in events if event.event_type is dg.DagsterEventType.STEP_SKIPPED]
        failed = [event for event in events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
        texts += [event.step_failure_data.error.message for event in failed if event.step_failure_data.error]
        assert bool(failed) == (run.status is dg.DagsterRunStatus.FAILURE)
    return "\n".join(texts)


def executed(lab: DagsterWorld) -> dict[str, int]:
    """Return how many sub-groups of each step were executed; none may be executed twice."""
    called = lab.called()
    assert set(called.values()) == {1}
    return Counter(line.split()[0] for line in called)


def test_a_backfill_over_three_granularities_makes_what_can_be_made(served: Served) -> None:
    lab, _, needs_all = served
    words = said(lab, backfill(served, EVERYTHING))
    for step in ("read", "clean"):
        assert lab.statuses(step) == dict.fromkeys(KEYS, "MATERIALIZED") | FAILED
        assert set(lab.shown(step).values()) == {1}
    for key in FAILED:
        assert f"read {key}: run " in words
        assert f"clean {key}: {WAITS}" in words
    if needs_all:
        assert executed(lab) == {"read": 20, "clean": 18}
        assert lab.statuses("join") == dict.fromkeys(SOURCES, "FAILED")
        assert lab.statuses("map") == {"all": "FAILED"}
        assert f"join {SOURCES[0]}: {WAITS}" in words
        assert f"map all: {WAITS}" in words
    else:
        assert executed(lab) == {"read": 20, "clean": 18, "join": 2, "map": 1}
        wait_until_published(lab)
        assert lab.statuses("join") == dict.fromkeys(SOURCES, "MATERIALIZED")
        assert lab.shown("map") == {"all": 1}


def wait_until_published(lab: DagsterWorld) -> None:
    """Wait until the sensor has published the runs for which Dagster began none of its own."""
    end = time.monotonic() + PATIENCE_SECONDS
    while lab.unpublished():
        assert time.monotonic() < end
        time.sleep(0.5)
