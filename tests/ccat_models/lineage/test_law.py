"""The law of lineage is what the database enforces."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.lineage.closure import lineage_of
from ccat_models.tables.base import RunId
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.products import DataProduct
from resources.ops_db import OpsDb
from tests.support.hands import rows
from tests.support.worlds.manual import ManualWorld, step


@dataclass(frozen=True)
class Link:
    """A kind of link, as the database is to enforce it."""

    table: str
    unique: tuple[str, ...]  # the columns by which the database knows a link of this kind
    ends: frozenset[str]  # the tables that it joins, but for its own
    one_run: bool = False  # each has exactly one run; else a thing may have any number of links


# A run reads any number of packages and products, each once; a product is made by exactly one run.
LAW = {
    "read_package": Link(
        "run_input_package",
        ("run_id", "raw_data_package_id"),
        frozenset({"raw_data_package", "executed_reduction_step"}),
    ),
    "read_product": Link(
        "run_input_product", ("run_id", "data_product_id"), frozenset({"data_product", "executed_reduction_step"})
    ),
    "made": Link("data_product", ("id",), frozenset({"executed_reduction_step"}), one_run=True),
}


@pytest.mark.parametrize("name", LAW)
def test_the_law_is_what_the_tables_enforce(ops_db: OpsDb, name: str) -> None:
    link = LAW[name]
    inspector = sa.inspect(ops_db.engine)
    assert tuple(inspector.get_pk_constraint(link.table)["constrained_columns"]) == link.unique
    reached = {key["referred_table"] for key in inspector.get_foreign_keys(link.table)}
    assert link.ends <= reached
    if link.one_run:
        required = {column["name"]: column["nullable"] for column in inspector.get_columns(link.table)}
        assert required["run_id"] is False
    assert all(column in {c["name"] for c in inspector.get_columns(link.table)} for column in link.unique)


PRODUCT = {"id": 7, "run_id": 2, "path": "late.txt"}
REFUSED: dict[str, sa.Executable] = {
    "a run that reads its own product": sa.insert(RunInputProduct).values(
        run_id=1, data_product_id=1, producer_run_id=1, sha256="0" * 64
    ),
    "a producer that did not make it": sa.insert(RunInputProduct).values(
        run_id=2, data_product_id=7, producer_run_id=1, sha256="0" * 64
    ),
    "a run that reads a later run's product": sa.insert(RunInputProduct).values(
        run_id=1, data_product_id=7, producer_run_id=2, sha256="0" * 64
    ),
    "the same product twice": sa.insert(RunInputProduct).values(
        run_id=2, data_product_id=1, producer_run_id=1, sha256="0" * 64
    ),
    "an unknown package": sa.insert(RunInputPackage).values(run_id=2, raw_data_package_id=99, checksum="0" * 64),
    "the same package twice": sa.insert(RunInputPackage).values(run_id=1, raw_data_package_id=1, checksum="0" * 64),
    "a link to a product edited": sa.update(RunInputProduct).values(sha256="1" * 64),
    "a link to a product removed": sa.delete(RunInputProduct),
    "a link to a package edited": sa.update(RunInputPackage).values(checksum="1" * 64),
    "a link to a package removed": sa.delete(RunInputPackage),
    "a product moved to another run": sa.update(DataProduct).where(DataProduct.id == 1).values(run_id=2),
}


def refused(connection: sa.Connection, statement: sa.Executable) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(statement)
    except sa.exc.IntegrityError:
        return True
    return False


def test_what_the_database_refuses(ops_db: OpsDb) -> None:
    products = sa.inspect(DataProduct).local_table
    assert isinstance(products, sa.Table)
    with ops_db.engine.connect() as connection, connection.begin() as transaction:
        rows.fill(connection)
        connection.execute(sa.insert(products).values(rows.row(products) | PRODUCT))
        assert {case: refused(connection, statement) for case, statement in REFUSED.items()} == dict.fromkeys(
            REFUSED, True
        )
        orphans: list[dict[str, Any]] = [{"id": 8, "run_id": 99}, {"id": 8, "run_id": None}]
        for orphan in orphans:
            assert refused(connection, sa.insert(products).values(rows.row(products) | {"path": "x"} | orphan))
        transaction.rollback()


def test_a_diamond_is_followed_once_on_each_side(ops_db: OpsDb, tmp_path: Path) -> None:
    works = ManualWorld.open(ops_db, tmp_path)
    works.observatory.scan(0)
    works.declare(
        step("read"),
        step("left", depends_on=["read"]),
        step("right", depends_on=["read"]),
        step("join", ["source"], depends_on=["left", "right"]),
    )
    works.run_all()
    ids = {name: works.run_of(name, "scan-0") for name in ("read", "left", "right")}
    join = works.run_of("join", "source-1")
    with ops_db.read() as session:
        lineage = lineage_of(session, join)
        nothing = lineage_of(session, RunId(99))
    assert lineage.root == join
    assert {run.step: run.id for run in lineage.runs.values()} == ids | {"join": join}
    assert lineage.producers == {
        join: tuple(sorted((ids["left"], ids["right"]))),
        ids["left"]: (ids["read"],),
        ids["right"]: (ids["read"],),
    }
    ((run, (package,)),) = lineage.packages.items()
    assert (run, package.name, [file.path for file in package.files]) == (ids["read"], "scan-0", ["scan.dat"])
    assert not nothing.runs
