"""Purged products in every export: regenerated alike, regenerated differently, or failed to be."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccat_assets.provenance.ivoa_json import ivoa_json
from ccat_assets.provenance.openlineage import openlineage_lines
from ccat_assets.provenance.ro_crate import CrateContent, crate_of
from ccat_assets.provenance.ro_crate_files import declaration_of
from ccat_assets.provenance.w3c import prov_json
from ccat_models.lineage.record import ProvenanceRecord
from ccat_models.lineage.record_reading import read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.tables.base import RunId
from ccat_models.tables.space import SpaceState
from resources.ops_db import OpsDb
from tests.support.hands.ro_crates import problems, validator_cache
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.observatory import NOON

pytestmark = [pytest.mark.xdist_group("provenance"), pytest.mark.slow]

SAME, OTHER = {"text.txt": "text", "plots/text.png": "drawn"}, {"text.txt": "other text", "plots/text.png": "drawn"}
FIRST, SECOND, RESTORING, REPLACING, FAILED = map(RunId, (1, 2, 5, 6, 7))
PAIRS = ((RESTORING, FIRST), (REPLACING, SECOND), (FAILED, RunId(3)))


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[ManualWorld]:
    """Give three scans that were read, purged, and read again: one the same, one differently, one in vain."""
    base = tmp_path_factory.mktemp("regenerated")
    database = OpsDb(f"sqlite:///{shutil.copyfile(sqlite_template, base / 'ops.sqlite')}")
    works = ManualWorld.open(database, base)
    for number in range(3):
        works.observatory.scan(number)
    works.declare(step("read"), step("join", [], depends_on=["read"]))
    works.request()
    works.complete(outputs=SAME)
    works.run_all()
    assert works.purge() == 3
    works.regenerate_and_complete(FIRST, outputs=SAME)
    works.regenerate_and_complete(SECOND, outputs=OTHER)
    works.fail(*works.regenerate(RunId(3)))
    yield works
    database.close()


@pytest.fixture(scope="module")
def record(works: ManualWorld) -> ProvenanceRecord:
    """Give the record of the products of all of them before they were purged."""
    with works.cluster.ops_db.read() as session:
        return read_record(session, find_scope(session, "letters/join/all"))


def text_of(record: ProvenanceRecord, run: RunId) -> Any:
    (text,) = [one for one in record.made_by(run) if one.path == "text.txt"]
    return text


def test_the_record_says_which_run_regenerated_which_products(record: ProvenanceRecord) -> None:
    again = {run.id: (run.regenerates, run.restored) for run in record.runs.values() if run.regenerates}
    assert again == {RESTORING: (FIRST, True), REPLACING: (SECOND, False), FAILED: (3, False)}
    removed = {run: (text_of(record, run).removed, text_of(record, run).restored_by) for run in map(RunId, (1, 2, 3))}
    assert removed == {1: (None, RESTORING), 2: (SpaceState.REPLACED, None), 3: (SpaceState.LOST, None)}
    assert text_of(record, SECOND).superseded_by == text_of(record, REPLACING).id
    assert not any(one.removed for run in (1, 2, 3) for one in record.made_by(RunId(run)) if one.path != "text.txt")


def test_prov(record: ProvenanceRecord) -> None:
    document = json.loads(prov_json(record))
    informed = {(one["prov:informed"], one["prov:informant"]) for one in document["wasInformedBy"].values()}
    assert {(f"data:run-{again}", f"data:run-{first}") for again, first in PAIRS} <= informed
    old, new = (f"data:product-{text_of(record, run).id}" for run in (SECOND, REPLACING))
    assert [{"prov:alternate1": new, "prov:alternate2": old}] == list(document["alternateOf"].values())
    assert document["activity"][f"data:run-{RESTORING}"]["ccat:restored"] is True
    assert document["entity"][old]["ccat:removed"] == "REPLACED"


def test_ivoa(record: ProvenanceRecord) -> None:
    model = json.loads(ivoa_json(record))["model"]
    informed = {(one["informed"], one["informant"]) for one in model["WasInformedBy"]}
    assert {(f"urn:ccat:run-{again}", f"urn:ccat:run-{first}") for again, first in PAIRS} <= informed
    files = {row["id"]: row["comment"] for row in model["DatasetEntity"]}
    comments = [files[f"urn:ccat:product-{text_of(record, RunId(run)).id}"].partition("; ")[2] for run in (1, 2, 3)]
    newer = text_of(record, REPLACING).id
    assert comments == [
        f"restored by urn:ccat:run-{RESTORING}",
        f"replaced; superseded by urn:ccat:product-{newer}",
        "lost",
    ]
    activities = {row["id"]: row["comment"] for row in model["Activity"]}
    said = "COMPLETED, requested for regeneration of what run-1 had made, which it has restored"
    assert activities[f"urn:ccat:run-{RESTORING}"] == said


def test_openlineage(record: ProvenanceRecord) -> None:
    events = [json.loads(line) for line in openlineage_lines(record)]
    facets = [event["run"]["facets"].get("ccat_regeneration") for event in events]
    assert [(one["regenerates"], one["restored"]) for one in facets if one] == [(1, True), (2, False), (3, False)]


def test_ro_crate(works: ManualWorld, record: ProvenanceRecord, tmp_path: Path) -> None:
    with works.cluster.ops_db.read() as session:
        declaration = declaration_of(session, record)
    crate_of(record, CrateContent(declaration, NOON, "CC0", {})).crate.write(tmp_path / "crate")
    graph = {
        one["@id"]: one for one in json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())["@graph"]
    }
    values = {graph[one["@id"]]["name"]: graph[one["@id"]]["value"] for one in graph["#run-5"]["additionalProperty"]}
    assert values == {"regenerates": "run-1", "restored": True}
    assert problems(tmp_path / "crate", validator_cache(tmp_path / "cache")) == []
