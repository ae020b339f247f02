"""A provenance record as a W3C PROV document (PROV-DM, https://www.w3.org/TR/prov-dm/): PROV-JSON and PROV-N."""

import json
from typing import Any

from prov.constants import PROV
from prov.model import ProvDocument

from ccat_assets.provenance import names
from ccat_assets.provenance.w3c_reviews import add_reviews
from ccat_assets.provenance.w3c_terms import LABEL, ROLE, TERM, THING, TYPE, terms, thing
from ccat_models.lineage.record import AttemptRecord, ProductRecord, ProvenanceRecord, RunRecord
from ccat_models.lineage.record_packages import PackageRecord
from ccat_models.tables.products import DataProductType
from ccat_models.tables.space import SpaceState


def prov_json(record: ProvenanceRecord) -> str:
    """Return the record as PROV-JSON; the same record always gives the same text."""
    text = document_of(record).serialize(format="json")
    return json.dumps(json.loads(text or "{}"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def prov_n(record: ProvenanceRecord) -> str:
    """Return the record as PROV-N; the same record always gives the same text."""
    return f"{document_of(record).get_provn()}\n"


def document_of(record: ProvenanceRecord) -> ProvDocument:
    """Return the record as a PROV document.

    A run is an activity whose plan is the revision of its step; its attempts are activities that it started. Entities
    with a taint that is not lifted are invalidated. Products that a later run replaced are revised.
    """
    document = ProvDocument()
    for namespace in (TERM, THING):
        document.add_namespace(namespace)
    _add_agents(document, record)
    _add_plans(document, record)
    for package in record.packages.values():
        _add_package(document, package)
    for product in record.products.values():
        _add_product(document, product)
    for run in record.runs.values():
        _add_run(document, record, run)
        for attempt in run.attempts:
            _add_attempt(document, run, attempt)
    _add_revisions(document, record)
    add_reviews(document, record)
    return document


def _add_agents(document: ProvDocument, record: ProvenanceRecord) -> None:
    software = terms("Orchestrator", {"version": names.orchestrator_version()})
    document.agent(thing(names.ORCHESTRATOR), {**software, TYPE: PROV["SoftwareAgent"]})
    for person in record.people:
        document.agent(thing(names.person_name(person)), {**terms("Person", {}), TYPE: PROV["Person"], LABEL: person})


def _add_plans(document: ProvDocument, record: ProvenanceRecord) -> None:
    for step in record.steps.values():
        name = thing(names.step_name(step.id))
        values: dict[str, Any] = {"pipeline": step.pipeline, "step": step.step, "revision": step.revision}
        values |= {"description": step.description or None, "appliedAt": step.applied_at}
        document.entity(name, {**terms("StepRevision", values), TYPE: PROV["Plan"]})
        document.attribution(name, thing(names.person_name(step.applied_by)))
    for software in record.software.values():
        values = {"software": software.name, "version": software.version, "image": software.image_reference}
        values |= {"imageSha256": software.image_sha256, "codeSha256": software.code_sha256}
        values |= {"command": json.dumps(software.command) if software.command else None}
        document.entity(thing(names.software_name(software.id)), terms("SoftwareVersion", values))
    for config in record.configs.values():
        parameters = json.dumps(config.parameters, sort_keys=True, ensure_ascii=False)
        values = {"sha256": config.config_hash, "parameters": parameters}
        document.entity(thing(names.config_name(config.id)), terms("Configuration", values))


def _add_package(document: ProvDocument, package: PackageRecord) -> None:
    name = thing(names.package_name(package.content))
    values: dict[str, Any] = {"package": package.name, "checksum": package.checksum or None}
    values |= {"state": package.state.value, "archivedAt": package.archived_at, "replacedBy": package.replaced_by}
    attributes = terms("RawDataPackage", values)
    document.entity(name, {**attributes, TYPE: PROV["Collection"], LABEL: package.name})
    for file in package.files:
        member = thing(f"file-{file.id}")
        values = {"path": file.path, "sizeBytes": file.size_bytes, "sha256": file.sha256}
        document.entity(member, terms("RawDataFile", values))
        document.membership(name, member)


def _add_product(document: ProvDocument, product: ProductRecord) -> None:
    values = {
        "productType": product.type.value,
        "path": product.path,
        "sizeBytes": product.size_bytes,
        "sha256": product.sha256,
        "location": product.location,
        "locationPath": product.location_path,
        "purged": product.purged or None,
        "removed": product.removed and product.removed.value,
        "restoredByRun": product.restored_by,
        "madeByRun": product.run_id,
    }
    attributes = {**terms("DataProduct", values), LABEL: product.name}
    document.entity(thing(names.product_name(product.id)), attributes)


def _add_run(document: ProvDocument, record: ProvenanceRecord, run: RunRecord) -> None:
    name, step = thing(names.run_name(run.id)), record.steps[run.step_id]
    values = {
        "status": run.status.value,
        "pipeline": step.pipeline,
        "step": step.step,
        "subGroup": run.sub_group,
        "reason": run.reason,
        "regeneratesRun": run.regenerates,
        "restored": run.restored or None,
        "failureClass": run.failure_class and run.failure_class.value,
        "failureMessage": run.failure_message,
        "history": " ".join(f"{change.at.isoformat()}={change.after}" for change in run.history) or None,
    }
    document.activity(name, run.started_at, run.ended_at, terms("Run", values))
    _add_responsibility(document, run)
    _add_usage(document, run)
    if run.regenerates is not None and run.regenerates in record.runs:
        document.communication(name, thing(names.run_name(run.regenerates)), other_attributes={ROLE: "regeneration"})
    inputs = [names.package_name(link.content) for link in run.packages]
    inputs += [names.product_name(link.product_id) for link in run.products]
    for product in record.made_by(run.id):
        made = thing(names.product_name(product.id))
        document.generation(made, name, product.created_at, other_attributes={ROLE: product.type.value})
        document.attribution(made, thing(names.person_name(run.requested_by)))
        if product.type is not DataProductType.LOG:
            for source in inputs:
                document.derivation(made, thing(source), name)


def _add_responsibility(document: ProvDocument, run: RunRecord) -> None:
    name, person = thing(names.run_name(run.id)), thing(names.person_name(run.requested_by))
    software = thing(names.ORCHESTRATOR)
    document.association(name, software, thing(names.step_name(run.step_id)), None, {ROLE: "orchestrator"})
    document.association(name, person, None, None, {ROLE: "requester"})
    document.delegation(software, person, name)
    if run.cancel_requested_by is not None:
        canceller = thing(names.person_name(run.cancel_requested_by))
        document.association(name, canceller, None, None, {ROLE: "canceller"})


def _add_usage(document: ProvDocument, run: RunRecord) -> None:
    name = thing(names.run_name(run.id))
    used: list[tuple[str, str, str | None]]
    used = [(names.software_name(run.software_id), "software", None), (names.config_name(run.config_id), "setup", None)]
    used += [(names.package_name(link.content), "raw data", link.checksum) for link in run.packages]
    used += [(names.product_name(link.product_id), "upstream product", link.sha256) for link in run.products]
    for entity, role, checksum in used:
        attributes = {**terms("Usage", {"checksumRead": checksum}), ROLE: role}
        document.usage(name, thing(entity), None, None, attributes)


def _add_attempt(document: ProvDocument, run: RunRecord, attempt: AttemptRecord) -> None:
    values = {
        "state": attempt.state,
        "backend": attempt.backend,
        "runtime": attempt.runtime,
        "host": attempt.host,
        "jobId": attempt.job_id,
        "exitCode": attempt.exit_code,
        "wallSeconds": attempt.wall_seconds,
        "cpuSeconds": attempt.cpu_seconds,
        "peakMemoryBytes": attempt.peak_memory_bytes,
        "imageSha256": attempt.image_sha256,
        "failureClass": attempt.failure_class and attempt.failure_class.value,
        "failureMessage": attempt.failure_message,
        "evidence": json.dumps(attempt.evidence, sort_keys=True) if attempt.evidence else None,
    }
    name, whole = thing(names.attempt_name(run.id, attempt.number)), thing(names.run_name(run.id))
    document.activity(name, attempt.started_at, attempt.finished_at, terms("Attempt", values))
    document.start(name, None, whole, attempt.started_at or attempt.created_at)
    document.communication(name, whole)


def _add_revisions(document: ProvDocument, record: ProvenanceRecord) -> None:
    for product in record.products.values():
        if product.superseded_by is not None and product.superseded_by in record.products:
            newer = thing(names.product_name(product.superseded_by))
            document.revision(newer, thing(names.product_name(product.id)))
            if product.removed is SpaceState.REPLACED:
                document.alternate(newer, thing(names.product_name(product.id)))
