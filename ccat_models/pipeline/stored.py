"""A pipeline's declaration as it is stored in ops-db."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import NotFound
from ccat_models.pipeline.document import Document, grouping_document, software_document
from ccat_models.pipeline.known import Known, load_known
from ccat_models.tables.pipelines import Pipeline, PipelineRevision
from ccat_models.tables.places import DataLocation


@dataclass(frozen=True)
class StoredPipeline:
    """A pipeline and one of its revisions, with the declaration that was applied."""

    pipeline: Pipeline
    revision: PipelineRevision

    @property
    def is_current(self) -> bool:
        """Say whether this is the pipeline's current revision."""
        return self.revision.number == self.pipeline.revision


def find_stored(session: Session, name: str, revision: int | None = None) -> StoredPipeline | None:
    """Return a pipeline with its current or another revision, None if it does not exist."""
    number = Pipeline.revision if revision is None else revision
    found = session.execute(
        sa.select(Pipeline, PipelineRevision)
        .join(PipelineRevision, PipelineRevision.pipeline_id == Pipeline.id)
        .where(Pipeline.name == name, PipelineRevision.number == number)
    ).one_or_none()
    return None if found is None else StoredPipeline(*found)


def stored_document(session: Session, name: str, revision: int | None = None) -> Document:
    """Return the whole declaration of a pipeline, of its current or an earlier revision.

    What revisions do not record is given as it is now: the state, all versions of the programs, and for the current
    revision the data grouping and the location. Raises NotFound with the known names or revisions.
    """
    stored = find_stored(session, name, revision)
    if stored is None:
        raise _not_found(session, name, revision)
    document = stored.revision.declaration
    programs = {program["name"] for program in document["software"]} | {step["software"] for step in document["steps"]}
    known = load_known(session, programs)
    software = [software_document(known.software[program], known) for program in sorted(programs)]
    return {**document, "enabled": stored.pipeline.enabled, "software": software, **_in_force(session, stored, known)}


def _in_force(session: Session, stored: StoredPipeline, known: Known) -> Document:
    if not stored.is_current:
        return {}
    pipeline = stored.pipeline
    location = sa.select(DataLocation.name).where(DataLocation.id == pipeline.processing_location_id)
    return {
        "data_grouping": grouping_document(pipeline.data_grouping, known),
        "processing_location": session.scalars(location).one(),
    }


def _not_found(session: Session, name: str, revision: int | None) -> NotFound:
    pipeline = session.scalar(sa.select(Pipeline).where(Pipeline.name == name))
    if pipeline is None:
        return NotFound("pipeline", name, list(session.scalars(sa.select(Pipeline.name).order_by(Pipeline.name))))
    return NotFound(f"revision of pipeline {name}", str(revision), [str(i + 1) for i in range(pipeline.revision)])
