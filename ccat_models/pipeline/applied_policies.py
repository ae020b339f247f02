"""Version policies as they apply to the registered versions: what each step runs, and whose products it accepts."""

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, join

from ccat_models.errors import NotFound
from ccat_models.pipeline.versions import acceptable_versions, target_version, version_of_rank
from ccat_models.tables.base import StepId
from ccat_models.tables.pipelines import (
    Pipeline,
    PipelineRevision,
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStep,
    VersionPolicy,
)
from ccat_models.tables.pipelines import ReductionStepRevision as Done


@dataclass(frozen=True)
class AppliedPolicy:
    """The version that a step runs now (`target`) and those whose products it accepts, oldest first."""

    step_id: StepId
    software_id: int
    pipeline: str
    step: str
    policy: VersionPolicy
    target: str
    acceptable: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return PIPELINE/STEP."""
        return f"{self.pipeline}/{self.step}"


@dataclass(frozen=True)
class VersionRow:
    """A version of a program as it is listed, with the steps (PIPELINE/STEP) that run or accept it now."""

    software: str
    version: str
    image: str | None
    sha256: str | None
    command: list[str] | None
    code: list[str]
    code_sha256: str | None
    released: bool
    withdrawn: bool
    cosmetic: bool
    reprocess_from: str | None
    run_by: tuple[str, ...]
    accepted_by: tuple[str, ...]


def find_software(session: Session, name: str) -> ReductionSoftware:
    """Return a program by name; raise NotFound with the known names."""
    found = session.scalar(sa.select(ReductionSoftware).where(ReductionSoftware.name == name))
    if found is None:
        known = session.scalars(sa.select(ReductionSoftware.name).order_by(ReductionSoftware.name))
        raise NotFound("software", name, list(known))
    return found


def applied_policies(session: Session, software_id: int | None = None) -> tuple[AppliedPolicy, ...]:
    """Return the applied policy of every step of every pipeline, or of those that use one program; two queries."""
    of_step = (Done.version_policy, Done.software_id, Done.pinned_version_id)
    version = ReductionSoftwareVersion
    of_program = sa.true() if software_id is None else Done.software_id == software_id
    accepted = (
        sa.select(Done.step_id, version.version)
        .select_from(_in_force())
        .join(version, version.id.in_(acceptable_versions(*of_step)))
        .where(of_program)
        .order_by(version.rank)
    )
    acceptable: dict[StepId, list[str]] = defaultdict(list)
    for step_id, number in session.execute(accepted).tuples():
        acceptable[step_id].append(number)
    steps = (
        sa.select(
            Done.step_id, Done.software_id, Pipeline.name, ReductionStep.name, Done.version_policy, version.version
        )
        .select_from(_in_force())
        .join(version, version.id == target_version(*of_step))
        .where(of_program)
        .order_by(Pipeline.name, Done.order)
    )
    return tuple(AppliedPolicy(*row, tuple(acceptable[row[0]])) for row in session.execute(steps).tuples())


def list_versions(session: Session, software: str | None = None) -> list[VersionRow]:
    """Return the versions of all programs, or of one, oldest first; raise NotFound with the known programs."""
    wanted = None if software is None else find_software(session, software).id
    applied = applied_policies(session, wanted)
    query = (
        sa.select(ReductionSoftware.name, ReductionSoftwareVersion)
        .join(ReductionSoftwareVersion.software)
        .where(sa.true() if wanted is None else ReductionSoftware.id == wanted)
        .order_by(ReductionSoftware.name, ReductionSoftwareVersion.rank)
    )
    return [
        _row(name, row, [policy for policy in applied if policy.software_id == row.software_id])
        for name, row in session.execute(query).tuples()
    ]


def _in_force() -> sa.FromClause:
    """Return the steps of each pipeline's current revision."""
    current = sa.and_(Pipeline.id == PipelineRevision.pipeline_id, Pipeline.revision == PipelineRevision.number)
    revisions = join(Done, PipelineRevision, PipelineRevision.id == Done.pipeline_revision_id)
    return join(join(revisions, Pipeline, current), ReductionStep, ReductionStep.id == Done.step_id)


def _row(name: str, row: ReductionSoftwareVersion, applied: list[AppliedPolicy]) -> VersionRow:
    return VersionRow(
        software=name,
        version=row.version,
        image=row.image_reference,
        sha256=row.image_sha256,
        command=row.command,
        code=row.code,
        code_sha256=row.code_sha256,
        released=row.released,
        withdrawn=row.withdrawn,
        cosmetic=row.cosmetic,
        reprocess_from=None if row.reprocess_from_rank is None else version_of_rank(row.reprocess_from_rank),
        run_by=tuple(policy.name for policy in applied if policy.target == row.version),
        accepted_by=tuple(policy.name for policy in applied if row.version in policy.acceptable),
    )
