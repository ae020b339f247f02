"""W3C PROV: the content of a document according to the standard's own reader."""

import json
import re

import pytest
from prov.constants import (
    PROV_ASSOCIATION,
    PROV_ATTR_ACTIVITY,
    PROV_ATTR_AGENT,
    PROV_ATTR_ENTITY,
    PROV_ATTR_GENERATED_ENTITY,
    PROV_ATTR_PLAN,
    PROV_ATTR_STARTER,
    PROV_ATTR_USED_ENTITY,
    PROV_DERIVATION,
    PROV_GENERATION,
    PROV_INVALIDATION,
    PROV_START,
    PROV_TYPE,
    PROV_USAGE,
)
from prov.identifier import QualifiedName
from prov.model import ProvDocument, ProvRecord

from ccat_assets.provenance import names
from ccat_assets.provenance.w3c import document_of, prov_json, prov_n
from ccat_models.lineage.record import ProvenanceRecord
from tests.support.worlds.provenance import SECRET, EventfulWorld

pytestmark = pytest.mark.xdist_group("provenance")  # they share one history


@pytest.fixture(scope="module")
def document(record: ProvenanceRecord) -> ProvDocument:
    """Give what the reader makes of the text."""
    return ProvDocument.deserialize(content=prov_json(record), format="json")


def test_the_text_is_read_back_as_it_was_meant(record: ProvenanceRecord, document: ProvDocument) -> None:
    assert document == document_of(record)
    assert len(list(document.get_records())) > 100


def test_the_same_history_gives_the_same_bytes(happened: EventfulWorld, record: ProvenanceRecord) -> None:
    again = happened.record("letters/map/all")
    assert prov_json(again) == prov_json(record)
    assert prov_n(again) == prov_n(record)


def test_every_reference_is_declared(document: ProvDocument) -> None:
    declared = {one.identifier for one in document.get_records() if one.is_element()}
    for relation in document.get_records():
        if relation.is_relation():
            ends = {value for _, value in relation.formal_attributes if isinstance(value, QualifiedName)}
            assert ends <= declared, relation


def test_failed_attempts_cancelled_and_failed_runs(happened: EventfulWorld, document: ProvDocument) -> None:
    run_id, number = happened.failed_attempt
    attempt = element(document, f"attempt-{run_id}-{number}")
    assert said(attempt, "failureClass") == "infrastructure"
    assert said(attempt, "failureMessage") == "no file {local}/x; https://host/path"
    starts = relations(document, PROV_START, PROV_ATTR_ACTIVITY, f"attempt-{run_id}-{number}")
    assert [end(one, PROV_ATTR_STARTER) for one in starts] == [f"run-{run_id}"]
    assert said(element(document, f"run-{happened.cancelled}"), "status") == "CANCELLED"
    assert said(element(document, f"run-{happened.failed}"), "failureMessage") == "made up"


def test_superseded_products_are_revised(
    happened: EventfulWorld, record: ProvenanceRecord, document: ProvDocument
) -> None:
    (old,) = record.made_by(happened.superseded)
    derived = relations(document, PROV_DERIVATION, PROV_ATTR_USED_ENTITY, f"product-{old.id}")
    revisions = [one for one in derived if "prov:Revision" in map(str, one.get_attribute(PROV_TYPE))]
    assert [end(one, PROV_ATTR_GENERATED_ENTITY) for one in revisions] == [f"product-{old.superseded_by}"]


def test_waivers_and_taints(happened: EventfulWorld, record: ProvenanceRecord, document: ProvDocument) -> None:
    (waiver,) = [one.waiver for run in record.runs.values() for one in run.checks if one.waiver]
    assert said(element(document, f"waiver-{waiver.id}"), "reason") == "a bright line"
    reviewers = relations(document, PROV_ASSOCIATION, PROV_ATTR_ACTIVITY, f"review-{waiver.id}")
    assert [end(one, PROV_ATTR_AGENT) for one in reviewers] == ["person-ada"]
    lifted, standing = record.taints
    by_lifting = relations(document, PROV_INVALIDATION, PROV_ATTR_ACTIVITY, f"lifting-{lifted}")
    assert [end(one, PROV_ATTR_ENTITY) for one in by_lifting] == [f"taint-{lifted}"]
    by_taint = relations(document, PROV_INVALIDATION, PROV_ATTR_ACTIVITY, f"tainting-{standing}")
    invalid = {end(one, PROV_ATTR_ENTITY) for one in by_taint}
    assert {names.package_name(one.content) for one in record.contents_of(record.taints[standing].package_id)} < invalid
    assert {f"product-{one.id}" for one in record.made_by(happened.newest)} < invalid
    assert not relations(document, PROV_INVALIDATION, PROV_ATTR_ACTIVITY, f"tainting-{lifted}")


def test_the_plan_the_software_and_the_raw_files(
    happened: EventfulWorld, record: ProvenanceRecord, document: ProvDocument
) -> None:
    run = f"run-{happened.failed_attempt[0]}"
    plans = [end(one, PROV_ATTR_PLAN) for one in relations(document, PROV_ASSOCIATION, PROV_ATTR_ACTIVITY, run)]
    (step,) = [one for one in record.steps.values() if one.step == "read"]
    assert f"step-{step.id}" in plans
    used = {end(one, PROV_ATTR_ENTITY) for one in relations(document, PROV_USAGE, PROV_ATTR_ACTIVITY, run)}
    assert used == {
        f"software-{next(iter(record.software))}",
        f"config-{record.runs[happened.failed_attempt[0]].config_id}",
        names.package_name(record.runs[happened.failed_attempt[0]].packages[0].content),
    }
    files = {f"file-{file.id}" for package in record.packages.values() for file in package.files}
    assert {str(one.identifier) for one in document.get_records()} >= {f"data:{name}" for name in files}
    made = relations(document, PROV_GENERATION, PROV_ATTR_ACTIVITY, run)
    assert len(made) == len(record.made_by(happened.failed_attempt[0])) == 2


def test_prov_n_says_the_same(record: ProvenanceRecord) -> None:
    text = prov_n(record)
    statements = re.findall(r"^  (\w+)\(", text, flags=re.MULTILINE)
    in_json = json.loads(prov_json(record))
    assert text.startswith("document\n")
    assert len(statements) == sum(len(items) for kind, items in in_json.items() if kind != "prefix")
    assert SECRET not in text + prov_json(record)


def element(document: ProvDocument, name: str) -> ProvRecord:
    (found,) = document.get_record(f"data:{name}")
    return found


def said(one: ProvRecord, name: str) -> str:
    (value,) = one.get_attribute(f"ccat:{name}")
    return str(value)


def relations(document: ProvDocument, kind: QualifiedName, attribute: QualifiedName, name: str) -> list[ProvRecord]:
    return [one for one in document.get_records() if one.get_type() == kind and end(one, attribute) == name]


def end(one: ProvRecord, attribute: QualifiedName) -> str | None:
    found = dict(one.formal_attributes).get(attribute)
    return found.localpart if isinstance(found, QualifiedName) else None
