"""RO-Crates: the profile's validator requires nothing more, and finds what is broken; rocrate reads all of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate

from ccat_assets.provenance.ro_crate import CrateContent, crate_of
from ccat_assets.provenance.ro_crate_files import declaration_of
from ccat_models.errors import Refused
from ccat_models.lineage.record import ProvenanceRecord
from tests.support.hands.ro_crates import problems, validator_cache
from tests.support.worlds.observatory import NOON
from tests.support.worlds.provenance import SECRET, EventfulWorld

pytestmark = [pytest.mark.xdist_group("provenance"), pytest.mark.slow]  # they share one history

Graph = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return validator_cache(tmp_path_factory.mktemp("validator") / "cache")


@pytest.fixture(scope="module")
def crate(happened: EventfulWorld, record: ProvenanceRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("crate")
    write(happened, record, directory)
    return directory


@pytest.fixture(scope="module")
def read(crate: Path) -> ROCrate:
    """Give the crate as its reader has it."""
    return ROCrate(crate)


def test_the_profile_requires_nothing_more(crate: Path, cache: Path) -> None:
    assert problems(crate, cache) == []


def without_license(graph: Graph) -> None:
    del graph["./"]["license"]


def without_instrument(graph: Graph) -> None:
    del graph["#organisation"]["instrument"]


def with_a_control_of_nothing(graph: Graph) -> None:
    del graph["#control-run-1"]["object"]


def of_no_workflow(graph: Graph) -> None:
    graph["#execution"]["instrument"] = {"@id": "#software-1"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_license, "license"),
        (without_instrument, "OrganizeAction must reference"),
        (with_a_control_of_nothing, "ControlAction must reference the action"),
        (of_no_workflow, "mainEntity as its instrument"),
    ],
)
def test_a_broken_crate_is_seen(
    crate: Path, cache: Path, tmp_path: Path, spoil: Callable[[Graph], None], said: str
) -> None:
    document = json.loads((crate / "ro-crate-metadata.json").read_text())
    spoil({entity["@id"]: entity for entity in document["@graph"]})
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(document))
    (tmp_path / "pipeline.yaml").write_text("name: letters\n")
    assert said in " ".join(problems(tmp_path, cache))


def test_runs_are_actions_with_their_instruments_inputs_and_results(
    happened: EventfulWorld, record: ProvenanceRecord, read: ROCrate
) -> None:
    newest = read.get(f"#run-{happened.newest}")
    assert newest["actionStatus"].endswith("CompletedActionStatus")
    assert (newest["instrument"]["name"], newest["instrument"]["softwareVersion"]) == ("letters", "1.0.0")
    assert newest["agent"]["name"] == "test"
    inputs = {record.products[link.product_id].sha256 for link in record.runs[happened.newest].products}
    assert {one["sha256"] for one in newest["object"]} == inputs
    assert {one["name"] for one in newest["result"]} == {one.name for one in record.made_by(happened.newest)}
    first = read.get(f"#run-{happened.failed_attempt[0]}")
    assert {one["name"]: one.get("value") for one in first["object"] if one.type == "PropertyValue"} == {"depth": "3"}
    assert {one["name"] for one in first["object"] if one.type == "Collection"} == {"scan-0"}
    assert {one["name"]: one["value"] for one in first["additionalProperty"]} == {"check rms": 0.5}
    assert read.mainEntity["hasPart"] == [newest["instrument"]]


def test_the_workflow_is_the_declaration(happened: EventfulWorld, crate: Path, read: ROCrate) -> None:
    with happened.works.cluster.ops_db.read() as session:
        assert (crate / "pipeline.yaml").read_text() == declaration_of(session, happened.record("pipeline:letters"))
    assert [step["name"] for step in read.mainEntity["step"]] == ["letters/read, revision 1", "letters/map, revision 1"]


def test_the_whole_history_is_exported(
    happened: EventfulWorld, record: ProvenanceRecord, crate: Path, read: ROCrate
) -> None:
    run_id, number = happened.failed_attempt
    attempt = read.get(f"#attempt-{run_id}-{number}")
    assert attempt["error"] == "infrastructure: no file {local}/x; https://host/path"
    assert "node-7" in attempt["description"]
    assert read.get(f"#run-{happened.cancelled}")["error"] == "cancelled by test"
    failed = read.get(f"#run-{happened.failed}")
    assert (failed["error"], failed["actionStatus"]) == ("science: made up", "http://schema.org/FailedActionStatus")
    (old,) = record.made_by(happened.superseded)
    (revised,) = read.get(f"urn:ccat:product-{old.superseded_by}")["wasRevisionOf"]
    assert revised.id == f"urn:ccat:product-{old.id}"
    said = {one["name"].split()[0]: one for one in read.root_dataset["mentions"] if one.type == "AssessAction"}
    assert set(said) == {"waiver", "taint", "lifted-taint"}
    assert (said["waiver"]["agent"]["name"], said["waiver"]["description"]) == ("ada", "a bright line")
    (standing,) = [number for number, taint in record.taints.items() if taint.lifted_at is None]
    newest = read.get(f"urn:ccat:product-{record.made_by(happened.newest)[0].id}")
    assert [one.id for one in newest["wasInvalidatedBy"]] == [f"#taint-{standing}"]
    assert SECRET not in (crate / "ro-crate-metadata.json").read_text()


def test_every_reference_leads_somewhere(crate: Path) -> None:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    known = {entity["@id"] for entity in graph}
    held = {
        one["@id"]
        for entity in graph
        for name, value in entity.items()
        if name != "conformsTo"
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, dict)
    }
    assert held <= known


def test_a_crate_of_no_runs_is_refused(record: ProvenanceRecord) -> None:
    nothing = ProvenanceRecord(record.scope, {}, {}, {}, {}, {}, {}, {})
    with pytest.raises(Refused, match="letters/map/all: has no runs"):
        crate_of(nothing, CrateContent("", NOON))


def write(happened: EventfulWorld, record: ProvenanceRecord, directory: Path) -> None:
    with happened.works.cluster.ops_db.read() as session:
        declaration = declaration_of(session, record)
    crate_of(record, CrateContent(declaration, NOON)).crate.write(directory)
