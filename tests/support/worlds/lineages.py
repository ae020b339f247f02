"""Lineages of any shape, drawn by numbers, as completed runs of one step."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ccat_models.tables import Base
from ccat_models.tables.execution import AttemptState, RunStatus
from ccat_models.tables.products import DataProductType
from resources.ops_db import OpsDb
from tests.support.hands import rows
from tests.support.parts.ops_db import empty

HOSTS = ("node-a", "node-b")
FILES = 4  # of each of the packages
_PACKAGES = range(1, 4)
_WAYS = range(1, 3)
_TO_COMPLETED = (RunStatus.STAGING_DATA, RunStatus.SUBMITTED, RunStatus.COLLECTING_RESULTS, RunStatus.COMPLETED)
_NAMES = {"pipeline": "pipeline", "reduction_step": "step", "reduction_software": "letters"}
Row = dict[str, Any]
runs_of = rows.run_table()


@dataclass(frozen=True)
class Drawn:
    """Runs 1, 2, …: which run made each product, and per run the products and packages it read, its hosts, its way.

    A run of way n has version and configuration n, of which there are two.
    """

    makers: Sequence[int]
    read: Mapping[int, frozenset[int]]
    packages: Mapping[int, frozenset[int]]
    hosts: Sequence[Sequence[str]]
    ways: Sequence[int]
    checksums: Mapping[int, str] = field(default_factory=dict)  # of packages, as a run read them

    def maker(self, product: int) -> int:
        """Return the run that made a product."""
        return self.makers[product - 1]


def fill(ops_db: OpsDb, drawn: Drawn, cells: Sequence[int] | None = None) -> None:
    """Empty a database and write a lineage into it; run n is of sub-group n, or of the one that `cells` names."""
    empty(ops_db)
    of_run = dict(zip(drawn.read, cells or drawn.read, strict=True))
    with ops_db.write() as session:
        connection = session.connection()
        _insert_world(connection)
        keys = ({"id": n, "key": f"cell-{n}", "natural_key": f"{n}"} for n in sorted(set(of_run.values())))
        _insert(connection, "sub_group", keys)
        # One run at most of a sub-group is in flight, so that runs of the same one come one after the other.
        for wave in [list(drawn.read)] if cells is None else [[run] for run in drawn.read]:
            _insert(connection, runs_of.name, (_run(run, of_run[run], drawn.ways[run - 1]) for run in wave))
            for status in _TO_COMPLETED:
                connection.execute(sa.update(runs_of).where(runs_of.c.id.in_(wave)).values(status=status))
        _insert(connection, "data_product", (_product(n, maker) for n, maker in enumerate(drawn.makers, start=1)))
        _insert(connection, "attempt", _attempts(drawn))
        _insert_links(connection, drawn)


def _insert_world(connection: sa.Connection) -> None:
    """Insert what runs and raw files refer to: one row of each table, of three tables more."""
    versions = ({"id": way, "version": f"1.0.{way - 1}", "rank": way} for way in _WAYS)
    many: dict[str, Iterable[Row]] = {
        "reduction_software_version": versions,
        "reduction_step_config": ({"id": way, "config_hash": f"{way}" * 64} for way in _WAYS),
        "raw_data_package": ({"id": n, "name": f"package-{n}"} for n in _PACKAGES),
        "raw_data_file": (
            {"id": uuid.uuid4(), "raw_data_package_id": n, "path": f"file-{at}"}
            for n in _PACKAGES
            for at in range(FILES)
        ),
    }
    wanted = _referred(["raw_data_file", runs_of.name]) - {"sub_group", runs_of.name}
    for table in Base.metadata.sorted_tables:
        if table.name in wanted:
            name = {"name": _NAMES[table.name]} if table.name in _NAMES else {}
            _insert(connection, table.name, many.get(table.name, [name]))


def _referred(names: Sequence[str]) -> set[str]:
    """Return the names of tables and of all that they refer to."""
    found, waiting = set(names), list(names)
    while waiting:
        table = Base.metadata.tables[waiting.pop()]
        new = {key.column.table.name for key in table.foreign_keys} - found
        found |= new
        waiting += new
    return found


def _insert(connection: sa.Connection, name: str, values: Iterable[Row]) -> None:
    table = Base.metadata.tables[name]
    plain = rows.row(table)
    listed = [{**plain, **one} for one in values]
    if listed:
        connection.execute(sa.insert(table), listed)


def _run(run: int, cell: int, way: int) -> Row:
    return {
        "id": run,
        "sub_group_id": cell,
        "software_version_id": way,
        "config_id": way,
        "requested_by": f"user-{run}",
    }


def _product(number: int, maker: int) -> Row:
    return {"id": number, "run_id": maker, "path": f"product-{number}", "type": DataProductType.SCIENCE}


def _attempts(drawn: Drawn) -> Iterator[Row]:
    for run, hosts in zip(drawn.read, drawn.hosts, strict=True):
        for number, host in enumerate(hosts, start=1):
            key = f"{run}-{number}"
            yield {"id": 10 * run + number, "run_id": run, "number": number, "host": host, "submission_key": key} | {
                "state": AttemptState.ENDED
            }


def _insert_links(connection: sa.Connection, drawn: Drawn) -> None:
    _insert(
        connection,
        "run_input_product",
        (
            {"run_id": run, "data_product_id": product, "producer_run_id": drawn.maker(product)}
            for run, products in drawn.read.items()
            for product in products
        ),
    )
    _insert(
        connection,
        "run_input_package",
        (
            {"run_id": run, "raw_data_package_id": package, "checksum": drawn.checksums.get(run, "0" * 64)}
            for run, packages in drawn.packages.items()
            for package in packages
        ),
    )
