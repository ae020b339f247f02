"""The provenance record: the whole origin of runs as one value, from which every export is written."""

import enum
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ccat_models.lineage.record_packages import PackageRead, PackageRecord, TaintRecord
from ccat_models.tables.base import PackageId, ProductId, RunId
from ccat_models.tables.execution import ENDED, FailureClass, RunStatus
from ccat_models.tables.products import DataProductType
from ccat_models.tables.raw_data import PackageContent
from ccat_models.tables.space import SpaceState


class ScopeKind(enum.Enum):
    """What a record is about."""

    PRODUCT = "product"
    RUN = "run"
    PIPELINE = "pipeline"
    SOME_RUNS = "runs"


@dataclass(frozen=True)
class RecordScope:
    """What a record is about: products of a run with their lineage, single runs, or all runs of a pipeline.

    `run_id` is the run; `product_id` is set if only one of its products is meant.
    """

    kind: ScopeKind
    name: str  # as the user wrote it
    pipeline: str
    run_id: RunId | None = None
    product_id: ProductId | None = None


@dataclass(frozen=True)
class AttemptRecord:
    """One try at a run, without command line and directory: these contain paths of one machine."""

    number: int
    state: str
    backend: str
    runtime: str | None
    host: str | None
    job_id: str | None
    created_at: datetime
    sent_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    wall_seconds: float | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    image_sha256: str | None
    failure_class: FailureClass | None
    failure_message: str | None
    evidence: Mapping[str, str]


@dataclass(frozen=True)
class StatusChange:
    """A change of a run's status."""

    before: str | None
    after: str
    at: datetime


@dataclass(frozen=True)
class ProductRead:
    """A product that a run read, with its checksum then."""

    product_id: ProductId
    sha256: str


@dataclass(frozen=True)
class MetricRecord:
    """A number that a run's program computed about its products."""

    name: str
    value: float
    minimum: float | None
    maximum: float | None
    product_id: ProductId


@dataclass(frozen=True)
class WaiverRecord:
    """Who accepted a run's products although a check failed, why and when."""

    id: int
    reason: str
    waived_by: str
    waived_at: datetime


@dataclass(frozen=True)
class CheckRecord:
    """The result of a declared limit for a run; it may have been superseded."""

    id: int
    name: str
    metric: str
    value: float | None
    minimum: float | None
    maximum: float | None
    blocking: bool
    passed: bool
    judged_at: datetime
    superseded_at: datetime | None
    waiver: WaiverRecord | None


@dataclass(frozen=True)
class RunRecord:
    """A run with its attempts, inputs and checks; step, software and configuration are referred to by number.

    Documents need all of it. It is read for a limited number of runs at a time, so that memory is bounded.
    """

    id: RunId
    sub_group: str
    dimensions: Mapping[str, Any]
    status: RunStatus
    reason: str
    requested_by: str
    created_at: datetime
    status_changed_at: datetime
    cancel_requested_by: str | None
    cancel_requested_at: datetime | None
    failure_class: FailureClass | None
    failure_message: str | None
    step_id: int
    software_id: int
    config_id: int
    regenerates: RunId | None  # the run whose products it regenerates
    restored: bool  # it made equal products; if not, once completed, its products replace that run's
    attempts: tuple[AttemptRecord, ...]
    history: tuple[StatusChange, ...]
    packages: tuple[PackageRead, ...]
    products: tuple[ProductRead, ...]
    metrics: tuple[MetricRecord, ...]
    checks: tuple[CheckRecord, ...]
    taints: tuple[int, ...]

    @property
    def started_at(self) -> datetime:
        """Return when its first attempt started, else when it was requested."""
        return min((one.started_at for one in self.attempts if one.started_at), default=self.created_at)

    @property
    def ended_at(self) -> datetime | None:
        """Return when it ended, None while it is in flight."""
        return max(self.status_changed_at, self.started_at) if self.status in ENDED else None


@dataclass(frozen=True)
class ProductRecord:
    """A product, its place, what happened to it if it was removed, and the product that superseded it."""

    id: ProductId
    run_id: RunId
    name: str  # PIPELINE/STEP/SUB_GROUP/PATH
    type: DataProductType
    path: str
    size_bytes: int
    sha256: str
    created_at: datetime
    location: str | None
    location_path: str | None  # relative to the location
    purged: bool
    removed: SpaceState | None  # None while it exists
    restored_by: RunId | None  # the run that regenerated it last
    superseded_by: ProductId | None


@dataclass(frozen=True)
class SoftwareRecord:
    """A software version: its image and its digest, or its command and the digest of its code."""

    id: int
    name: str
    version: str
    description: str
    image_reference: str | None
    image_sha256: str | None
    command: tuple[str, ...]
    code_sha256: str | None
    created_at: datetime


@dataclass(frozen=True)
class ConfigRecord:
    """The parameters that a step gave its program."""

    id: int
    config_hash: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class StepRecord:
    """A step in one revision of its pipeline, and who applied the revision."""

    id: int
    pipeline: str
    step: str
    revision: int
    order: int
    description: str
    applied_by: str
    applied_at: datetime
    upstreams: tuple[str, ...]


@dataclass(frozen=True)
class ProvenanceRecord:
    """The record of some runs, their products and their inputs; each mapping is ordered by its numbers."""

    scope: RecordScope
    runs: Mapping[RunId, RunRecord]
    products: Mapping[ProductId, ProductRecord]
    packages: Mapping[PackageContent, PackageRecord]
    software: Mapping[int, SoftwareRecord]
    configs: Mapping[int, ConfigRecord]
    steps: Mapping[int, StepRecord]
    taints: Mapping[int, TaintRecord]

    @property
    def people(self) -> tuple[str, ...]:
        """Return the names of all requesters and of all who applied, cancelled, waived, tainted or lifted, sorted."""
        names = {run.requested_by for run in self.runs.values()}
        names |= {run.cancel_requested_by for run in self.runs.values() if run.cancel_requested_by}
        names |= {step.applied_by for step in self.steps.values()}
        names |= {check.waiver.waived_by for run in self.runs.values() for check in run.checks if check.waiver}
        for taint in self.taints.values():
            names |= {taint.tainted_by} | ({taint.lifted_by} if taint.lifted_by else set())
        return tuple(sorted(names))

    def made_by(self, run_id: RunId) -> tuple[ProductRecord, ...]:
        """Return the products of a run, by path."""
        return self._by_run.get(run_id, ())

    def contents_of(self, package_id: PackageId) -> tuple[PackageRecord, ...]:
        """Return the records of a package, one for each of its contents."""
        return self._by_package.get(package_id, ())

    @cached_property
    def _by_package(self) -> Mapping[PackageId, tuple[PackageRecord, ...]]:
        found = defaultdict[PackageId, list[PackageRecord]](list)
        for package in self.packages.values():
            found[package.id].append(package)
        return {package_id: tuple(contents) for package_id, contents in found.items()}

    @cached_property
    def _by_run(self) -> Mapping[RunId, tuple[ProductRecord, ...]]:
        found = defaultdict[RunId, list[ProductRecord]](list)
        for product in self.products.values():
            found[product.run_id].append(product)
        return {run_id: tuple(sorted(made, key=lambda one: one.path)) for run_id, made in found.items()}
