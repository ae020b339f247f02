"""The IVOA model's descriptions, which are known before a run: of activities, entities and their use."""

from ccat_assets.provenance import names
from ccat_assets.provenance.ivoa_instances import Instances, identifier
from ccat_models.lineage.record import ProvenanceRecord, RunRecord
from ccat_models.tables.products import DataProductType

RAW_DATA, UPSTREAM, SOFTWARE = "raw data", "upstream product", "software"
NUMBER = "quality metric"
# The types of usage and generation (REC 2.5.4) that apply here.
_USAGE = {RAW_DATA: ("Main", "*"), UPSTREAM: ("Main", "*"), SOFTWARE: ("Setup", "1")}
_GENERATION = {
    DataProductType.SCIENCE.value: "Main",
    DataProductType.INTERMEDIATE.value: "Main",
    DataProductType.STATISTICS.value: "Quality",
    DataProductType.QA_METRIC.value: "Quality",
    DataProductType.PLOT.value: "Preview",
    DataProductType.LOG.value: "Log",
    NUMBER: "Quality",
}
_VALUE_TYPES = {bool: "ivoa:boolean", int: "ivoa:integer", float: "ivoa:real"}


def activity_description(run: RunRecord) -> str:
    """Return the name of a run's description: its step's revision with its software version."""
    return f"activity-description-{run.step_id}-{run.software_id}"


def usage_description(run: RunRecord, role: str) -> str:
    """Return the id of the description of a run's input in a role."""
    return identifier(f"usage-{activity_description(run)}-{names.quoted(role)}")


def generation_description(run: RunRecord, role: str) -> str:
    """Return the id of the description of a run's output in a role."""
    return identifier(f"generation-{activity_description(run)}-{names.quoted(role)}")


def add_descriptions(instances: Instances, record: ProvenanceRecord, run: RunRecord) -> None:
    """Add the description of a run."""
    step, software = record.steps[run.step_id], record.software[run.software_id]
    described = identifier(activity_description(run))
    instances.add(
        "ActivityDescription",
        id=described,
        name=f"{step.pipeline}/{step.step}",
        version=f"{software.name} {software.version}",
        description=step.description or None,
        type="Reduction",
        subtype=step.step,
    )
    for role, (kind, multiplicity) in _USAGE.items():
        usage = {"id": usage_description(run, role), "activityDescription": described, "role": role}
        instances.add("UsageDescription", **usage, type=kind, multiplicity=multiplicity)
    for role, kind in _GENERATION.items():
        generation = {"id": generation_description(run, role), "activityDescription": described, "role": role}
        instances.add("GenerationDescription", **generation, type=kind, multiplicity="*")
    for name, value in record.configs[run.config_id].parameters.items():
        parameter = {"id": parameter_description(run, name), "activityDescription": described, "name": name}
        instances.add("ParameterDescription", **parameter, valueType=_VALUE_TYPES.get(type(value), "ivoa:string"))
    instances.add(
        "ConfigFileDescription",
        id=config_file_description(run),
        activityDescription=described,
        name=config_file_name(record, run),
        contentType="application/yaml",
        description="the declaration of the pipeline",
    )


def parameter_description(run: RunRecord, name: str) -> str:
    """Return the id of a parameter's description."""
    return identifier(f"parameter-{activity_description(run)}-{names.quoted(name)}")


def config_file_description(run: RunRecord) -> str:
    """Return the id of the description of a run's pipeline declaration."""
    return identifier(f"config-file-{activity_description(run)}")


def config_file_name(record: ProvenanceRecord, run: RunRecord) -> str:
    """Return the name of a run's pipeline declaration."""
    step = record.steps[run.step_id]
    return f"{step.pipeline} revision {step.revision}"


def entity_description(instances: Instances, name: str, kind: str) -> str:
    """Add the description of a kind of entities; return its id."""
    return instances.add("EntityDescription", id=identifier(f"kind-{names.quoted(name)}"), name=name, type=kind)


def dataset_description(instances: Instances, name: str, path: str) -> str:
    """Add the description of a kind of files by the path of one; return its id."""
    content = names.media_type(path)
    described = identifier(f"files-{names.quoted(name)}-{names.quoted(content)}")
    return instances.add("DatasetDescription", id=described, name=name, type="data", contentType=content)


def value_description(instances: Instances, name: str) -> str:
    """Add the description of a number; return its id."""
    described = identifier(f"number-{names.quoted(name)}")
    return instances.add("ValueDescription", id=described, name=name, type="value", valueType="double")
