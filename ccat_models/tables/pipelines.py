import enum
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import BIG_ID, Base, PackageId, StepId, SubGroupId, stored_enum


class TriggerType(enum.Enum):
    """When gaps of a pipeline are looked for."""

    CONTINUOUS = "continuous"
    CRON = "cron"
    MANUAL = "manual"


class PipelineMode(enum.Enum):
    """A standing pipeline fills its gaps permanently, an ad-hoc one answers one question."""

    STANDING = "standing"
    AD_HOC = "ad_hoc"


class VersionPolicy(enum.Enum):
    """Which software versions a step runs, and whose products it accepts."""

    PINNED = "pinned"
    COMPATIBLE = "compatible"
    LATEST = "latest"


class FanIn(enum.Enum):
    """Whether a step waits for all upstream sub-groups, or uses those that are complete now."""

    ANY = "any"
    ALL = "all"


class Keep(enum.Enum):
    """How long the products of a step are kept when space is needed."""

    ALWAYS = "always"
    UNTIL_SUPERSEDED = "until_superseded"
    WHILE_NEEDED = "while_needed"
    DAYS = "days"


class DataGrouping(Base):
    """Which packages belong together: filter rules that are joined by AND."""

    __tablename__ = "data_grouping"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    description: Mapped[str] = mapped_column(default="")
    filter_rules: Mapped[list[Any]]
    instrument_module_id: Mapped[int | None] = mapped_column(sa.Integer, sa.ForeignKey("instrument_module.id"))
    created_at: Mapped[datetime]


