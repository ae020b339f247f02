"""Releasing and withdrawing versions of programs, and the consequences for the steps that use them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration, NotFound, Refused
from ccat_models.pipeline.applied_policies import AppliedPolicy, applied_policies, find_software
from ccat_models.pipeline.checks import find_problems
from ccat_models.pipeline.diff import differences, render_differences
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.document import CODE_IDENTITY, Document, declared_version_document, version_document
from ccat_models.pipeline.parts import SoftwareDeclaration, SoftwareVersionDeclaration
from ccat_models.pipeline.problems import Problem, problems_of
from ccat_models.pipeline.write import fill_version
from ccat_models.tables.base import StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import ReductionSoftware, ReductionSoftwareVersion, SubGroupMember


@dataclass(frozen=True)
class Consequence:
    """What a release or withdrawal changes for a step: the version it runs, and the versions whose products it accepts.

    `sub_groups` counts those whose newest completed run used a version that is no longer accepted.
    """

    pipeline: str
    step: str
    old_target: str
    new_target: str
    no_longer_accepted: tuple[str, ...]
    newly_accepted: tuple[str, ...]
    sub_groups: int


@dataclass(frozen=True)
class Released:
    """A version that was released or withdrawn, and the consequences; `run_by` are the steps that run it now."""

    software: str
    version: str
    changed: bool
    consequences: tuple[Consequence, ...]
    run_by: tuple[str, ...]
    accepted_by: tuple[str, ...]


def complete(session: Session, software: str, document: Mapping[str, Any]) -> SoftwareVersionDeclaration:
    """Return the version to release, from a document with the fields of a declared version.

    Fields of a version that is registered already may be left out. A new version with neither image nor command takes
    the command and the names of the code files of the newest version. Raises NotFound for an unknown program, and
    InvalidDeclaration if a field is missing, malformed or contradicts another.
    """
    program = find_software(session, software)
    whole = {key: value for key, value in document.items() if value is not None}
    if "image" not in whole and "command" not in whole:
        whole = _inherited(session, program, str(whole["version"])) | whole
    declared = _checked(software, whole)
    if not declared.code and declared.image is None:
        place = _place(software, declared.version)
        raise InvalidDeclaration(f"{place}: code: required: a command is known by its code's digest")
    return declared


def suppose(session: Session, software: str, document: Mapping[str, Any], now: datetime) -> Released:
    """Release a version to see the consequences; the caller rolls the transaction back.

    The version is taken to run the same code as the newest version. Raises as `complete` and `release` do.
    """
    program = find_software(session, software)
    base = _base(session, program, str(document["version"]))
    if base is None:
        raise Refused(f"software {software}: has no version yet, and so no step uses it")
    stored = {key: value for key, value in version_document(base).items() if key != "code_sha256"}
    flags = {"released": True, "withdrawn": False, "cosmetic": False, "reprocess_from": None}
    declared = _checked(software, {**stored, **flags, **document})
    code = CodeDigest(base.code_directory or "", base.code_sha256 or "") if base.code else None
    return release(session, software, declared, code, now)


def release(
    session: Session, software: str, version: SoftwareVersionDeclaration, code: CodeDigest | None, now: datetime
) -> Released:
    """Release a version, in a request's transaction. Releasing the same content again changes nothing.

    Raises NotFound for an unknown program, Refused for a version that was withdrawn or is released with other content,
    and ValueError if its code's digest is missing.
    """
    program = find_software(session, software)
    digests = {} if code is None else {(software, version.version): code}
    before = applied_policies(session, program.id)
    row = _find(session, program, version.version)
    if row is not None and row.withdrawn:
        what = "was withdrawn; release another version, or declare `withdrawn: false` in a pipeline's file"
        raise Refused(f"{_place(software, version.version)}: {what}")
    wanted = declared_version_document(software, version, digests, row)
    if row is not None and not _is_change(software, row, wanted):
        return _released(session, program, version.version, before, changed=False)
    if row is None:
        row = ReductionSoftwareVersion(software_id=program.id, version=version.version, created_at=now)
        session.add(row)
    fill_version(row, wanted)
    session.flush()
    return _released(session, program, version.version, before, changed=True)


def withdraw(session: Session, software: str, version: str) -> Released:
    """Withdraw a version, in a request's transaction: it is not run any more, its products stay.

    Withdrawing it again changes nothing. Raises NotFound with the known programs or versions.
    """
    program = find_software(session, software)
    row = _find(session, program, version)
    if row is None:
        raise NotFound(f"version of {software}", version, [known.version for known in _versions(session, program)])
    before, changed = applied_policies(session, program.id), not row.withdrawn
    if changed:
        row.withdrawn = True
        session.flush()
    return _released(session, program, version, before, changed=changed)


def _inherited(session: Session, program: ReductionSoftware, version: str) -> Document:
    base = _base(session, program, version)
    if base is None:
        return {}
    known = version_document(base)
    if base.version == version:
        return {key: known[key] for key in ("image", "sha256", "command", "code", "code_directory")}
    if base.image_reference is not None:
        raise InvalidDeclaration(
            f"{_place(program.name, version)}: image: required: the newest version, {base.version}, is an image too"
        )
    return {key: known[key] for key in ("command", "code", "code_directory")}


def _checked(software: str, document: Mapping[str, Any]) -> SoftwareVersionDeclaration:
    try:
        declared = SoftwareVersionDeclaration.model_validate(document)
    except ValidationError as error:
        raise _invalid(software, document, problems_of(error, SoftwareVersionDeclaration, document)) from None
    program = SoftwareDeclaration.model_construct(name=software, versions=(declared,))
    inside = len(("software", 0, "versions", 0))
    found = [
        Problem(problem.path[inside:], problem.message, problem.value, problem.choices)
        for problem in find_problems((), (program,), None)
    ]
    if declared.cosmetic and declared.reprocess_from is not None:
        what = "a cosmetic release makes nothing stale, and reprocess_from does: say one of them"
        found.append(Problem(("reprocess_from",), what, declared.reprocess_from))
    if found:
        raise _invalid(software, document, found)
    return declared


def _invalid(software: str, document: Mapping[str, Any], problems: Collection[Problem]) -> InvalidDeclaration:
    place = _place(software, str(document["version"]))
    return InvalidDeclaration("\n".join(f"{place}: {problem}" for problem in problems))


def _place(software: str, version: str) -> str:
    return f"software {software} {version}"


def _versions(session: Session, program: ReductionSoftware) -> list[ReductionSoftwareVersion]:
    version = ReductionSoftwareVersion
    return list(session.scalars(sa.select(version).where(version.software_id == program.id).order_by(version.rank)))


def _find(session: Session, program: ReductionSoftware, version: str) -> ReductionSoftwareVersion | None:
    return next((row for row in _versions(session, program) if row.version == version), None)


def _base(session: Session, program: ReductionSoftware, version: str) -> ReductionSoftwareVersion | None:
    """Return the version itself if it is registered, else the newest version, None if there is none."""
    versions = _versions(session, program)
    return _find(session, program, version) or (versions[-1] if versions else None)


def _is_change(software: str, row: ReductionSoftwareVersion, wanted: Document) -> bool:
    """Say whether releasing a registered version changes anything; raise Refused if it has other content."""
    different = differences(version_document(row), wanted)
    if row.released:
        kept, what = different, "is released already, with other content"
    else:  # before a release, the flags may change freely
        kept, what = tuple(one for one in different if one.path in CODE_IDENTITY), "is registered with other content"
    if kept:
        raise Refused(f"{_place(software, row.version)}: {what}; release another version\n{render_differences(kept)}")
    return bool(different)


def _released(
    session: Session, program: ReductionSoftware, version: str, before: tuple[AppliedPolicy, ...], *, changed: bool
) -> Released:
    after = applied_policies(session, program.id)
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    return Released(
        software=program.name,
        version=version,
        changed=changed,
        consequences=tuple(_consequence(session, program, old, new) for old, new in pairs),
        run_by=tuple(policy.name for policy in after if policy.target == version),
        accepted_by=tuple(policy.name for policy in after if version in policy.acceptable),
    )


def _consequence(session: Session, program: ReductionSoftware, old: AppliedPolicy, new: AppliedPolicy) -> Consequence:
    lost = tuple(version for version in old.acceptable if version not in new.acceptable)
    return Consequence(
        pipeline=new.pipeline,
        step=new.step,
        old_target=old.target,
        new_target=new.target,
        no_longer_accepted=lost,
        newly_accepted=tuple(version for version in new.acceptable if version not in old.acceptable),
        sub_groups=_count_current(session, program, new.step_id, lost) if lost else 0,
    )


def _count_current(session: Session, program: ReductionSoftware, step_id: StepId, versions: tuple[str, ...]) -> int:
    """Return the number of the step's sub-groups whose newest completed run used one of these versions."""
    current = (
        sa.select(sa.func.max(Run.id))
        .where(
            Run.step_id == step_id,
            Run.status == RunStatus.COMPLETED,
            Run.is_result,
            sa.exists().where(SubGroupMember.sub_group_id == Run.sub_group_id),
        )
        .group_by(Run.sub_group_id)
    )
    query = (
        sa.select(sa.func.count())
        .select_from(Run)
        .join(Run.software_version)
        .where(
            Run.id.in_(current),
            ReductionSoftwareVersion.software_id == program.id,
            ReductionSoftwareVersion.version.in_(versions),
        )
    )
    return session.scalar(query) or 0
