"""Applying a declaration: it may be repeated, and never changes what runs refer to."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.application import Application
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.diff import ABSENT, Difference, differences
from ccat_models.pipeline.digests import CodeDigests
from ccat_models.pipeline.document import (
    declared_grouping_document,
    declared_version_document,
    grouping_document,
    pipeline_document,
    pipeline_outline,
    version_document,
)
from ccat_models.pipeline.known import Known, check_references, load_known, software_named
from ccat_models.pipeline.refusals import check_refusals
from ccat_models.pipeline.stored import StoredPipeline, find_stored
from ccat_models.pipeline.view import load_pipeline
from ccat_models.pipeline.write import write_revision
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.pipelines import Pipeline, PipelineRevision


@dataclass(frozen=True)
class Change:
    """What applying a declaration would change; `revision` is the current one, None for a new pipeline."""

    revision: int | None
    differences: tuple[Difference, ...]

    @property
    def changed(self) -> bool:
        """Say whether anything would change."""
        return bool(self.differences)


@dataclass(frozen=True)
class Applied:
    """What has been changed; `revision` is the current one now."""

    revision: int
    differences: tuple[Difference, ...]

    @property
    def changed(self) -> bool:
        """Say whether anything was changed."""
        return bool(self.differences)


def plan_apply(session: Session, declaration: PipelineDeclaration, *, code_digests: CodeDigests) -> Change:
    """Return what applying a declaration would change, and write nothing.

    `code_digests` must hold the digest of all code that the declaration lists, else ValueError is raised. Raises
    InvalidDeclaration for unknown names, Refused for a change of what runs refer to.
    """
    plan = _Plan(session, declaration, code_digests)
    return Change(None if plan.stored is None else plan.stored.pipeline.revision, plan.differences)


def apply(
    session: Session, declaration: PipelineDeclaration, *, code_digests: CodeDigests, applied_by: str, now: datetime
) -> Applied:
    """Make ops-db agree with a declaration; parts that agree already are left as they are.

    A change makes a new revision, except one of `enabled` alone. Raises as `plan_apply` does, and then changes nothing.
    """
    check_fits("applied_by", applied_by, PipelineRevision.applied_by)
    session.execute(sa.select(Pipeline.id).where(Pipeline.name == declaration.name).with_for_update())
    plan = _Plan(session, declaration, code_digests)
    pipeline = None if plan.stored is None else plan.stored.pipeline
    if pipeline is not None and all(difference.path == "enabled" for difference in plan.differences):
        pipeline.enabled = plan.wanted["enabled"]
        session.flush()
        return Applied(pipeline.revision, plan.differences)
    document = pipeline_document(declaration, plan.known)
    application = Application(declaration, document, plan.found, plan.wanted, applied_by, now)
    return Applied(write_revision(session, application, plan.known, pipeline), plan.differences)


def switch(session: Session, name: str, *, enabled: bool) -> bool:
    """Enable or disable a pipeline, which is a state and makes no revision; say whether that changed anything.

    Needs a request's session, so that no other process creates its runs meanwhile. Raises NotFound with the known
    pipelines.
    """
    pipeline = load_pipeline(session, name)
    if pipeline.enabled is not enabled:
        session.execute(sa.update(Pipeline).where(Pipeline.id == pipeline.pipeline_id).values(enabled=enabled))
    return pipeline.enabled is not enabled


class _Plan:
    """The stored and the declared state as outlines that can be compared."""

    def __init__(self, session: Session, declaration: PipelineDeclaration, code_digests: CodeDigests) -> None:
        self.known = load_known(session, software_named(declaration))
        check_references(declaration, self.known)
        self.stored = find_stored(session, declaration.name)
        found = {} if self.stored is None else _found_pipeline(self.stored, self.known)
        wanted = pipeline_outline(pipeline_document(declaration, self.known))
        wanted["enabled"] = found.get("enabled", True) if declaration.enabled is None else declaration.enabled
        self.found = {**found, **_found_things(declaration, self.known)}
        self.wanted = {**wanted, **_wanted_things(declaration, code_digests, self.known)}
        self.differences = self._differences(declaration.name)
        check_refusals(session, self.found, self.wanted, declaration.name)

    def _differences(self, name: str) -> tuple[Difference, ...]:
        if self.stored is not None:
            return differences(self.found, self.wanted)
        things = {key: self.wanted[key] for key in self.found}
        return (Difference("pipeline", ABSENT, name), *differences(self.found, things))


def _found_pipeline(stored: StoredPipeline, known: Known) -> dict[str, Any]:
    locations = {key: name for name, key in known.locations.items()}
    return {
        **pipeline_outline(stored.revision.declaration),
        "enabled": stored.pipeline.enabled,
        "data_grouping": stored.pipeline.data_grouping.name,
        "processing_location": locations.get(stored.pipeline.processing_location_id),
    }


def _found_things(declaration: PipelineDeclaration, known: Known) -> dict[str, Any]:
    """Return what is stored of the data grouping and the programs that the declaration defines."""
    groupings, software = {}, {}
    if not isinstance(declaration.data_grouping, str) and declaration.data_grouping_name in known.groupings:
        row = known.groupings[declaration.data_grouping_name]
        document = grouping_document(row, known)
        groupings[row.name] = {key: value for key, value in document.items() if key != "name"}
    for program in declaration.software:
        if program.name in known.software:
            versions = known.versions_of(program.name)
            declared = [one.version for one in program.versions if one.version in versions]
            software[program.name] = {
                "description": known.software[program.name].description,
                "versions": {version: version_document(versions[version]) for version in declared},
            }
    return {"data_groupings": groupings, "software": software}


def _wanted_things(declaration: PipelineDeclaration, code_digests: CodeDigests, known: Known) -> dict[str, Any]:
    """Return the data grouping and the programs as the declaration defines them."""
    software = {
        program.name: {
            "description": program.description,
            "versions": {
                version.version: declared_version_document(
                    program.name, version, code_digests, known.versions.get((program.name, version.version))
                )
                for version in program.versions
            },
        }
        for program in declaration.software
    }
    grouping = declaration.data_grouping
    groupings = {} if isinstance(grouping, str) else {grouping.name: declared_grouping_document(grouping)}
    return {"data_groupings": groupings, "software": software}