class Partitioning(Base):
    """A data grouping divided by an ordered list of dimensions; all steps with this grouping and list share it."""

    __tablename__ = "partitioning"
    __table_args__ = (sa.UniqueConstraint("data_grouping_id", "group_by"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    data_grouping_id: Mapped[int] = mapped_column(sa.ForeignKey("data_grouping.id"))
    group_by: Mapped[str] = mapped_column(sa.String(500))  # names joined by "+", "" for []

    data_grouping: Mapped[DataGrouping] = relationship()

    @property
    def dimensions(self) -> list[str]:
        """Return the names of the dimensions in declared order."""
        return self.group_by.split("+") if self.group_by else []


class SubGroup(Base):
    """One part of a partitioning; users see `key`, SQL computes `natural_key` from the dimensions' values."""

    __tablename__ = "sub_group"
    __table_args__ = (
        sa.UniqueConstraint("partitioning_id", "key"),
        sa.UniqueConstraint("partitioning_id", "natural_key"),
    )

    id: Mapped[SubGroupId] = mapped_column(BIG_ID, primary_key=True)
    partitioning_id: Mapped[int] = mapped_column(sa.ForeignKey("partitioning.id"))
    key: Mapped[str] = mapped_column(sa.String(200))
    natural_key: Mapped[str] = mapped_column(sa.String(2000))
    dimensions: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    partitioning: Mapped[Partitioning] = relationship()


class SubGroupMember(Base):
    """An archived package in a sub-group; within a partitioning, a package is in one sub-group."""

    __tablename__ = "sub_group_member"
    __table_args__ = (
        sa.Index("ix_sub_group_member_sub_group", "sub_group_id", "raw_data_package_id"),
        {"sqlite_with_rowid": False},
    )

    partitioning_id: Mapped[int] = mapped_column(sa.ForeignKey("partitioning.id"), primary_key=True)
    raw_data_package_id: Mapped[PackageId] = mapped_column(
        BIG_ID, sa.ForeignKey("raw_data_package.id"), primary_key=True
    )
    sub_group_id: Mapped[SubGroupId] = mapped_column(sa.ForeignKey("sub_group.id"))


class ReductionSoftware(Base):
    """A reduction program, identified by its name."""

    __tablename__ = "reduction_software"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    description: Mapped[str] = mapped_column(default="")

    versions: Mapped[list["ReductionSoftwareVersion"]] = relationship(back_populates="software")


class ReductionSoftwareVersion(Base):
    """One version X.Y.Z: an image with its digest, or a command with the digest of its code.

    It is never edited once a run refers to it. `rank` orders versions in SQL. A cosmetic release makes no product
    stale; `reprocess_from_rank` makes products of older versions unacceptable; a withdrawn version is not run any more.
    """

    __tablename__ = "reduction_software_version"
    __table_args__ = (
        sa.UniqueConstraint("software_id", "version"),
        sa.CheckConstraint("image_reference IS NOT NULL OR command IS NOT NULL", name="something_to_run"),
        sa.CheckConstraint("image_reference IS NULL OR image_sha256 IS NOT NULL", name="image_has_digest"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    software_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_software.id"))
    version: Mapped[str] = mapped_column(sa.String(50))
    major: Mapped[int]
    rank: Mapped[int] = mapped_column(sa.BigInteger)
    image_reference: Mapped[str | None] = mapped_column(sa.String(500))
    image_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    command: Mapped[list[str] | None]
    code: Mapped[list[str]] = mapped_column(default=list)
    code_directory: Mapped[str | None] = mapped_column(sa.String(1000))
    code_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    released: Mapped[bool] = mapped_column(default=True)
    withdrawn: Mapped[bool] = mapped_column(default=False)
    cosmetic: Mapped[bool] = mapped_column(default=False)
    reprocess_from_rank: Mapped[int | None] = mapped_column(sa.BigInteger)
    created_at: Mapped[datetime]

    software: Mapped[ReductionSoftware] = relationship(back_populates="versions")


class ReductionStepConfig(Base):
    """The parameters of a step's program, never edited; the hash is the sha256 of their canonical JSON."""

    __tablename__ = "reduction_step_config"

    id: Mapped[int] = mapped_column(primary_key=True)
    parameters: Mapped[dict[str, Any]]
    config_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)


class Pipeline(Base):
    """A pipeline's identity, and what may change without a new revision."""

    __tablename__ = "pipeline"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    data_grouping_id: Mapped[int] = mapped_column(sa.ForeignKey("data_grouping.id"))
    processing_location_id: Mapped[int] = mapped_column(sa.Integer, sa.ForeignKey("data_location.id"))
    revision: Mapped[int]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]

    data_grouping: Mapped[DataGrouping] = relationship()
    steps: Mapped[list["ReductionStep"]] = relationship(back_populates="pipeline", order_by="ReductionStep.id")


class PipelineRevision(Base):
    """A declaration as it was applied, never edited."""

    __tablename__ = "pipeline_revision"
    __table_args__ = (sa.UniqueConstraint("pipeline_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(sa.ForeignKey("pipeline.id"))
    number: Mapped[int]
    declaration: Mapped[dict[str, Any]]
    description: Mapped[str] = mapped_column(default="")
    mode: Mapped[PipelineMode] = mapped_column(stored_enum(PipelineMode))
    trigger_type: Mapped[TriggerType] = mapped_column(stored_enum(TriggerType))
    trigger_config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    priority: Mapped[int] = mapped_column(default=0)
    max_in_flight: Mapped[int | None]
    partition_horizon_days: Mapped[int | None]
    owners: Mapped[list[str]] = mapped_column(default=list)
    applied_at: Mapped[datetime]
    applied_by: Mapped[str] = mapped_column(sa.String(200))

    pipeline: Mapped[Pipeline] = relationship()


class ReductionStep(Base):
    """A step's identity: its name in its pipeline, and how its data is divided into sub-groups."""

    __tablename__ = "reduction_step"
    __table_args__ = (sa.UniqueConstraint("pipeline_id", "name"),)

    id: Mapped[StepId] = mapped_column(BIG_ID, primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(sa.ForeignKey("pipeline.id"))
    name: Mapped[str] = mapped_column(sa.String(100))
    partitioning_id: Mapped[int] = mapped_column(sa.ForeignKey("partitioning.id"))

    pipeline: Mapped[Pipeline] = relationship(back_populates="steps")
    partitioning: Mapped[Partitioning] = relationship()


class ReductionStepRevision(Base):
    """A step in one revision of its pipeline, never edited; runs refer to it."""

    __tablename__ = "reduction_step_revision"
    __table_args__ = (
        sa.UniqueConstraint("pipeline_revision_id", "step_id"),
        sa.UniqueConstraint("id", "step_id"),
        sa.CheckConstraint("(keep = 'days') = (keep_days IS NOT NULL)", name="days_are_kept"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_revision_id: Mapped[int] = mapped_column(sa.ForeignKey("pipeline_revision.id"))
    step_id: Mapped[StepId] = mapped_column(sa.ForeignKey("reduction_step.id"), index=True)
    order: Mapped[int]
    description: Mapped[str] = mapped_column(default="")
    final: Mapped[bool] = mapped_column(default=False)
    fan_in: Mapped[FanIn] = mapped_column(stored_enum(FanIn))
    cooldown_seconds: Mapped[int] = mapped_column(default=0)
    settle_seconds: Mapped[int] = mapped_column(default=0)
    software_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_software.id"))
    pinned_version_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_software_version.id"))
    version_policy: Mapped[VersionPolicy] = mapped_column(stored_enum(VersionPolicy))
    config_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_step_config.id"))
    resources: Mapped[dict[str, Any]]
    retries: Mapped[dict[str, Any]]
    escalation: Mapped[dict[str, Any] | None]
    circuit_threshold: Mapped[int] = mapped_column(default=5)
    max_in_flight: Mapped[int | None]
    quality: Mapped[list[Any]] = mapped_column(default=list)
    keep: Mapped[Keep] = mapped_column(stored_enum(Keep))
    keep_days: Mapped[int | None]

    step: Mapped[ReductionStep] = relationship()
    pipeline_revision: Mapped[PipelineRevision] = relationship()
    software: Mapped[ReductionSoftware] = relationship()
    pinned_version: Mapped[ReductionSoftwareVersion] = relationship()
    config: Mapped[ReductionStepConfig] = relationship()
    upstreams: Mapped[list[ReductionStep]] = relationship(
        secondary="reduction_step_dependency", order_by="ReductionStep.id", viewonly=True
    )


class ReductionStepDependency(Base):
    """A step, in one revision, depends on another step of the same pipeline."""

    __tablename__ = "reduction_step_dependency"

    step_revision_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_step_revision.id"), primary_key=True)
    upstream_step_id: Mapped[StepId] = mapped_column(sa.ForeignKey("reduction_step.id"), primary_key=True)
