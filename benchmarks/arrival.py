"""`detect_to_submit`: from the commit that archives a package to its job, through what a tick of the sensor does."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import databases

if TYPE_CHECKING:
    from resources.location import Cluster
    from resources.ops_db import OpsDb
    from resources.run.executor import Executor

SCANS = (1_000, 100_000)
ARRIVALS = 5
_SLOTS = 4


def detect_to_submit() -> Iterable[dict[str, Any]]:
    """Yield how long a package waits for its job where all others are up to date."""
    for kind in databases.KINDS:
        for scans in SCANS:
            with databases.place(kind) as place:
                prepared = place.child("benchmarks.arrival", "prepare", scans)
                metrics = place.child("benchmarks.arrival", "arrivals", scans)
            params = {"sub_groups": scans, "database": kind, "back_end": "local"}
            yield {"params": params, "metrics": {**metrics, "prepare_s": prepared["wall_s"]}, "floor": {}}


def _cluster(ops_db: "OpsDb", directory: Path) -> "Cluster":
    from tests.support.parts.clusters import local_cluster  # noqa: PLC0415

    return local_cluster(ops_db, directory / "workspace", slots=_SLOTS)


def run_prepare(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Fill a database with archived scans that a continuous pipeline of one step has all been run on."""
    from benchmarks.fill import complete_all, observe, settle  # noqa: PLC0415 - only the child pays for its imports
    from benchmarks.world import NOON, PIPELINE, STANDING, declare  # noqa: PLC0415
    from ccat_models.gap.look import look  # noqa: PLC0415
    from ccat_models.pipeline.view import load_pipeline  # noqa: PLC0415
    from ccat_models.sub_group.follow import follow_packages  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415
    from resources.request.standing import run_round  # noqa: PLC0415

    begun, ops_db = time.monotonic(), OpsDb(urls["ops"])
    observe(ops_db, directory, scans, per_unit=10)
    declare(ops_db, STANDING)
    cluster = _cluster(ops_db, directory)
    with ops_db.request() as session:
        pipeline = load_pipeline(session, PIPELINE)
        follow_packages(session, NOON)
        look(session, pipeline, NOON)
        complete_all(session, pipeline, cluster.backend.name)
    found = run_round(cluster)
    if found is None or found.created or found.judged.total() != scans:
        raise RuntimeError(f"not all is up to date: {found}")
    settle(ops_db)
    return {"wall_s": round(time.monotonic() - begun, 2)}


def run_arrivals(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Let packages arrive one by one, each with the sensor's tick; the first builds the statements."""
    from resources.ops_db import OpsDb  # noqa: PLC0415
    from sensors.gaps import INTERVAL_SECONDS  # noqa: PLC0415

    ticks = list(_ticks(OpsDb(urls["ops"]), directory, scans))
    sent = [seconds for seconds, _, _ in ticks]
    return {
        "first_submit_s": round(sent[0], 3),
        "submit_s": round(median(sent[1:]), 3),
        "tick_s": round(median(seconds for _, seconds, _ in ticks[1:]), 3),
        "tick_statements": ticks[-1][2],
        "interval_s": INTERVAL_SECONDS,
        "at_worst_s": round(INTERVAL_SECONDS + max(sent), 3),
        **databases.usage(),
    }


def _ticks(ops_db: "OpsDb", directory: Path, scans: int) -> Iterator[tuple[float, float, int]]:
    """Yield for each arrival after how many seconds its job was sent and the tick had ended, and its statements."""
    import dagster as dg  # noqa: PLC0415

    from benchmarks.world import counting_statements  # noqa: PLC0415
    from resources.run.executor import Executor  # noqa: PLC0415
    from sensors.gaps import GapFilling, gaps_sensor  # noqa: PLC0415
    from tests.support.faults.moments import watched  # noqa: PLC0415
    from tests.support.worlds.observatory import ObservatoryWorld  # noqa: PLC0415

    passed = dict[str, float]()
    observatory = ObservatoryWorld(ops_db, directory)
    cluster = watched(_cluster(ops_db, directory), lambda name: passed.update({name: time.monotonic()}))
    executor = Executor(cluster)
    sensor = gaps_sensor(GapFilling(lambda: executor, lambda _instance: ()))
    for number in range(scans, scans + ARRIVALS):
        observatory.scan(number)
        passed.clear()
        with (
            counting_statements(ops_db) as statements,
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance) as context,
        ):
            begun = time.monotonic()
            sensor(context)
            yield passed["sent"] - begun, time.monotonic() - begun, len(statements)
        _await_end(executor)


def _await_end(executor: "Executor") -> None:
    """Execute the runs in flight to their end, as the sensor of jobs would, and follow the changes."""
    from ccat_models.run.work import anything_to_do  # noqa: PLC0415
    from resources.request.standing import run_round  # noqa: PLC0415

    cluster, in_flight = executor.cluster, True
    while in_flight:
        executor.tick()
        time.sleep(0.05)
        with cluster.ops_db.read() as session:
            in_flight = anything_to_do(session, cluster.location_id)
    executor.release()
    found = run_round(cluster)
    if found is None or found.created:
        raise RuntimeError(f"the run did not complete: {found}")


if __name__ == "__main__":
    databases.answer({"prepare": run_prepare, "arrivals": run_arrivals})
