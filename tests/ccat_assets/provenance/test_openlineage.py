"""OpenLineage events: of the published form, one START and one end for each run, the same whenever they are made."""

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import attr
import jsonschema
import pytest
from openlineage.client import facet_v2

from ccat_assets.provenance.openlineage import openlineage_lines, run_uuid
from ccat_models.lineage.record import CheckRecord, ProvenanceRecord
from ccat_models.tables.base import RunId
from tests.support.parts.openlineage import RUN_EVENT
from tests.support.worlds.provenance import SECRET, EventfulWorld

pytestmark = pytest.mark.xdist_group("provenance")  # they share one history

Event = dict[str, Any]
STANDARD: dict[str, Any] = {
    "parent": facet_v2.parent_run.ParentRunFacet,
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "ownership": facet_v2.ownership_job.OwnershipJobFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "dataQualityMetrics": facet_v2.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


@pytest.fixture(scope="module")
def events(record: ProvenanceRecord) -> list[Event]:
    """Give the events as their lines are read."""
    return [json.loads(line) for line in openlineage_lines(record)]


def test_events_have_the_published_form(events: list[Event]) -> None:
    validator = jsonschema.Draft202012Validator(RUN_EVENT, format_checker=jsonschema.FormatChecker())
    for event in events:
        validator.validate(event)
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None


@pytest.mark.parametrize("spoiled", [{"run": {"runId": "7"}}, {"eventType": "DONE"}, {"job": {"name": "map"}}])
def test_another_form_is_seen(events: list[Event], spoiled: Event) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**events[0], **spoiled}, RUN_EVENT, format_checker=jsonschema.FormatChecker())


def test_facets_are_those_of_the_standard_or_the_houses_own(events: list[Event]) -> None:
    found = {name: facet for event in events for name, facet in facets_in(event)}
    assert {name for name in found if not name.startswith("ccat_")} == set(STANDARD)
    for name, kind in STANDARD.items():
        known = {field.name for field in attr.fields(kind)}
        required = {field.name for field in attr.fields(kind) if field.default is attr.NOTHING}
        assert required <= found[name].keys() <= known
        assert found[name]["_schemaURL"] == kind._get_schema()


def test_each_run_begins_and_ends_once(record: ProvenanceRecord, events: list[Event]) -> None:
    kinds: dict[str, list[str]] = {}
    for event in events:
        kinds.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert len(kinds) == len(record.runs)
    assert all(started == "START" and len(ends) == 1 for started, *ends in kinds.values())
    assert Counter(ends[-1] for ends in kinds.values()) == {"COMPLETE": 5, "FAIL": 1, "ABORT": 1}


def test_the_same_run_has_the_same_uuid_in_every_event(happened: EventfulWorld, record: ProvenanceRecord) -> None:
    assert list(openlineage_lines(happened.record("letters/map/all"))) == list(openlineage_lines(record))
    assert len({run_uuid("ccat", 1), run_uuid("ccat", 2), run_uuid("chai", 1)}) == 3


def test_the_whole_history_is_exported(happened: EventfulWorld, record: ProvenanceRecord, events: list[Event]) -> None:
    ends = {event["run"]["runId"]: event for event in events if event["eventType"] != "START"}
    run_id, number = happened.failed_attempt
    retried = ends[run_uuid("ccat", run_id)]
    attempts = retried["run"]["facets"]["ccat_attempts"]["attempts"]
    assert attempts[number - 1]["failureClass"] == "infrastructure"
    assert retried["eventType"] == "COMPLETE"
    assert ends[run_uuid("ccat", happened.cancelled)]["run"]["facets"]["ccat_request"]["canceller"] == "test"
    failed = ends[run_uuid("ccat", happened.failed)]
    assert failed["run"]["facets"]["errorMessage"]["message"] == "science: made up"
    (old,) = record.made_by(happened.superseded)
    (output,) = ends[run_uuid("ccat", happened.superseded)]["outputs"]
    assert output["facets"]["ccat_superseded"]["product"] == old.superseded_by
    facets = [event["run"]["facets"] for event in ends.values()]
    waivers = [check.get("waiver") for one in facets for check in one.get("ccat_quality", {}).get("checks", [])]
    assert [(one["by"], one["reason"]) for one in waivers if one] == [("ada", "a bright line")]
    taints = [one for facet in facets for one in facet.get("ccat_taints", {}).get("taints", [])]
    assert {(one["package"], one.get("liftedBy")) for one in taints} == {("scan-0", "ben"), ("scan-1", None)}
    assert SECRET not in json.dumps(events)


def test_only_the_limits_in_force_are_exported(record: ProvenanceRecord) -> None:
    (run_id, run) = next((run_id, run) for run_id, run in record.runs.items() if run.checks)
    old = replace(run.checks[0], name="old", superseded_at=run.checks[0].judged_at)
    facet = quality_of(record, run_id, (old, *run.checks))
    assert [check["name"] for check in facet["checks"]] == [check.name for check in run.checks]
    assert quality_of(record, run_id, (old,)) is None


def quality_of(record: ProvenanceRecord, run_id: RunId, checks: tuple[CheckRecord, ...]) -> Any:
    runs = {**record.runs, run_id: replace(record.runs[run_id], checks=checks)}
    events = [json.loads(line) for line in openlineage_lines(replace(record, runs=runs))]
    (facets,) = (
        event["run"]["facets"]
        for event in events
        if event["run"]["runId"] == run_uuid("ccat", run_id) and event["eventType"] != "START"
    )
    return facets.get("ccat_quality")


def test_inputs_and_outputs_meet_by_name(happened: EventfulWorld, events: list[Event]) -> None:
    ends = {event["run"]["runId"]: event for event in events if event["eventType"] == "COMPLETE"}
    made = {(one["name"], version(one)) for event in ends.values() for one in event["outputs"]}
    newest = ends[run_uuid("ccat", happened.newest)]
    assert {(one["name"], version(one)) for one in newest["inputs"]} <= made
    first = ends[run_uuid("ccat", happened.failed_attempt[0])]
    assert [one["name"] for one in first["inputs"]] == ["raw/scan-0"]
    numbers = [one["facets"]["dataQualityMetrics"] for one in first["outputs"] if "qa/" in one["name"]]
    assert numbers[0]["columnMetrics"]["rms"]["min"] == 0.5


def facets_in(event: Event) -> list[tuple[str, Event]]:
    places = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    found = [facet for place in places for facet in place.get("facets", {}).items()]
    return found + [facet for one in event["outputs"] for facet in one["outputFacets"].items()]


def version(dataset: Event) -> str:
    return str(dataset["facets"]["version"]["datasetVersion"])
