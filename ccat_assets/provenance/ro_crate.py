"""A provenance record as a Provenance Run Crate 0.5 (https://w3id.org/ro/wfrun/provenance/0.5)."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ccat_assets.provenance import names
from ccat_assets.provenance.ro_crate_entities import Entities, ref, refs
from ccat_assets.provenance.ro_crate_reviews import add_reviews, package_id, person_id
from ccat_assets.provenance.ro_crate_runs import ENGINE, add_run, software_id, status_of
from ccat_models.errors import Refused
from ccat_models.lineage.record import ProductRecord, ProvenanceRecord
from ccat_models.tables.base import ProductId

WORKFLOW_FILE = "pipeline.yaml"
NO_LICENSE = "not stated"
_RUN_TERMS, _PROV = "https://w3id.org/ro/terms/workflow-run#", "http://www.w3.org/ns/prov#"
# Terms that RO-Crate 1.1's own context lacks. A reference to the profile's context would make every reader fetch it.
_TERMS = {
    **{name: _RUN_TERMS + name for name in ("containerImage", "ContainerImage", "sha256", "resourceUsage")},
    **{name: _PROV + name for name in ("wasRevisionOf", "wasInvalidatedBy")},
}
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}


@dataclass(frozen=True)
class CrateContent:
    """What a crate contains besides the record: the pipeline's declaration, and files of products to be copied."""

    declaration: str
    written_at: datetime
    license: str = NO_LICENSE
    files: Mapping[ProductId, Path] = field(default_factory=dict)


def crate_of(record: ProvenanceRecord, content: CrateContent) -> Entities:
    """Return the crate, not written yet; raise Refused for a record without runs, as a run crate needs one."""
    if not record.runs:
        raise Refused(f"{record.scope.kind.value} {record.scope.name}: has no runs, and a run crate is about runs")
    entities = Entities(_TERMS)
    _describe(entities, record, content)
    _add_agents(entities, record)
    _add_workflow(entities, record, content)
    files = _add_products(entities, record, content)
    actions = [action for run in record.runs.values() for action in add_run(entities, record, run, files)]
    _add_raw_data(entities, record)
    actions += _add_whole(entities, record, files)
    reviews = add_reviews(entities, record)
    entities.describe(mentions=refs([*actions, *reviews, *map(package_id, record.packages)]))
    return entities


