"""A declaration as the JSON document that is stored, compared and exported."""

from collections.abc import Mapping
from typing import Any

from ccat_models.grouping.rules import FilterRule
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.digests import CodeDigests
from ccat_models.pipeline.known import Known
from ccat_models.pipeline.parts import DataGroupingDeclaration, RuleDeclaration, SoftwareVersionDeclaration
from ccat_models.pipeline.versions import version_of_rank
from ccat_models.tables.pipelines import DataGrouping, ReductionSoftware, ReductionSoftwareVersion

Document = dict[str, Any]

CODE_IDENTITY = ("image", "sha256", "command", "code_sha256")
"""The fields that identify a version's code: they never change once a run refers to the version."""


def pipeline_document(declaration: PipelineDeclaration, known: Known) -> Document:
    """Return the whole declaration with every default written out and the data grouping in full."""
    grouping = declaration.data_grouping
    if isinstance(grouping, str):
        whole = grouping_document(known.groupings[grouping], known)
    else:
        whole = {"name": grouping.name, **declared_grouping_document(grouping)}
    return {**declaration.with_defaults().model_dump(mode="json"), "data_grouping": whole}


def declared_grouping_document(grouping: DataGroupingDeclaration) -> Document:
    """Return the stored form of a declared data grouping."""
    rules = [rule_document(rule) for rule in grouping.rules]
    return {**grouping.model_dump(mode="json", exclude={"name"}), "rules": rules}


def grouping_document(grouping: DataGrouping, known: Known) -> Document:
    """Return a stored data grouping in the form of a declaration."""
    return {
        "name": grouping.name,
        "description": grouping.description,
        "instrument_module": known.module_name(grouping.instrument_module_id),
        "rules": [rule_document(RuleDeclaration.model_validate(rule)) for rule in grouping.filter_rules],
    }


def rule_document(rule: FilterRule) -> Document:
    """Return the stored form of a rule, without `json_path` if it has none."""
    left_out = {"json_path"} if rule.json_path is None else set()
    return rule.model_dump(mode="json", exclude=left_out)


def software_document(software: ReductionSoftware, known: Known) -> Document:
    """Return a program with all its registered versions, oldest first."""
    versions = [
        {"version": version, **version_document(row), "code_directory": row.code_directory}
        for version, row in known.versions_of(software.name).items()
    ]
    for version in versions:
        del version["code_sha256"]
    return {"name": software.name, "description": software.description, "versions": versions}


def version_document(row: ReductionSoftwareVersion) -> Document:
    """Return a stored version in the form that `declared_version_document` has."""
    return {
        "image": row.image_reference,
        "sha256": row.image_sha256,
        "command": row.command,
        "code": row.code,
        "code_directory": row.code_directory,
        "code_sha256": row.code_sha256,
        "released": row.released,
        "withdrawn": row.withdrawn,
        "cosmetic": row.cosmetic,
        "reprocess_from": None if row.reprocess_from_rank is None else version_of_rank(row.reprocess_from_rank),
    }


def declared_version_document(
    software: str,
    version: SoftwareVersionDeclaration,
    digests: CodeDigests,
    stored: ReductionSoftwareVersion | None,
) -> Document:
    """Return the stored form of a declared version; raise ValueError if `digests` lacks the digest of its code."""
    document = version.model_dump(mode="json", exclude={"version"})
    digest = digests.get((software, version.version))
    if version.code and digest is None:
        raise ValueError(f"no digest given of the code of {software} {version.version}")
    given = digest if version.code else None
    document["code_directory"] = given.directory if given else None
    document["code_sha256"] = given.sha256 if given else None
    if version.withdrawn is None:
        document["withdrawn"] = stored is not None and stored.withdrawn
    return document


def pipeline_outline(document: Mapping[str, Any]) -> Document:
    """Return what makes up a revision, for comparison: steps by name, the data grouping by name only."""
    own = {
        key: value for key, value in document.items() if key not in {"schema_version", "name", "software", "enabled"}
    }
    steps = {step["name"]: {key: step[key] for key in step if key != "name"} for step in document["steps"]}
    return {**own, "data_grouping": document["data_grouping"]["name"], "steps": steps}
