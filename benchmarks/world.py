"""The pipelines that are measured, and what is counted while that is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ccat_models.gap.answer import counts
from ccat_models.gap.evaluate import EvaluationOptions, evaluate
from ccat_models.pipeline.apply import apply
from ccat_models.pipeline.view import load_pipeline
from ccat_models.pipeline.yaml_source import parse
from ccat_models.sub_group.refresh import refresh
from ccat_models.tables.pipelines import Partitioning
from resources.ops_db import OpsDb

PIPELINE = "bench"
_KEPT_CHARACTERS = 80
NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
_STEP = "software: bench, version: 1.0.0, resources: {cpus: 1, memory_gb: 1, time_hours: 1}"
_HEAD = f"""schema_version: 1
name: {PIPELINE}
owners: [bench@example.org]
processing_location: local
data_grouping: {{name: bench, rules: [{{table: RawDataPackage, column: state, operator: eq, value: archived}}]}}
software: [{{name: bench, versions: [{{version: 1.0.0, command: ["true"]}}]}}]
"""
AD_HOC = f"""{_HEAD}
description: Three steps, the last one per ten scans.
mode: ad_hoc
trigger: {{type: manual}}
steps:
  - {{name: calibrate, group_by: [executed_obs_unit], {_STEP}}}
  - {{name: clean, depends_on: [calibrate], group_by: [executed_obs_unit], {_STEP}}}
  - {{name: map, depends_on: [clean], group_by: [obs_unit], {_STEP}}}
"""
STANDING = f"""{_HEAD}
description: One step for each scan, by itself.
mode: standing
trigger: {{type: continuous}}
steps:
  - {{name: calibrate, group_by: [executed_obs_unit], {_STEP}}}
"""


def declare(ops_db: OpsDb, yaml: str = AD_HOC) -> None:
    """Apply the pipeline."""
    with ops_db.request() as session:
        apply(session, parse(yaml, file="bench.yaml"), code_digests={}, applied_by="bench", now=NOON)


def plan_counts(ops_db: OpsDb, name: str) -> int:
    """Plan the pipeline and return how many runs that would be."""
    with ops_db.request() as session:
        pipeline = load_pipeline(session, name)
        for partitioning_id in sorted({step.partitioning_id for step in pipeline.steps}):
            refresh(session, session.get_one(Partitioning, partitioning_id), NOON)
        evaluate(session, pipeline, EvaluationOptions(NOON))
        return sum(count.now + count.afterwards for count in counts(session).values())


@contextmanager
def counting_statements(ops_db: OpsDb) -> Iterator[list[str]]:
    """Collect the statements that reach the database, of each the beginning: a thousand rows' INSERT is long."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):  # which psycopg2 sends unseen
            statements.append(statement[:_KEPT_CHARACTERS])

    sa.event.listen(ops_db.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(ops_db.engine, "before_cursor_execute", note)
