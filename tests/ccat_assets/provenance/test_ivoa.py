"""The IVOA Provenance Data Model 1.0 (REC 2020-04-11): each constraint of its text, and what astropy reads.

The sections and tables are those of the recommendation's source (github.com/ivoa-std/ProvenanceDM, doc), the
multiplicities of references those of its VO-DML model.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from astropy.io.votable import parse
from astropy.io.votable.tree import VOTableFile

from ccat_assets.provenance.ivoa_instances import Instances
from ccat_assets.provenance.ivoa_json import ivoa_json
from ccat_assets.provenance.ivoa_votable import ivoa_votable
from ccat_models.lineage.record import ProvenanceRecord
from ccat_models.lineage.record_reading import read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.lineage.taint import taint
from ccat_models.tables.execution import FailureClass
from resources.ops_db import OpsDb
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.provenance import SECRET, EventfulWorld

pytestmark = pytest.mark.xdist_group("provenance")  # they share one history

Model = Mapping[str, Sequence[Mapping[str, str]]]

# class, what must not be null, and the section whose table says so
MANDATORY = [
    ("Entity", "id", "2.2.1"),
    ("Collection", "id", "2.2.1"),
    ("Activity", "id", "2.2.2"),
    ("Used", "activity entity", "2.3.1, VO-DML Used.entity 1..1"),
    ("WasGeneratedBy", "entity activity", "2.3.2, VO-DML WasGeneratedBy.activity 1..1"),
    ("WasDerivedFrom", "generatedEntity usedEntity", "2.3.4"),
    ("WasInformedBy", "informed informant", "2.3.5"),
    ("Agent", "id name", "2.4.1"),
    ("WasAssociatedWith", "activity agent", "2.4.2, VO-DML WasAssociatedWith.agent 1..1"),
    ("WasAttributedTo", "entity agent", "2.4.3, VO-DML WasAttributedTo.agent 1..1"),
    ("HadMember", "collection entity", "2.2.1"),
    ("ActivityDescription", "name", "2.5.1"),
    ("EntityDescription", "name", "2.5.2"),
    ("UsageDescription", "role activityDescription", "2.5.3"),
    ("GenerationDescription", "role activityDescription", "2.5.3"),
    ("DatasetDescription", "name contentType", "2.6.1"),
    ("ValueEntity", "id value", "2.6.2"),
    ("ValueDescription", "name valueType", "2.6.2"),
    ("Parameter", "name value", "2.7.2"),
    ("ParameterDescription", "name valueType", "2.7.2"),
    ("ConfigFile", "name location", "2.7.3"),
    ("ConfigFileDescription", "name contentType", "2.7.3"),
    ("WasConfiguredBy", "activity artefactType", "2.7.4"),
]
# class, column, the words that are allowed, and the section that lists them; roles of agents and types are free text
# in which these words are to be used where one applies: what else there is, is listed as the house's own.
VOCABULARIES = [
    ("Agent", "type", "Person Organization SoftwareAgent", "2.4.1 AgentType"),
    ("WasAssociatedWith", "role", "Operator Creator Editor canceller", "2.4.4 and own: canceller"),
    ("WasAttributedTo", "role", "Creator", "2.4.4"),
    ("ActivityDescription", "type", "Reduction", "2.5.1"),
    ("UsageDescription", "type", "Main Setup", "2.5.4"),
    ("GenerationDescription", "type", "Main Preview Quality Log", "2.5.4"),
    ("WasConfiguredBy", "artefactType", "Parameter ConfigFile", "2.7.4 TypeOfConfigArtefact"),
]
ENTITIES = ("Entity", "Collection", "DatasetEntity", "ValueEntity")  # 2.2.1, 2.6: all are entities
DESCRIBED = ("EntityDescription", "DatasetDescription", "ValueDescription")
# class, column, the classes whose id it holds
REFERENCES = [
    ("Activity", "activityDescription", ("ActivityDescription",)),
    ("Used", "activity", ("Activity",)),
    ("Used", "entity", ENTITIES),
    ("Used", "usageDescription", ("UsageDescription",)),
    ("WasGeneratedBy", "entity", ENTITIES),
    ("WasGeneratedBy", "activity", ("Activity",)),
    ("WasGeneratedBy", "generationDescription", ("GenerationDescription",)),
    ("WasDerivedFrom", "generatedEntity", ENTITIES),
    ("WasDerivedFrom", "usedEntity", ENTITIES),
    ("WasInformedBy", "informed", ("Activity",)),
    ("WasInformedBy", "informant", ("Activity",)),
    ("WasAssociatedWith", "activity", ("Activity",)),
    ("WasAssociatedWith", "agent", ("Agent",)),
    ("WasAttributedTo", "entity", ENTITIES),
    ("WasAttributedTo", "agent", ("Agent",)),
    ("HadMember", "collection", ("Collection",)),
    ("HadMember", "entity", ENTITIES),
    ("UsageDescription", "activityDescription", ("ActivityDescription",)),
    ("GenerationDescription", "activityDescription", ("ActivityDescription",)),
    ("ParameterDescription", "activityDescription", ("ActivityDescription",)),
    ("ConfigFileDescription", "activityDescription", ("ActivityDescription",)),
    ("Parameter", "parameterDescription", ("ParameterDescription",)),
    ("ConfigFile", "configFileDescription", ("ConfigFileDescription",)),
    ("WasConfiguredBy", "activity", ("Activity",)),
    ("WasConfiguredBy", "parameter", ("Parameter",)),
    ("WasConfiguredBy", "configFile", ("ConfigFile",)),
    ("Entity", "entityDescription", ("EntityDescription",)),
    ("Collection", "entityDescription", ("EntityDescription",)),
    ("DatasetEntity", "entityDescription", ("DatasetDescription",)),  # SubsettedRole
    ("ValueEntity", "entityDescription", ("ValueDescription",)),  # SubsettedRole
]


@pytest.fixture(scope="module")
def model(record: ProvenanceRecord) -> Model:
    """Give the instances as JSON has them."""
    found: Model = json.loads(ivoa_json(record))["model"]
    return found


@pytest.fixture(scope="module")
def votable(record: ProvenanceRecord) -> VOTableFile:
    """Give the VOTable as parsed by its reader, whose warnings are errors here."""
    return parse(BytesIO(ivoa_votable(record).encode()), verify="exception")


def test_characters_that_xml_forbids_do_not_break_a_votable(record: ProvenanceRecord) -> None:
    strange = "science/a\x01b\n# hi\x1b[31m\ufffe.txt"
    (run_id, run), product = next(iter(record.runs.items())), next(iter(record.products.values()))
    failed = replace(run, failure_class=FailureClass.SCIENCE, failure_message="\x1b[31mred\x00")
    named = replace(product, name=strange)
    spoilt = replace(record, runs={**record.runs, run_id: failed}, products={**record.products, product.id: named})
    tables = parse(BytesIO(ivoa_votable(spoilt).encode()), verify="exception").iter_tables()
    by_name = {table.name: table.array for table in tables}
    assert "science/a\ufffdb\n# hi\ufffd[31m\ufffd.txt" in list(by_name["DatasetEntity"]["name"])
    assert any(str(comment).endswith("\ufffd[31mred\ufffd") for comment in by_name["Activity"]["comment"])


@pytest.mark.parametrize(("name", "attributes", "section"), MANDATORY)
def test_what_is_mandatory_is_there(model: Model, name: str, attributes: str, section: str) -> None:
    assert model[name], f"nothing to be tried of {name}"
    for row in model[name]:
        assert all(row.get(attribute) for attribute in attributes.split()), (section, row)


@pytest.mark.parametrize(("name", "column", "words", "section"), VOCABULARIES)
def test_words_are_those_of_the_vocabularies(model: Model, name: str, column: str, words: str, section: str) -> None:
    used = {row[column] for row in model[name] if column in row}
    assert used, f"nothing to be tried of {name}"
    assert used <= set(words.split()), section


@pytest.mark.parametrize(("name", "column", "targets"), REFERENCES)
def test_references_lead_somewhere(model: Model, name: str, column: str, targets: Sequence[str]) -> None:
    ids = {row["id"] for target in targets for row in model[target]}
    held = {row[column] for row in model[name] if column in row}
    assert held, f"nothing to be tried of {name}.{column}"
    assert held <= ids


def test_ids_are_unique_in_the_domain(model: Model) -> None:
    counts = Counter(row["id"] for rows in model.values() for row in rows if "id" in row)
    assert [one for one, count in counts.items() if count > 1] == []


def test_an_entity_is_generated_by_one_activity_at_most(model: Model) -> None:
    """2.3.2: the multiplicity is 1 or 0 between Entity and WasGeneratedBy."""
    counts = Counter(row["entity"] for row in model["WasGeneratedBy"])
    assert max(counts.values()) == 1


def test_usage_times_are_within_those_of_their_activity(model: Model) -> None:
    """2.3.1: the time must be between start and end of the activity."""
    activities = {row["id"]: row for row in model["Activity"]}
    for row in model["Used"]:
        activity = activities[row["activity"]]
        assert activity["startTime"] <= row["time"] <= activity["endTime"]


def test_an_entity_is_invalidated_after_it_was_generated(model: Model, sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    """2.2.1: from its invalidation on, an entity is no longer valid; it must have been there before."""
    late = json.loads(ivoa_json(tainted_on_its_way(sqlite_ops_db, tmp_path)))["model"]
    for one in (model, late):
        rows = [row for name in ENTITIES for row in one[name] if {"generatedAtTime", "invalidatedAtTime"} <= row.keys()]
        assert rows
        assert [row for row in rows if row["generatedAtTime"] > row["invalidatedAtTime"]] == []
    (text,) = [row for row in late["DatasetEntity"] if row["name"].endswith("text.txt")]
    assert text["invalidatedAtTime"] == text["generatedAtTime"]


def tainted_on_its_way(ops_db: OpsDb, base: Path) -> ProvenanceRecord:
    """Return the record of a run that ended an hour after its raw data was tainted."""
    works = ManualWorld.open(ops_db, base)
    works.observatory.scan(0)
    works.declare(step("read"))
    works.request()
    with ops_db.request() as session:
        taint(session, ["scan-0"], reason="hot load was off", by="ada", now=works.cluster.clock())
    works.observatory.clock.pass_seconds(3600)
    works.complete()
    with ops_db.read() as session:
        return read_record(session, find_scope(session, "run:1"))


def test_descriptions_say_the_same_as_what_they_describe(model: Model) -> None:
    """2.5.1, 2.5.3, 2.7.2, 2.7.3: roles and names match, and belong to the description of the same activity."""
    by_id = {row["id"]: row for rows in model.values() for row in rows if "id" in row}
    described = {row["id"]: row["activityDescription"] for row in model["Activity"] if "activityDescription" in row}
    for name, column in (("Used", "usageDescription"), ("WasGeneratedBy", "generationDescription")):
        rows = [row for row in model[name] if row["activity"] in described]
        assert rows
        for row in rows:
            description = by_id[row[column]]
            assert description["role"] == row["role"]
            assert description["activityDescription"] == described[row["activity"]]
    for name, column in (("Parameter", "parameterDescription"), ("ConfigFile", "configFileDescription")):
        assert all(by_id[row[column]]["name"] == row["name"] for row in model[name])


def test_multiplicities_are_written_as_vo_dml_has_them(model: Model) -> None:
    """2.5.3: `minOccurs..maxOccurs` or a single value."""
    found = {row["multiplicity"] for name in ("UsageDescription", "GenerationDescription") for row in model[name]}
    assert found == {"1", "*"}


def test_configuration_is_either_a_parameter_or_a_file(model: Model) -> None:
    """2.7.4: exactly one is connected, and artefactType says which."""
    for row in model["WasConfiguredBy"]:
        assert ("parameter" in row, "configFile" in row) == (
            row["artefactType"] == "Parameter",
            row["artefactType"] == "ConfigFile",
        )


def test_the_votable_holds_the_same_instances(model: Model, votable: VOTableFile) -> None:
    tables = {table.utype: table for table in votable.iter_tables()}
    assert set(tables) == {f"voprov:{name}" for name, rows in model.items() if rows}
    for name, rows in model.items():
        for row, expected in zip(read(tables[f"voprov:{name}"]), rows, strict=True) if rows else ():
            assert row == expected


def test_fields_are_known_by_utype_and_times_by_xtype(record: ProvenanceRecord, votable: VOTableFile) -> None:
    for table in votable.iter_tables():
        assert [field.utype for field in table.fields] == [f"{table.utype}.{field.name}" for field in table.fields]
    (activity,) = [table for table in votable.iter_tables() if table.name == "Activity"]
    assert {field.name for field in activity.fields if field.xtype == "timestamp"} == {"startTime", "endTime"}
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+", row["startTime"]) for row in read(activity) if "startTime" in row
    )
    identifiers = re.findall(r' ID="([^"]*)"', ivoa_votable(record))
    assert len(identifiers) == len(set(identifiers)) > 100


def test_the_whole_history_is_exported(happened: EventfulWorld, record: ProvenanceRecord, model: Model) -> None:
    run_id, number = happened.failed_attempt
    activities = {row["id"]: row for row in model["Activity"]}
    assert "infrastructure: no file {local}/x" in activities[f"urn:ccat:attempt-{run_id}-{number}"]["comment"]
    assert activities[f"urn:ccat:run-{happened.cancelled}"]["comment"].startswith("CANCELLED")
    assert "science: made up" in activities[f"urn:ccat:run-{happened.failed}"]["comment"]
    (old,) = record.made_by(happened.superseded)
    files = {row["id"]: row for row in model["DatasetEntity"]}
    assert f"superseded by urn:ccat:product-{old.superseded_by}" in files[f"urn:ccat:product-{old.id}"]["comment"]
    revised = {"generatedEntity": f"urn:ccat:product-{old.superseded_by}", "usedEntity": f"urn:ccat:product-{old.id}"}
    assert revised in model["WasDerivedFrom"]
    assert {row["comment"] for row in model["Entity"] if row["name"] == "waiver"} == {"a bright line"}
    taints = {row["comment"]: row for row in model["Entity"] if row["name"] == "taint"}
    assert "invalidatedAtTime" in taints["hot load was off in scan-0"], "it was lifted"
    assert "invalidatedAtTime" not in taints["hot load was off in scan-1"]
    packages = {row["name"]: "invalidatedAtTime" in row for row in model["Collection"]}
    assert packages == {"scan-0": False, "scan-1": True}
    newest = record.made_by(happened.newest)
    assert all("invalidatedAtTime" in files[f"urn:ccat:product-{one.id}"] for one in newest)
    assert SECRET not in json.dumps(dict(model))


@pytest.mark.parametrize("values", [{}, {"id": "a", "colour": "red"}])
def test_what_the_model_does_not_have_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(KeyError, match="Entity"):
        Instances().add("Entity", **values)


def read(table: Any) -> list[dict[str, str]]:
    names = [field.name for field in table.fields]
    return [{name: str(cell) for name, cell in zip(names, row, strict=True) if cell} for row in table.array.tolist()]
