"""What every product of a pipeline answers for, asked as people do and read by others' readers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from astropy.io.votable import parse
from prov.model import ProvDocument

from ccat_models.lineage.closure import Lineage, lineage_of
from ccat_models.lineage.completed import current_runs
from resources.ops_db import OpsDb
from tests.support.hands.ro_crates import problems, validator_cache

Ccat = Callable[..., Any]


def assert_products_answer(ccat: Ccat, ops_db: Path, pipeline: str, scratch: Path) -> None:
    """Assert that lineage closes at raw files, exports are valid, and each run gives the same bytes again."""
    scratch.mkdir(parents=True)
    assert_lineage_closes(ops_db, pipeline)
    assert_exports_are_valid(ccat, pipeline, scratch)
    assert_reproducible(ccat, pipeline)


def assert_lineage_closes(ops_db: Path, pipeline: str) -> None:
    """Assert that whatever way back is taken from a current run, it ends at raw files with checksums."""
    database = OpsDb(f"sqlite:///{ops_db}")
    with database.read() as session:
        for run_id in current_runs(session, pipeline):
            found = lineage_of(session, run_id)
            open_ends = [run for run in found.runs if not found.producers.get(run) and not ends_at_files(found, run)]
            assert not open_ends, (run_id, open_ends)
    database.close()


def ends_at_files(found: Lineage, run: Any) -> bool:
    """Say whether a run has read raw packages of which each has files that are known by checksum."""
    packages = found.packages.get(run, ())
    return bool(packages) and all(one.files and all(file.sha256 for file in one.files) for one in packages)


def assert_exports_are_valid(ccat: Ccat, pipeline: str, scratch: Path) -> None:
    """Assert that each format of the whole pipeline's provenance is read by a third-party reader."""
    words = ("export", f"pipeline:{pipeline}", "--format")
    ccat(*words, "prov-json", "--output", scratch / "prov.json")
    assert len(list(ProvDocument.deserialize(source=scratch / "prov.json", format="json").get_records())) > 50
    ccat(*words, "ivoa-votable", "--output", scratch / "ivoa.xml")
    tables = {table.name: len(table.array) for table in parse(scratch / "ivoa.xml", verify="exception").iter_tables()}
    assert min(tables["Activity"], tables["Entity"], tables["Used"], tables["WasGeneratedBy"]) > 0
    ccat(*words, "ro-crate", "--output", scratch / "crate")
    assert problems(scratch / "crate", validator_cache(scratch / "validator")) == []


def assert_reproducible(ccat: Ccat, pipeline: str) -> None:
    """Assert that the same bytes come of the same inputs, software and parameters."""
    reproduced = ccat("reproduce", "--pipeline", pipeline, "--json")
    assert {one["outcome"] for one in reproduced["runs"]} == {"identical"}, reproduced
    assert all(file["finding"] == "identical" for one in reproduced["runs"] for file in one["files"])
