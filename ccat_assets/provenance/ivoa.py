"""A provenance record as instances of the IVOA Provenance Data Model 1.0 (REC 2020-04-11)."""

import json

from ccat_assets.provenance import names
from ccat_assets.provenance.ivoa_descriptions import (
    NUMBER,
    RAW_DATA,
    SOFTWARE,
    UPSTREAM,
    activity_description,
    add_descriptions,
    config_file_description,
    config_file_name,
    dataset_description,
    entity_description,
    generation_description,
    parameter_description,
    usage_description,
    value_description,
)
from ccat_assets.provenance.ivoa_instances import Instances, Row, identifier
from ccat_assets.provenance.ivoa_reviews import add_reviews, invalid_since, person_id
from ccat_models.lineage.record import AttemptRecord, ProductRecord, ProvenanceRecord, RunRecord
from ccat_models.lineage.record_packages import PackageRecord
from ccat_models.tables.products import DataProductType


def instances_of(record: ProvenanceRecord) -> dict[str, list[Row]]:
    """Return the record's instances by class; classes without instances are included."""
    instances = Instances()
    instances.add(
        "Agent",
        id=identifier(names.ORCHESTRATOR),
        name=names.ORCHESTRATOR,
        type="SoftwareAgent",
        comment=f"version {names.orchestrator_version()}",
    )
    for person in record.people:
        instances.add("Agent", id=person_id(person), name=person, type="Person")
    _add_software(instances, record)
    for package in record.packages.values():
        _add_package(instances, record, package)
    for product in record.products.values():
        _add_product(instances, record, product)
    for run in record.runs.values():
        add_descriptions(instances, record, run)
        _add_run(instances, record, run)
        _add_configuration(instances, record, run)
        for attempt in run.attempts:
            _add_attempt(instances, run, attempt)
    add_reviews(instances, record)
    return instances.rows


def _add_software(instances: Instances, record: ProvenanceRecord) -> None:
    for software in record.software.values():
        digest = software.image_sha256 or software.code_sha256
        instances.add(
            "Entity",
            id=identifier(names.software_name(software.id)),
            name=f"{software.name} {software.version}",
            location=software.image_reference,
            generatedAtTime=software.created_at,
            comment=None if digest is None else f"sha256 {digest}",
            entityDescription=entity_description(instances, "reduction software", "software"),
        )


def _add_package(instances: Instances, record: ProvenanceRecord, package: PackageRecord) -> None:
    replaced = "" if package.replaced_by is None else f", delivered again since with checksum {package.replaced_by}"
    taints = [taint for taint in record.taints.values() if taint.package_id == package.id]
    collection = instances.add(
        "Collection",
        id=identifier(names.package_name(package.content)),
        name=package.name,
        generatedAtTime=package.created_at,
        invalidatedAtTime=invalid_since(package, taints),
        comment=f"{package.state.value}, checksum {package.checksum}{replaced}",
        entityDescription=entity_description(instances, "raw data package", "data"),
    )
    for file in package.files:
        member = instances.add(
            "DatasetEntity",
            id=f"urn:uuid:{file.id}",
            name=f"{package.name}/{file.path}",
            comment=f"{file.size_bytes} bytes, sha256 {file.sha256}",
            entityDescription=dataset_description(instances, "raw data file", file.path),
        )
        instances.add("HadMember", collection=collection, entity=member)


def _add_product(instances: Instances, record: ProvenanceRecord, product: ProductRecord) -> None:
    run = record.runs.get(product.run_id)
    taints = [record.taints[number] for number in (run.taints if run else ())]
    remarks = [f"{product.size_bytes} bytes, sha256 {product.sha256}"]
    if product.purged:
        remarks.append(names.gone(product))
    if product.restored_by is not None:
        remarks.append(f"restored by {identifier(names.run_name(product.restored_by))}")
    if product.superseded_by is not None:
        remarks.append(f"superseded by {identifier(names.product_name(product.superseded_by))}")
    entity = instances.add(
        "DatasetEntity",
        id=identifier(names.product_name(product.id)),
        name=product.name,
        location=product.location and f"{product.location}:{product.location_path}",
        generatedAtTime=product.created_at,
        invalidatedAtTime=invalid_since(product, taints),
        comment="; ".join(remarks),
        entityDescription=dataset_description(instances, f"{product.type.value} product", product.path),
    )
    if product.superseded_by is not None and product.superseded_by in record.products:
        newer = identifier(names.product_name(product.superseded_by))
        instances.add("WasDerivedFrom", generatedEntity=newer, usedEntity=entity)


