"""The sensors where they really are: in a code server, ticked by Dagster's daemon."""

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import psutil
import pytest

from ccat_assets.dagit.names import raw_key
from ccat_assets.dagit.publish import publish
from resources.ops_db import OpsDb
from tests.support.parts.dagit import Dagit
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.served_dagster import served_lab

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(4)]
TICKS = """
query ($sensor: String!) {
  sensorOrError(sensorSelector: {
    sensorName: $sensor, repositoryName: "__repository__", repositoryLocationName: "ccat"
  }) { ... on Sensor { sensorState { status ticks(limit: 100) { status skipReason error { message } } } } }
}
"""


@pytest.fixture
def served(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[tuple[DagsterWorld, Dagit]]:
    """Give a lab of four scans, the second of which fails, and a Dagit with its daemon on it."""
    with served_lab(sqlite_ops_db, tmp_path, lambda lab: lab.declare("a", "exit 65", "c", "d")) as served:
        yield served


def until(condition: Callable[[], object], within_seconds: float = 180) -> None:
    end = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.5)


def ticks(running: Dagit, sensor: str) -> list[tuple[str, str]]:
    state = running.graphql(TICKS, sensor=sensor)["sensorOrError"]["sensorState"]
    assert state["status"] == "RUNNING"
    return [(tick["status"], tick["skipReason"] or (tick["error"] or {}).get("message", "")) for tick in state["ticks"]]


def shown_once(lab: DagsterWorld) -> None:
    assert lab.statuses("read") == dict.fromkeys(KEYS, "MATERIALIZED") | {KEYS[1]: "FAILED"}
    for step in ("read", "clean"):
        assert lab.shown(step) == {KEYS[0]: 1, KEYS[2]: 1, KEYS[3]: 1}
    assert lab.shown("join") == {"source=source-1": 1}


def test_runs_of_the_command_line_are_published_without_a_request(served: tuple[DagsterWorld, Dagit]) -> None:
    lab, running = served
    lab.run_without_dagster()
    publish(lab.application, lab.instance)  # as a user may at the very same time
    until(lambda: not lab.unpublished())
    shown_once(lab)
    lab.observatory.scan(4, "e")
    lab.run_without_dagster()
    until(lambda: not lab.unpublished())
    assert lab.shown("read")["executed_obs_unit=scan-4"] == 1
    until(lambda: len(lab.instance.fetch_materializations(raw_key("letters-data"), limit=10).records) == 5)
    for sensor in ("raw_data", "publishing", "reasons", "overview", "decisions", "dagster_runs", "retention", "jobs"):
        until(partial(ticks, running, sensor))
        assert {status for status, _ in ticks(running, sensor)} <= {"SKIPPED", "STARTED"}, ticks(running, sensor)
    assert any("runs were published" in said for _, said in ticks(running, "publishing"))


def test_publication_continues_after_a_code_server_was_killed(served: tuple[DagsterWorld, Dagit]) -> None:
    lab, running = served
    lab.run_without_dagster()
    publishers: list[int] = []

    def publishing() -> bool:
        runs = lab.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        publishers.extend(int(run.tags["ccat/publisher"].split(":")[1]) for run in runs)
        return bool(publishers) or not lab.unpublished()

    end = time.monotonic() + 120
    while not publishing() and time.monotonic() < end:
        time.sleep(0.01)
    assert publishers, "it was too fast to be caught"
    psutil.Process(publishers[0]).send_signal(signal.SIGKILL)
    until(lambda: not lab.unpublished())
    until(lambda: all(run.is_finished for run in lab.instance.get_runs()))
    shown_once(lab)
    assert ticks(running, "publishing")