def _describe(entities: Entities, record: ProvenanceRecord, content: CrateContent) -> None:
    for identifier, name in _PROFILES.items():
        entities.add(identifier, "CreativeWork", name=name, version=identifier.rpartition("/")[2])
    scope = f"{record.scope.kind.value} {record.scope.name}"
    entities.crate.metadata["conformsTo"] = refs(
        ["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]
    )
    entities.describe(
        name=f"Provenance of {scope}",
        description=f"How {scope} of pipeline {record.scope.pipeline} came about: {len(record.runs)} runs.",
        datePublished=content.written_at,
        license=content.license,
        conformsTo=refs(_PROFILES),
    )


def _add_agents(entities: Entities, record: ProvenanceRecord) -> None:
    version = names.orchestrator_version()
    entities.add(ENGINE, "SoftwareApplication", name=names.ORCHESTRATOR, softwareVersion=version)
    for person in record.people:
        entities.add(person_id(person), "Person", name=person)


def _add_workflow(entities: Entities, record: ProvenanceRecord, content: CrateContent) -> None:
    language = entities.add("#declaration", "ComputerLanguage", name="CCAT pipeline declaration", alternateName="YAML")
    _add_tools(entities, record)
    for step in record.steps.values():
        tools = sorted({run.software_id for run in record.runs.values() if run.step_id == step.id})
        entities.add(
            f"#{names.step_name(step.id)}",
            "HowToStep",
            name=f"{step.pipeline}/{step.step}, revision {step.revision}",
            description=step.description,
            position=str(step.order),
            workExample=refs(map(software_id, tools)),
        )
    workflow = entities.add_file(
        content.declaration.encode(),
        WORKFLOW_FILE,
        ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        name=f"pipeline {record.scope.pipeline}",
        encodingFormat="application/yaml",
        programmingLanguage=ref(language),
        hasPart=refs(map(software_id, record.software)),
        step=refs(f"#{names.step_name(number)}" for number in record.steps),
    )
    entities.describe(mainEntity=ref(workflow))


def _add_tools(entities: Entities, record: ProvenanceRecord) -> None:
    for software in record.software.values():
        entities.add(
            software_id(software.id),
            "SoftwareApplication",
            name=software.name,
            softwareVersion=software.version,
            description=software.description,
            sha256=software.image_sha256 or software.code_sha256,
        )
    for config in record.configs.values():
        for name, value in config.parameters.items():
            identifier = f"#{names.config_name(config.id)}-{names.quoted(name)}"
            entities.add(identifier, "PropertyValue", name=name, value=json.dumps(value))


def _add_products(entities: Entities, record: ProvenanceRecord, content: CrateContent) -> dict[ProductId, str]:
    """Add products as files of the crate, or as references to files elsewhere; return their identifiers."""
    places = {product.id: _identifier(product, content) for product in record.products.values()}
    replaced = defaultdict[ProductId | None, list[str]](list)
    for product in record.products.values():
        replaced[product.superseded_by].append(places[product.id])
    for product in record.products.values():
        values: dict[str, Any] = {
            "name": product.name,
            "identifier": f"{names.NAMESPACE}{names.product_name(product.id)}",
            "sha256": product.sha256,
            "contentSize": str(product.size_bytes),
            "encodingFormat": names.media_type(product.path),
            "dateCreated": product.created_at,
            "description": f"{product.type.value} product" + (f", {names.gone(product)}" if product.purged else ""),
            "wasRevisionOf": refs(replaced[product.id]),
            "wasInvalidatedBy": refs(_standing_taints(record, product)),
        }
        if product.id in content.files:
            entities.add_file(content.files[product.id], place_of(product), "File", **values)
        else:
            entities.add_remote(places[product.id], **values)
    return places


def place_of(product: ProductRecord) -> str:
    """Return the path of a product's file inside a crate."""
    return f"products/{product.id}/{product.path}"


def _identifier(product: ProductRecord, content: CrateContent) -> str:
    if product.id in content.files:
        return names.quoted(place_of(product), safe="/")
    return f"{names.NAMESPACE}{names.product_name(product.id)}"


def _standing_taints(record: ProvenanceRecord, product: ProductRecord) -> list[str]:
    run = record.runs.get(product.run_id)
    taints = () if run is None else run.taints
    return [f"#taint-{number}" for number in taints if record.taints[number].lifted_at is None]


def _add_raw_data(entities: Entities, record: ProvenanceRecord) -> None:
    for package in record.packages.values():
        files = [
            entities.add_remote(
                f"urn:uuid:{file.id}",
                name=f"{package.name}/{file.path}",
                sha256=file.sha256,
                contentSize=str(file.size_bytes),
                encodingFormat=names.media_type(file.path),
            )
            for file in package.files
        ]
        replaced = "" if package.replaced_by is None else ", delivered again with other content since"
        description = f"raw data package, {package.state.value}{replaced}"
        entities.add(
            package_id(package.content),
            "Collection",
            name=package.name,
            description=description,
            sha256=package.checksum,
            dateCreated=package.created_at,
            hasPart=refs(files),
        )


def _add_whole(entities: Entities, record: ProvenanceRecord, files: Mapping[ProductId, str]) -> list[str]:
    """Add the execution of the whole workflow, and its organisation by the orchestrator."""
    last = record.runs[record.scope.run_id or max(record.runs)]
    execution = entities.add(
        "#execution",
        "CreateAction",
        name=f"execution of pipeline {record.scope.pipeline}",
        instrument=ref(WORKFLOW_FILE),
        agent=ref(person_id(last.requested_by)),
        object=refs(map(package_id, record.packages)),
        result=refs(files[product.id] for product in record.made_by(last.id)),
        startTime=min(run.started_at for run in record.runs.values()),
        endTime=last.ended_at,
        actionStatus=status_of(last),
    )
    organised = entities.add(
        "#organisation",
        "OrganizeAction",
        name=f"organisation of pipeline {record.scope.pipeline} by {names.ORCHESTRATOR}",
        agent=ref(ENGINE),
        instrument=ref(ENGINE),
        object=refs(f"#control-{names.run_name(number)}" for number in record.runs),
        result=ref(execution),
        actionStatus=status_of(last),
    )
    return [execution, organised]