def _add_run(instances: Instances, record: ProvenanceRecord, run: RunRecord) -> None:
    step = record.steps[run.step_id]
    failure = "" if run.failure_class is None else f", {run.failure_class.value}: {run.failure_message}"
    activity = instances.add(
        "Activity",
        id=identifier(names.run_name(run.id)),
        name=f"{step.pipeline}/{step.step}/{run.sub_group}",
        startTime=run.started_at,
        endTime=run.ended_at,
        comment=f"{run.status.value}, requested for {names.requested_for(run)}{failure}",
        activityDescription=identifier(activity_description(run)),
    )
    if run.regenerates is not None and run.regenerates in record.runs:
        instances.add("WasInformedBy", informed=activity, informant=identifier(names.run_name(run.regenerates)))
    instances.add("WasAssociatedWith", activity=activity, agent=identifier(names.ORCHESTRATOR), role="Operator")
    instances.add("WasAssociatedWith", activity=activity, agent=person_id(run.requested_by), role="Creator")
    if run.cancel_requested_by is not None:
        canceller = person_id(run.cancel_requested_by)
        instances.add("WasAssociatedWith", activity=activity, agent=canceller, role="canceller")
    inputs = [(identifier(names.package_name(link.content)), RAW_DATA) for link in run.packages]
    inputs += [(identifier(names.product_name(link.product_id)), UPSTREAM) for link in run.products]
    for entity, role in [(identifier(names.software_name(run.software_id)), SOFTWARE), *inputs]:
        usage = {"role": role, "usageDescription": usage_description(run, role)}
        instances.add("Used", activity=activity, entity=entity, time=run.started_at, **usage)
    for product in record.made_by(run.id):
        _add_generation(instances, run, product, [entity for entity, _ in inputs])
    _add_numbers(instances, run, activity)


def _add_generation(instances: Instances, run: RunRecord, product: ProductRecord, inputs: list[str]) -> None:
    made = identifier(names.product_name(product.id))
    instances.add(
        "WasGeneratedBy",
        entity=made,
        activity=identifier(names.run_name(run.id)),
        role=product.type.value,
        generationDescription=generation_description(run, product.type.value),
    )
    instances.add("WasAttributedTo", entity=made, agent=person_id(run.requested_by), role="Creator")
    if product.type is not DataProductType.LOG:
        for entity in inputs:
            instances.add("WasDerivedFrom", generatedEntity=made, usedEntity=entity)


def _add_numbers(instances: Instances, run: RunRecord, activity: str) -> None:
    for metric in run.metrics:
        value = instances.add(
            "ValueEntity",
            id=identifier(f"metric-{run.id}-{names.quoted(metric.name)}"),
            name=metric.name,
            value=repr(metric.value),
            entityDescription=value_description(instances, metric.name),
        )
        described = generation_description(run, NUMBER)
        instances.add("WasGeneratedBy", entity=value, activity=activity, role=NUMBER, generationDescription=described)


def _add_configuration(instances: Instances, record: ProvenanceRecord, run: RunRecord) -> None:
    activity, step = identifier(names.run_name(run.id)), record.steps[run.step_id]
    for name, value in sorted(record.configs[run.config_id].parameters.items()):
        parameter = instances.add(
            "Parameter",
            id=identifier(f"parameter-{run.id}-{names.quoted(name)}"),
            name=name,
            value=value if isinstance(value, str) else json.dumps(value),
            parameterDescription=parameter_description(run, name),
        )
        instances.add("WasConfiguredBy", activity=activity, artefactType="Parameter", parameter=parameter)
    declaration = instances.add(
        "ConfigFile",
        id=identifier(f"config-file-{run.id}"),
        name=config_file_name(record, run),
        location=identifier(f"pipeline:{step.pipeline}:{step.revision}"),
        comment=f"applied by {step.applied_by} at {step.applied_at.isoformat()}",
        configFileDescription=config_file_description(run),
    )
    instances.add("WasConfiguredBy", activity=activity, artefactType="ConfigFile", configFile=declaration)


def _add_attempt(instances: Instances, run: RunRecord, attempt: AttemptRecord) -> None:
    remarks = [attempt.state, f"back end {attempt.backend}"]
    if attempt.failure_class is not None:
        remarks.append(f"{attempt.failure_class.value}: {attempt.failure_message}")
    if attempt.exit_code is not None:
        remarks.append(f"exit code {attempt.exit_code}")
    if attempt.host is not None:
        remarks.append(f"on {attempt.host}")
    remarks += [f"{name} {value}" for name, value in attempt.evidence.items()]
    activity = instances.add(
        "Activity",
        id=identifier(names.attempt_name(run.id, attempt.number)),
        name=f"attempt {attempt.number} of run {run.id}",
        startTime=attempt.started_at,
        endTime=attempt.finished_at,
        comment=", ".join(remarks),
    )
    instances.add("WasInformedBy", informed=activity, informant=identifier(names.run_name(run.id)))
