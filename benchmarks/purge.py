"""`purge_decision`: which of a million products may go, least recently used first, to free a fifth of their room."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import databases

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PRODUCTS = 1_000_000
_PART = 5  # a fifth is to be freed
_TIMES = 5  # of which the median is shown
# The data of `closure` with fewer links, as after weeks of use: all up to date but one map in a hundred, which has to
# be run again, some calibrations pinned, some runs in flight. Such a map reads ten calibrations. Of a hundred
# calibrations, one was not verified and one was made by a version that was withdrawn since; one in two hundred packages
# cannot be read any more.
_FILL = """
UPDATE raw_data_package SET checksum = lpad('0', 64, '0');
UPDATE data_product SET type = 'intermediate' WHERE id <= :calibrated;
INSERT INTO physical_copy (kind, data_location_id, path, status, created_at, checksum_verified_at, data_product_id)
SELECT 'data_product', 1, 'bench/' || id, 'PRESENT', now(), CASE WHEN id % 100 = 3 THEN NULL ELSE now() END, id
FROM data_product;
INSERT INTO physical_copy (kind, data_location_id, path, status, created_at, raw_data_package_id)
SELECT 'raw_data_package', 1, 'raw/' || id, CASE WHEN id % 200 = 5 THEN 'DELETED' ELSE 'PRESENT' END, now(), id
FROM raw_data_package p WHERE NOT EXISTS (SELECT 1 FROM physical_copy c WHERE c.raw_data_package_id = p.id);
INSERT INTO reduction_software_version (software_id, version, major, rank, command, code, released, withdrawn, cosmetic,
  created_at)
SELECT software_id, '0.9.0', 0, 0, command, code, released, TRUE, FALSE, created_at FROM reduction_software_version;
UPDATE executed_reduction_step SET software_version_id = (SELECT id FROM reduction_software_version WHERE withdrawn)
WHERE id <= :calibrated AND id % 100 = 9;
INSERT INTO run_space (run_id, step_id, sub_group_id, data_location_id, state, changed_at, last_used_at, size_bytes,
  made_bytes, removable_bytes, removable_files, has_science)
SELECT r.id, r.step_id, r.sub_group_id, 1, 'PRESENT', now(), now() - make_interval(secs => (r.id * 7919) % 9999991),
  1000000, 1000000, 1000000, 1, r.id > :calibrated FROM executed_reduction_step r;
INSERT INTO sub_group_gap (step_id, sub_group_id, reason, input_count, lane_0, lane_1, lane_2, alive, will_run,
  acceptable_run_id, current_run_id, latest_run_id, purged)
SELECT step_id, sub_group_id, CASE WHEN id > :calibrated AND id % 100 = 0 THEN 'new_inputs' ELSE 'up_to_date' END,
  1, 0, 0, 0, 1, 0, id, id, id, 0 FROM executed_reduction_step;
INSERT INTO sub_group_member (partitioning_id, raw_data_package_id, sub_group_id)
SELECT s.partitioning_id, p.id, CASE s.name WHEN 'calibrate' THEN p.id ELSE :calibrated + (p.id + 9) / 10 * 10 END
FROM reduction_step s, raw_data_package p WHERE s.name IN ('calibrate', 'map');
UPDATE reduction_step_dependency SET upstream_step_id = (SELECT id FROM reduction_step WHERE name = 'calibrate')
WHERE step_revision_id = (SELECT id FROM reduction_step_revision WHERE step_id IN
  (SELECT id FROM reduction_step WHERE name = 'map'));
INSERT INTO product_pin (data_product_id, run_id, reason, pinned_by, pinned_at)
SELECT id, id, 'bench', 'bench', now() FROM data_product WHERE id % 1000 = 1;
UPDATE executed_reduction_step SET status = 'RUNNING' WHERE id > :calibrated AND id % 100 = 7
"""
Node = dict[str, Any]


def purge_decision() -> Iterable[dict[str, Any]]:
    """Yield what the decision takes on PostgreSQL, and how often its plan reads what there is."""
    with databases.place("postgresql") as place:
        place.child("benchmarks.purge", "prepare", PRODUCTS)
        metrics = place.child("benchmarks.purge", "decide", PRODUCTS)
        yield {"params": {"products": PRODUCTS, "part": f"1/{_PART}"}, "metrics": metrics, "floor": {}}


def run_prepare(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Fill a database with products that lie on a disk, looked at and accounted."""
    import sqlalchemy as sa  # noqa: PLC0415 - only the child pays for its imports

    from benchmarks.closure import fill  # noqa: PLC0415
    from benchmarks.fill import settle  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db = OpsDb(urls["ops"])
    fill(ops_db, directory, products, packages_each=1)
    with ops_db.write() as session:
        session.execute(sa.text("SET LOCAL session_replication_role = replica"))  # neither triggers nor foreign keys
        for statement in _FILL.split(";"):
            session.execute(sa.text(statement), {"calibrated": products - products // 10} if ":" in statement else {})
    settle(ops_db)
    return {}


def run_decide(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Decide some times what is to go; nothing goes."""
    from benchmarks.world import NOON, counting_statements  # noqa: PLC0415
    from ccat_models.product.removable import choose  # noqa: PLC0415
    from resources.ops_db import OpsDb  # noqa: PLC0415

    del directory
    ops_db, taken_s, wanted = OpsDb(urls["ops"]), list[float](), products * 1_000_000 // _PART
    for _ in range(_TIMES):
        with counting_statements(ops_db) as statements:
            begun = time.monotonic()
            with ops_db.read() as session:
                chosen = choose(session, 1, wanted, NOON)
            taken_s.append(time.monotonic() - begun)
        if chosen.size_bytes < wanted:
            raise RuntimeError(f"{chosen.runs} runs are not enough")
    with ops_db.read() as session:
        scans = _scans(session, wanted)
    shown = {"wall_s": round(sorted(taken_s)[_TIMES // 2], 2), "first_s": round(taken_s[0], 2)}
    counts = {"runs": chosen.runs, "statements": len(statements), "passes": scans}
    return {**shown, **counts, **databases.usage()}


def _scans(session: "Session", wanted: int) -> int:
    """Return how many nodes of the decision's plan read the accounts of all runs."""
    from benchmarks.world import NOON  # noqa: PLC0415
    from ccat_models.product.removable import oldest  # noqa: PLC0415

    query = oldest(session, 1, wanted, NOON).compile(session.get_bind(), compile_kwargs={"literal_binds": True})
    explained = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}")
    (plan,) = explained.scalars().one()
    return sum(node.get("Alias") == "run_space" for node in _nodes(plan["Plan"]))


def _nodes(node: Node) -> Iterable[Node]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


if __name__ == "__main__":
    databases.answer({"prepare": run_prepare, "decide": run_decide})
