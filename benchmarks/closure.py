"""`closure`: whole lineages and what a package has touched, among a million products and ten million links."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import databases

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from resources.ops_db import OpsDb

PRODUCTS = 1_000_000
MARQUEZ = {"marquez_lineage_end_point_s": 10}  # at least
_ASKED = 300
_TIMES = 5  # of which the median is shown
_SEED = 7

# Of ten runs nine calibrate and one makes a map of ten calibrated products, the last one of a tenth of all. Those read
# one package each, all others eleven.
_FILL = """
CREATE TEMP TABLE step AS
SELECT s.id, r.id AS revision_id, s.partitioning_id, r.pinned_version_id, r.config_id, s.name
FROM reduction_step s JOIN reduction_step_revision r ON r.step_id = s.id;
INSERT INTO raw_data_file (id, raw_data_package_id, package_checksum, instrument_module_id, path, size_bytes, sha256)
SELECT gen_random_uuid(), id, lpad('0', 64, '0'), 1, 'scan.fits', 1000000, checksum FROM raw_data_package;
INSERT INTO sub_group (id, partitioning_id, key, natural_key, dimensions, created_at)
SELECT n, step.partitioning_id, 'scan=' || n, 'scan=' || n, '{}', now()
FROM generate_series(1, :products) n
JOIN step ON step.name = CASE WHEN n <= :calibrated THEN 'calibrate' ELSE 'map' END;
INSERT INTO executed_reduction_step (id, step_id, step_revision_id, sub_group_id, software_version_id, config_id,
  status, status_changed_at, reason, requested_by, priority, created_at, input_count,
  input_lane_0, input_lane_1, input_lane_2, output_count, output_lane_0, output_lane_1, output_lane_2)
SELECT n, step.id, step.revision_id, n, step.pinned_version_id, step.config_id,
  'COMPLETED', now(), 'missing', 'bench', 0, now(), 1, n, n, n, 1, n, n, n
FROM generate_series(1, :products) n
JOIN step ON step.name = CASE WHEN n <= :calibrated THEN 'calibrate' ELSE 'map' END;
INSERT INTO data_product (id, run_id, type, path, size_bytes, sha256, created_at, extra)
SELECT n, n, 'science', 'science/product.fits', 1000000, lpad(n::text, 64, '0'), now(), '{}'
FROM generate_series(1, :products) n;
INSERT INTO attempt (id, run_id, number, submission_key, state, backend, created_at, host, sends, resources)
SELECT n, n, 1, lpad(n::text, 32, '0'), 'ENDED', 'slurm', now(), 'node-' || n % 500, 1, '{}'
FROM generate_series(1, :products) n;
INSERT INTO run_input_package (run_id, raw_data_package_id, checksum)
SELECT n, (n - 1) % :packages + 1, lpad('0', 64, '0') FROM generate_series(1, :packages) n
UNION ALL
SELECT n, (n * 17 + k * 7919) % :packages + 1, lpad('0', 64, '0')
FROM generate_series(:packages + 1, :calibrated) n, generate_series(1, :packages_each) k;
INSERT INTO run_input_product (run_id, data_product_id, producer_run_id, sha256)
SELECT n, c, c, lpad('0', 64, '0')
FROM generate_series(:calibrated + 1, :products - 1) n, generate_series(1, 10) k,
  LATERAL (SELECT (n * 9 + k * 86028) % :calibrated + 1 AS c) picked
UNION ALL
SELECT :products, c, c, lpad('0', 64, '0') FROM generate_series(1, :packages) c
"""


def closure() -> Iterable[dict[str, Any]]:
    """Yield what lineages and what a thing has touched take on PostgreSQL: one by one, and read as a stream."""
    with databases.place("postgresql") as place:
        links = place.child("benchmarks.closure", "prepare", PRODUCTS)["links"]
        for what in MEASURED:
            params = {"what": what, "products": PRODUCTS, "links": links}
            metrics = place.child("benchmarks.closure", what, PRODUCTS)
            yield {"params": params, "metrics": metrics, "floor": MARQUEZ if what.startswith("lineage") else {}}


def run_prepare(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Fill a database with completed runs of one product each, most of which have read eleven packages."""
    import sqlalchemy as sa  # noqa: PLC0415 - only the child pays for its imports

    from resources.ops_db import OpsDb  # noqa: PLC0415

    begun, ops_db = time.monotonic(), OpsDb(urls["ops"])
    fill(ops_db, directory, products, packages_each=11)
    with ops_db.read() as session:
        tables = ("run_input_package", "run_input_product")
        links = [session.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in tables]
    return {"links": sum(links), "wall_s": round(time.monotonic() - begun, 2)}


def fill(ops_db: "OpsDb", directory: Path, products: int, *, packages_each: int) -> None:
    """Let completed runs have made so many products; the server makes every row."""
    import sqlalchemy as sa  # noqa: PLC0415

    from benchmarks.fill import observe, settle  # noqa: PLC0415
    from benchmarks.world import declare  # noqa: PLC0415

    packages = products // 10
    observe(ops_db, directory, packages, per_unit=10)
    declare(ops_db)
    sizes = {"products": products, "calibrated": products - packages, "packages": packages}
    sizes["packages_each"] = packages_each
    with ops_db.write() as session:
        session.execute(sa.text("SET LOCAL session_replication_role = replica"))  # neither triggers nor foreign keys
        for statement in _FILL.split(";"):
            session.execute(sa.text(statement.replace("::", r"\:\:")), sizes)
    settle(ops_db)


