"""`add_partitions`: what it costs to show sub-groups to Dagster: all of them, none, one more."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import databases

if TYPE_CHECKING:
    import dagster as dg

    from resources.ops_db import OpsDb

SCANS = (100_000,)
_PROJECT = Path(__file__).parents[1] / "dagster.yaml"


def add_partitions() -> Iterable[dict[str, Any]]:
    """Yield the times for an instance in SQLite files and for one on PostgreSQL, ops-db being of the same kind."""
    for kind in databases.KINDS:
        for scans in SCANS:
            with databases.place(kind, ("ops", "dagster")) as place:
                place.child("benchmarks.mirroring", "prepare", scans)
                metrics = place.child("benchmarks.mirroring", "mirror", scans)
            yield {"params": {"sub_groups": scans, "database": kind}, "metrics": metrics, "floor": {}}


def run_prepare(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Fill ops-db with the sub-groups of one partitioning, and make the instance's tables."""
    from benchmarks.fill import observe, settle  # noqa: PLC0415 - only the child pays for its imports
    from benchmarks.world import NOON, STANDING, declare  # noqa: PLC0415
    from ccat_models.sub_group.follow import follow_packages  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db = OpsDb(urls["ops"])
    observe(ops_db, directory, scans, per_unit=10)
    declare(ops_db, STANDING)
    with ops_db.request() as session:
        follow_packages(session, NOON)
    settle(ops_db)
    home = directory / "home"
    home.mkdir()
    storage = "" if ops_db.is_sqlite else f"\nstorage: {{postgres: {{postgres_url: '{urls['dagster']}'}}}}\n"
    (home / "dagster.yaml").write_text(_PROJECT.read_text() + storage)
    with _instance(directory) as instance:
        instance.get_dynamic_partitions("none")
    return {}


def _instance(directory: Path) -> "dg.DagsterInstance":
    import dagster as dg  # noqa: PLC0415

    return dg.DagsterInstance.from_config(str(directory / "home"))


def run_mirror(directory: Path, scans: int, urls: dict[str, str]) -> dict[str, Any]:
    """Mirror everything, then nothing and one more: by comparing all keys, and by what came after marks alone."""
    from ccat_assets.dagit.partitions import sync_partitions  # noqa: PLC0415
    from ccat_models.sub_group.activity import Marks, read_marks  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db = OpsDb(urls["ops"])
    with _instance(directory) as instance:

        def mirror(after: Marks | None, added: int) -> float:
            with ops_db.read() as session:
                return _seconds(lambda: sync_partitions(instance, session, after=after), added)

        metrics = {"first_s": mirror(None, scans), "idle_s": mirror(None, 0)}
        with ops_db.read() as session:
            marks = read_marks(session)
        metrics["idle_after_marks_s"] = mirror(marks, 0)
        _one_more(ops_db, directory, scans)
        metrics["one_more_after_marks_s"] = mirror(marks, 1)
        _one_more(ops_db, directory, scans + 1)
        metrics["one_more_s"] = mirror(None, 1)
    return {**metrics, **databases.usage()}


def _one_more(ops_db: "OpsDb", directory: Path, number: int) -> None:
    """Let a package arrive and be followed."""
    from benchmarks.world import NOON  # noqa: PLC0415
    from ccat_models.sub_group.follow import follow_packages  # noqa: PLC0415
    from tests.support.worlds.observatory import ObservatoryWorld  # noqa: PLC0415

    ObservatoryWorld(ops_db, directory).scan(number)
    with ops_db.request() as session:
        follow_packages(session, NOON)


def _seconds(work: Callable[[], int], expected: int) -> float:
    begun = time.monotonic()
    done = work()
    if done != expected:
        raise RuntimeError(f"{done} keys were added, not {expected}")
    return round(time.monotonic() - begun, 3)


if __name__ == "__main__":
    databases.answer({"prepare": run_prepare, "mirror": run_mirror})
