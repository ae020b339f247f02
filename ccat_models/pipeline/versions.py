"""Which version of its software a step runs, and whose products it accepts, computed in SQL."""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.tables.pipelines import ReductionSoftwareVersion, ReductionStepRevision, VersionPolicy

_PART = 10**6
_SEMVER = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_POLICY = ReductionStepRevision.version_policy.type

Version = type[ReductionSoftwareVersion]  # an alias of it
Policy = VersionPolicy | sa.SQLColumnExpression[VersionPolicy]
Id = int | sa.SQLColumnExpression[int]
"""A value, or the column of an enclosing query that holds it."""


def parse_version(version: str) -> tuple[int, int, int]:
    """Return the parts of X.Y.Z; raise ValueError for anything else."""
    match = _SEMVER.fullmatch(version)
    if match is None:
        raise ValueError(f"version must be X.Y.Z, three numbers below 1000000 without leading zeros, got {version!r}")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def version_rank(version: str) -> int:
    """Return a number by which versions X.Y.Z are ordered; raise ValueError for anything else."""
    major, minor, patch = parse_version(version)
    return (major * _PART + minor) * _PART + patch


def version_of_rank(rank: int) -> str:
    """Return the version X.Y.Z that has this rank."""
    return f"{rank // _PART**2}.{rank // _PART % _PART}.{rank % _PART}"


def target_version(policy: Policy, software_id: Id, pinned_version_id: Id) -> sa.ScalarSelect[int]:
    """Return the id of the version that a step runs now.

    pinned: exactly the pinned version; compatible: the newest released version of the pinned major version, not older
    than the pinned one; latest: the newest released version. Withdrawn versions are not run. If the policy finds no
    released version, the pinned one is run.
    """
    version, pinned = aliased(ReductionSoftwareVersion), aliased(ReductionSoftwareVersion)
    policy, software_id, pinned_version_id = _bound(policy, software_id, pinned_version_id)
    newest = (
        sa.select(version.id)
        .where(_may_be_run(version, pinned, policy, software_id))
        .order_by(version.rank.desc())
        .limit(1)
        .correlate_except(version)
        .scalar_subquery()
    )
    chosen = sa.case((policy == VersionPolicy.PINNED, pinned.id), else_=sa.func.coalesce(newest, pinned.id))
    return sa.select(chosen).where(pinned.id == pinned_version_id).correlate_except(version, pinned).scalar_subquery()


def versions_now(session: Session) -> dict[int, ReductionSoftwareVersion]:
    """Return of each step revision the version that it runs now."""
    revision = ReductionStepRevision
    wanted = target_version(revision.version_policy, revision.software_id, revision.pinned_version_id)
    query = sa.select(revision.id, ReductionSoftwareVersion).join(
        ReductionSoftwareVersion, ReductionSoftwareVersion.id == wanted
    )
    return dict(session.execute(query).tuples().all())


def versions_with_code(session: Session) -> Sequence[ReductionSoftwareVersion]:
    """Return the versions of which the code on disk is registered."""
    version = ReductionSoftwareVersion
    return session.scalars(sa.select(version).where(version.code_sha256.is_not(None))).all()


def acceptable_versions(policy: Policy, software_id: Id, pinned_version_id: Id) -> sa.Select[tuple[int]]:
    """Return the ids of the versions whose products a step accepts.

    pinned: exactly the pinned version; compatible: all of the pinned major version; latest: those that no newer
    released version up to the target supersedes (cosmetic versions supersede nothing). Under the last two policies,
    `reprocess_from` of a released version up to the target rejects all older versions.
    """
    version, pinned, target = (aliased(ReductionSoftwareVersion) for _ in range(3))
    policy, software_id, pinned_version_id = _bound(policy, software_id, pinned_version_id)
    newer = aliased(ReductionSoftwareVersion)
    superseded = (
        sa.select(newer.id)
        .where(
            newer.software_id == software_id,
            _released(newer),
            newer.rank <= target.rank,
            sa.or_(
                newer.reprocess_from_rank > version.rank,
                sa.and_(policy == VersionPolicy.LATEST, newer.rank > version.rank, sa.not_(newer.cosmetic)),
            ),
        )
        .correlate_except(newer)
        .exists()
    )
    allowed = sa.or_(policy == VersionPolicy.LATEST, version.major == pinned.major)
    return (
        sa.select(version.id)
        .join(pinned, pinned.id == pinned_version_id)
        .join(target, target.id == target_version(policy, software_id, pinned_version_id))
        .where(
            version.software_id == software_id,
            sa.or_(
                sa.and_(policy == VersionPolicy.PINNED, version.id == pinned.id),
                sa.and_(policy != VersionPolicy.PINNED, allowed, sa.not_(superseded)),
            ),
        )
        .correlate_except(version, pinned, target)
    )


def _may_be_run(
    version: Version,
    pinned: Version,
    policy: sa.SQLColumnExpression[VersionPolicy],
    software_id: sa.SQLColumnExpression[int],
) -> sa.ColumnElement[bool]:
    compatible = sa.and_(version.major == pinned.major, version.rank >= pinned.rank)
    return sa.and_(
        version.software_id == software_id,
        _released(version),
        sa.or_(policy == VersionPolicy.LATEST, compatible),
    )


def _released(version: Version) -> sa.ColumnElement[bool]:
    return sa.and_(version.released, sa.not_(version.withdrawn))


def _bound(
    policy: Policy, software_id: Id, pinned_version_id: Id
) -> tuple[sa.SQLColumnExpression[VersionPolicy], sa.SQLColumnExpression[int], sa.SQLColumnExpression[int]]:
    return (
        sa.literal(policy, _POLICY) if isinstance(policy, VersionPolicy) else policy,
        sa.literal(software_id) if isinstance(software_id, int) else software_id,
        sa.literal(pinned_version_id) if isinstance(pinned_version_id, int) else pinned_version_id,
    )