def run_lineage(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Ask for the whole lineages of maps of ten calibrated products, a different one each time."""
    from ccat_models.lineage.closure import lineage_of, producer_of  # noqa: PLC0415
    from ccat_models.tables.base import ProductId  # noqa: PLC0415

    del directory

    def ask(session: "Session", product: int) -> int:
        run = producer_of(session, ProductId(product))
        if run is None:
            raise RuntimeError(f"no product {product}")
        found = lineage_of(session, run)
        if not all(package.files for read in found.packages.values() for package in read):
            raise RuntimeError(f"product {product}: a package without files")
        return len(found.runs) - 1

    return _asked(urls, ask, Random(_SEED).sample(range(products - products // 10 + 1, products), _ASKED))


def run_lineage_of_great_map(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Read all runs that a map of a tenth of all packages was made from, itself among them."""
    from ccat_models.lineage.closure import ancestor_runs  # noqa: PLC0415
    from ccat_models.tables.base import RunId  # noqa: PLC0415

    del directory
    return _read(urls, lambda session: ancestor_runs(session, RunId(products)), products // 10 + 1)


def run_lineage_of_great_map_packages(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Read the packages, with their files, that a map of a tenth of all was made from."""
    from ccat_models.lineage.closure import packages_read  # noqa: PLC0415
    from ccat_models.tables.base import RunId  # noqa: PLC0415

    del directory
    return _read(urls, lambda session: packages_read(session, RunId(products)), products // 10)


def run_touched_by_package(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Read the runs that a package has touched, a different one each time."""
    from ccat_models.lineage.closure import descendant_runs  # noqa: PLC0415
    from ccat_models.lineage.start import Kind, Start  # noqa: PLC0415

    del directory

    def ask(session: "Session", package: int) -> int:
        return sum(1 for _ in descendant_runs(session, Start(Kind.PACKAGE, str(package), (package,))))

    return _asked(urls, ask, Random(_SEED).sample(range(1, products // 10), _ASKED))


def run_touched_by_package_counted(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Count by step what a package has touched, and what of it is superseded, a different one each time."""
    from ccat_models.lineage.impact import impact_by_step  # noqa: PLC0415
    from ccat_models.lineage.start import Kind, Start  # noqa: PLC0415

    del directory

    def ask(session: "Session", package: int) -> int:
        return sum(step.runs for step in impact_by_step(session, Start(Kind.PACKAGE, str(package), (package,))))

    return _asked(urls, ask, Random(_SEED).sample(range(1, products // 10), _ASKED))


def run_touched_by_version(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Read the runs that the one software version has touched, which is all there is."""
    del directory
    return _read(urls, _touched_by("software:bench=1.0.0"), products, times=1)


def run_touched_by_node(directory: Path, products: int, urls: dict[str, str]) -> dict[str, Any]:
    """Read the runs that a node, one of five hundred, has touched: its own, and what was made of those."""
    del directory
    return _read(urls, _touched_by("node:node-7"), products // 250 + 1)


def _touched_by(text: str) -> Callable[["Session"], Iterator[Any]]:
    from ccat_models.lineage.closure import descendant_runs  # noqa: PLC0415
    from ccat_models.lineage.start import find_start  # noqa: PLC0415

    return lambda session: descendant_runs(session, find_start(session, text))


def _asked(urls: dict[str, str], ask: Callable[["Session", int], int], numbers: list[int]) -> dict[str, float]:
    """Return how long it takes to ask, a session each time; the first time builds the statements."""
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db, taken_ms, rows = OpsDb(urls["ops"]), list[float](), 0
    for number in numbers:
        begun = time.monotonic()
        with ops_db.read() as session:
            rows += ask(session, number)
        taken_ms.append(1000 * (time.monotonic() - begun))
    first, *others = taken_ms
    others.sort()
    at = {"p50_ms": others[len(others) // 2], "p95_ms": others[len(others) * 95 // 100], "max_ms": others[-1]}
    shown = {"first_ms": first, **at}
    return {"rows": rows // len(numbers), **{name: round(ms, 1) for name, ms in shown.items()}, **databases.usage()}


def _read(
    urls: dict[str, str], ask: Callable[["Session"], Iterator[Any]], expected: int, times: int = _TIMES
) -> dict[str, float]:
    """Return how long the first row takes and how many come each second, the median of some times."""
    from resources.ops_db import OpsDb  # noqa: PLC0415

    ops_db, taken_s = OpsDb(urls["ops"]), list[tuple[float, float]]()
    for _ in range(times):
        begun = time.monotonic()
        with ops_db.read() as session:
            rows = ask(session)
            next(rows)
            first = time.monotonic()
            count = 1 + sum(1 for _ in rows)
        taken_s.append((time.monotonic() - begun, first - begun))
        if count != expected:
            raise RuntimeError(f"{count} rows, not {expected}")
    whole_s, first_s = sorted(taken_s)[times // 2]
    rate = {"first_ms": round(1000 * first_s, 1), "rows_per_s": round(expected / whole_s)}
    return {"rows": expected, **rate, **databases.usage()}


MEASURED = {
    "lineage": run_lineage,
    "lineage_of_great_map": run_lineage_of_great_map,
    "lineage_of_great_map_packages": run_lineage_of_great_map_packages,
    "touched_by_package": run_touched_by_package,
    "touched_by_package_counted": run_touched_by_package_counted,
    "touched_by_node": run_touched_by_node,
    "touched_by_version": run_touched_by_version,
}

if __name__ == "__main__":
    databases.answer({"prepare": run_prepare, **MEASURED})
