"""A package that is delivered again with other content: runs keep the files that they have read."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.grouping.filter_engine import packages_matching
from ccat_models.grouping.rules import validate_rules
from ccat_models.lineage.closure import lineage_of, packages_read
from ccat_models.run.briefing import brief
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

CONTENTS = ("first", "second", "first", "third")
READ = ("first", "second", "third")  # what was there before is up to date when it comes again


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give an observatory that has delivered one scan in several contents, each of which was read by one run."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    works.declare(step("read"))
    for content in CONTENTS:
        works.observatory.scan(0, content)
        works.run_all()
    return works


def sha256_of(content: str) -> str:
    return hashlib.sha256(f"scan-0 {content}\n".encode()).hexdigest()


def runs(works: ManualWorld) -> Sequence[RunId]:
    with works.cluster.ops_db.read() as session:
        return [
            RunId(number) for number in session.scalars(sa.text("SELECT id FROM executed_reduction_step ORDER BY id"))
        ]


def test_each_run_names_the_files_that_it_has_read(works: ManualWorld) -> None:
    with works.cluster.ops_db.read() as session:
        whole = [lineage_of(session, run).packages[run] for run in runs(works)]
        streamed = [list(packages_read(session, run)) for run in runs(works)]
        location = works.cluster.location_id
        briefed = [brief(session, [run], location)[run].packages for run in runs(works)]
    expected = [[sha256_of(content)] for content in READ]
    assert [[file.sha256 for package in read for file in package.files] for read in whole] == expected
    assert [[file.sha256 for _, package in read for file in package.files] for read in streamed] == expected
    assert [[file.sha256 for package in read for file in package.files] for read in briefed] == expected
    assert [package.file_count for read in whole for package in read] == [1] * len(READ)
    assert [(one.replaced, one.directory is None) for (one,) in briefed] == [(True, True)] * 2 + [(False, False)]


def test_rules_look_at_the_files_of_today(works: ManualWorld) -> None:
    def chosen(content: str) -> int:
        rule = {"table": "RawDataFile", "column": "sha256", "operator": "eq", "value": sha256_of(content)}
        with works.cluster.ops_db.read() as session:
            return len(session.scalars(packages_matching(validate_rules([rule]))).all())

    assert [chosen(content) for content in ("first", "second", "third")] == [0, 0, 1]
