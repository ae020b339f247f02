"""`full_gap`, `idle_tick`: what a visit to a pipeline of three steps costs, first, idle and after one change."""

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import databases
from benchmarks.plan import FLOOR as FLOOR_42_000

if TYPE_CHECKING:
    from resources.ops_db import OpsDb
    from resources.request.standing import PipelineRound

SCANS = (1_000, 10_000, 20_000, 100_000, 1_000_000)  # a sub-group each; runs = 2.1 times as many
AS_MANY_AS_THE_FLOORS = 20_000
REDUN = {"redun_s": 12.9}
IDLE_VISITS = 20


def full_gap() -> Iterable[dict[str, Any]]:
    """Yield what it costs to follow all packages from nothing and to look at everything for the first time."""
    for kind in databases.KINDS:
        for scans in SCANS[1:]:
            params = {"sub_groups": scans, "runs": scans * 21 // 10, "database": kind}
            floor = FLOOR_42_000 if scans == AS_MANY_AS_THE_FLOORS else {}
            yield {"params": params, "metrics": _world(kind, scans)["full_gap"], "floor": floor}


def idle_tick() -> Iterable[dict[str, Any]]:
    """Yield what a visit costs after which nothing has changed, and one after a package has."""
    for kind in databases.KINDS:
        for scans in SCANS:
            if scans == AS_MANY_AS_THE_FLOORS:
                continue
            floor = REDUN if scans == 1_000 else {}
            params = {"sub_groups": scans, "database": kind}
            yield {"params": params, "metrics": _world(kind, scans)["idle_tick"], "floor": floor}


@cache
def _world(kind: str, scans: int) -> dict[str, dict[str, Any]]:
    """Measure everything on one prepared database: preparing it takes longer than that."""
    with databases.place(kind) as place:
        prepared = place.child("benchmarks.standing", "prepare", scans)
        whole = place.child("benchmarks.standing", "full_gap", scans)
        place.child("benchmarks.standing", "settle", scans)
        idle = place.child("benchmarks.standing", "idle_tick", scans)
    return {"full_gap": {**whole, "prepare_s": prepared["wall_s"]}, "idle_tick": idle}


def run_prepare(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Fill a database with archived scans, ten to an observation unit, and a pipeline that has not been looked at."""
    from benchmarks.fill import observe, settle  # noqa: PLC0415 - only the child pays for its imports
    from benchmarks.world import declare  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    begun, ops_db = time.monotonic(), OpsDb(urls["ops"])
    observe(ops_db, directory, scans, per_unit=10)
    declare(ops_db)
    settle(ops_db)
    return {"wall_s": round(time.monotonic() - begun, 2)}


def run_full_gap(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Follow and look, in a transaction each."""
    from benchmarks.world import NOON, PIPELINE, counting_statements  # noqa: PLC0415
    from ccat_models.gap.look import look  # noqa: PLC0415
    from ccat_models.pipeline.view import load_pipeline  # noqa: PLC0415
    from ccat_models.sub_group.follow import follow_packages  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    del directory
    begun, ops_db = time.monotonic(), OpsDb(urls["ops"])
    with counting_statements(ops_db) as statements:
        with ops_db.request() as session:
            follow_packages(session, NOON)
        followed = time.monotonic()
        with ops_db.request() as session:
            looked = look(session, load_pipeline(session, PIPELINE), NOON)
    ended, judged = time.monotonic(), sum(looked.judged.values())
    if judged != scans * 21 // 10:
        raise RuntimeError(f"{judged} judged of {scans} scans")
    return {
        "wall_s": round(ended - begun, 2),
        "follow_s": round(followed - begun, 2),
        "look_s": round(ended - followed, 2),
        **databases.usage(),
        "statements": len(statements),
        "judged": judged,
    }


def run_settle(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Let what is idle be idle for some minutes: until then PostgreSQL has no idea of the tables that were filled."""
    from benchmarks.fill import settle  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    del directory, scans
    settle(OpsDb(urls["ops"]))
    return {}


def run_idle_tick(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Visit when nothing has changed, and after a package has: twice, because the first time builds the statements."""
    from benchmarks.world import NOON, counting_statements  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415
    from resources.request.standing import run_round  # noqa: PLC0415
    from tests.support.parts.clusters import local_cluster  # noqa: PLC0415

    ops_db = OpsDb(urls["ops"])
    cluster = local_cluster(ops_db, directory / "workspace", slots=1, clock=lambda: NOON)

    def visited() -> tuple[float, int, "PipelineRound | None"]:
        with counting_statements(ops_db) as statements:
            begun = time.monotonic()
            found = run_round(cluster)
            return round(1000 * (time.monotonic() - begun), 2), len(statements), found

    first, *idle = (visited() for _ in range(IDLE_VISITS + 1))
    if any(found is not None for _, _, found in idle):
        raise RuntimeError("something had changed")
    metrics = {"idle_ms": round(sum(ms for ms, _, _ in idle) / len(idle), 2), "idle_statements": idle[-1][1]}
    for name, scan in (("changed_first_ms", scans // 2), ("changed_ms", scans // 3)):
        _change(ops_db, scan)
        metrics[name], statements, found = visited()
        metrics |= {"changed_statements": statements, "changed_judged": 0 if found is None else found.judged.total()}
    return {"idle_first_ms": first[0], **metrics, **databases.usage()}


def _change(ops_db: "OpsDb", package: int) -> None:
    """Let a package arrive again with other content."""
    from ccat_models.tables.raw_data import RawDataPackage  # noqa: PLC0415

    with ops_db.write() as session:
        session.get_one(RawDataPackage, package).set_checksum("f" * 64)


if __name__ == "__main__":
    measured = {"full_gap": run_full_gap, "idle_tick": run_idle_tick}
    databases.answer({"prepare": run_prepare, "settle": run_settle, **measured})
