"""Reading runs by number, with the names of their step, software and configuration, each of which is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.marks import has_marks, marks_of
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import (
    Pipeline,
    PipelineRevision,
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStep,
    ReductionStepConfig,
    ReductionStepRevision,
    SubGroup,
)


@dataclass(frozen=True, slots=True)
class RunNode:
    """A run in a lineage: its step, its software, its requester; `marks` are those of `marks_of`.

    A lineage may have a million runs: they are streamed as columns, and values that many share are read once.
    """

    id: RunId
    pipeline: str
    step: str
    sub_group: str
    software: str
    version: str
    digest: str | None
    status: RunStatus
    created_at: datetime
    requested_by: str
    revision: int  # of its pipeline
    config_hash: str
    marks: tuple[str, ...] = ()


_STATUS = {status.value: status for status in RunStatus}  # the column's own look-up would take a tenth of the time
RUNS = (
    sa.select(Run.id, SubGroup.key, sa.type_coerce(Run.status, sa.String), Run.created_at, Run.requested_by)
    .add_columns(Run.step_revision_id, Run.software_version_id, Run.config_id)
    .join(SubGroup, SubGroup.id == Run.sub_group_id)
)


class RunReader:
    """Turns rows of `RUNS` into run nodes; steps, software versions and configurations are read once and kept."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()
        self._steps = dict[int, tuple[str, str, int]]()
        self._software = dict[int, tuple[str, str, str | None]]()
        self._configs = dict[int, tuple[str]]()
        self._marked = has_marks(self._connection)

    def nodes(self, rows: Sequence[sa.Row[Any]]) -> Iterator[RunNode]:
        """Yield the runs of these rows."""
        self._load(self._steps, _STEPS, {row[5] for row in rows})
        self._load(self._software, _SOFTWARE, {row[6] for row in rows})
        self._load(self._configs, _CONFIGS, {row[7] for row in rows})
        marks = marks_of(self._connection, [row[0] for row in rows]) if self._marked else {}
        for run_id, key, status, created_at, by, revision_id, version_id, config_id in rows:
            pipeline, step, revision = self._steps[revision_id]
            software = self._software[version_id]
            (config_hash,) = self._configs[config_id]
            yield RunNode(
                run_id,
                pipeline,
                step,
                key,
                *software,
                _STATUS[status],
                created_at,
                by,
                revision,
                config_hash,
                marks.get(run_id, ()),
            )

    def _load(self, known: dict[int, Any], query: sa.Select[Any], ids: set[int]) -> None:
        new = ids - known.keys()
        if new:
            found = self._connection.execute(query, {"ids": sorted(new)})
            known.update((row[0], tuple(row[1:])) for row in found)


_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_STEPS = (
    sa.select(ReductionStepRevision.id, Pipeline.name, ReductionStep.name, PipelineRevision.number)
    .join(ReductionStep, ReductionStep.id == ReductionStepRevision.step_id)
    .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
    .join(PipelineRevision, PipelineRevision.id == ReductionStepRevision.pipeline_revision_id)
    .where(ReductionStepRevision.id.in_(_IDS))
)
_SOFTWARE = (
    sa.select(ReductionSoftwareVersion.id, ReductionSoftware.name, ReductionSoftwareVersion.version)
    .add_columns(sa.func.coalesce(ReductionSoftwareVersion.image_sha256, ReductionSoftwareVersion.code_sha256))
    .join(ReductionSoftware, ReductionSoftware.id == ReductionSoftwareVersion.software_id)
    .where(ReductionSoftwareVersion.id.in_(_IDS))
)
_CONFIGS = sa.select(ReductionStepConfig.id, ReductionStepConfig.config_hash).where(ReductionStepConfig.id.in_(_IDS))
