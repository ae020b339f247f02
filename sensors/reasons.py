from collections.abc import Callable

import dagster as dg
from pydantic import BaseModel

from ccat_models.clock import Clock
from ccat_models.gap.reason_changes import Counts, counted_since, newest_counts, newest_row, open_sub_groups
from ccat_models.gap.reason_counts import CHANGES_FOR
from ccat_models.tables.base import StepId
from resources.ops_db import OpsDb, Session
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 60
ROWS_SHOWN = 50


class Cursor(BaseModel):
    """The sensor's cursor: the last published row that cannot change any more, and all counts as published."""

    row: int = 0
    counts: dict[StepId, dict[str, int]] = {}


Describe = Callable[[str, str, dict[str, int], list[tuple[str, str, int | None]]], dg.AssetObservation]


def reasons_sensor(ops_db: Callable[[], OpsDb], describe: Describe, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that publishes on each step's asset how many of its sub-groups have which reason.

    It does so at most once a minute, for steps of which a number has changed; Dagit draws the numbers over time. Idle,
    it reads once.
    """

    @dg.sensor(
        name="reasons",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes on each step why its sub-groups are, or are not, run.",
    )
    def reasons(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        cursor = read_cursor(context.cursor, Cursor())
        with ops_db().read() as session:
            counts, row = _counts(session, cursor, clock)
            changed = [step_id for step_id, numbers in counts.items() if cursor.counts.get(step_id) != numbers]
            for step_id in changed:
                step = open_sub_groups(session, step_id, ROWS_SHOWN)
                if step is not None:
                    event = describe(step.pipeline, step.step, dict(counts[step_id]), list(step.rows))
                    context.instance.report_runless_asset_event(event)
        if changed or row != cursor.row:
            published = {step_id: dict(numbers) for step_id, numbers in counts.items()}
            context.update_cursor(Cursor(row=row, counts=published).model_dump_json())
        return dg.SkipReason(
            f"the reasons of {len(changed)} steps were published" if changed else "no reason has changed"
        )

    return reasons


def _counts(session: Session, cursor: Cursor, clock: Clock) -> tuple[Counts, int]:
    """Return the counts now, and the row of the next cursor; all counts are read if the cursor's row is missing."""
    rows = counted_since(session, cursor.row) if cursor.row else []
    if not rows or rows[0].id != cursor.row:
        return newest_counts(session), newest_row(session, clock() - CHANGES_FOR)
    counts = {step_id: dict(numbers) for step_id, numbers in cursor.counts.items()}
    for row in rows[1:]:
        counts.setdefault(row.step_id, {})[row.reason] = row.count
    settled = [row.id for row in rows if row.at < clock() - CHANGES_FOR]
    return counts, max(settled, default=cursor.row)
