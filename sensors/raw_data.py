from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel, ValidationError

from ccat_models.clock import Clock
from ccat_models.sub_group.activity import Marks, read_marks
from resources.ops_db import OpsDb, Session

INTERVAL_SECONDS = 10
_COMPARE_EVERY = timedelta(hours=1)

Piece = Callable[[dg.DagsterInstance, Session, Marks | None], bool]


class Cursor(BaseModel):
    """The sensor's cursor: of which database, up to which marks it is published, and when all was last compared."""

    database: str
    marks: Marks
    compared_at: datetime


@dataclass(frozen=True)
class RawDataPublisher:
    """The three pieces of work; each says whether it was finished, and may be repeated.

    A piece works on what is newer than the marks it is given, or on everything for None.
    """

    add_partitions: Piece
    publish_packages: Piece
    hide_partitions: Piece

    def publish(self, instance: dg.DagsterInstance, session: Session, until: Marks | None, now: Marks) -> bool:
        """Publish what is newer than `until`; say whether all of it is done."""
        if not self.add_partitions(instance, session, until):
            return False
        if until is not None and _packages(until) == _packages(now):
            return True
        if not self.publish_packages(instance, session, until):
            return False
        return until is not None or self.hide_partitions(instance, session, until)


def raw_data_sensor(ops_db: Callable[[], OpsDb], publisher: RawDataPublisher, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that publishes new sub-groups and packages, and hides those beyond the partition horizon.

    It does not update which packages belong to which sub-group: requests and the sensor `gaps` do. Idle, it reads once
    and writes nothing. Once an hour, and where its cursor is lost or is of another database, it compares everything.
    """

    @dg.sensor(
        name="raw_data",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes newly archived packages and the sub-groups they form.",
    )
    def raw_data(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        database, now = ops_db(), clock()
        name = database.url.render_as_string()
        with database.read() as session:
            marks = read_marks(session)  # before all else: what arrives later is left for the next tick
        cursor = _read(context.cursor, name, marks)
        if cursor is not None and now - cursor.compared_at >= _COMPARE_EVERY:
            cursor = None
        if cursor is not None and cursor.marks == marks:
            return dg.SkipReason("nothing new has arrived")
        with database.read() as session:
            if not publisher.publish(context.instance, session, None if cursor is None else cursor.marks, marks):
                return dg.SkipReason("there is more to publish than one tick has time for")
        compared_at = now if cursor is None else cursor.compared_at
        context.update_cursor(Cursor(database=name, marks=marks, compared_at=compared_at).model_dump_json())
        return dg.SkipReason("everything was compared" if cursor is None else "new arrivals were published")

    return raw_data


def _read(text: str | None, database: str, marks: Marks) -> Cursor | None:
    """Return the cursor; None where there is none, or it is of another database or ahead of this one."""
    try:
        cursor = None if text is None else Cursor.model_validate_json(text)
    except ValidationError:
        return None
    return None if cursor is None or cursor.database != database or marks.is_before(cursor.marks) else cursor


def _packages(marks: Marks) -> tuple[object, ...]:
    return marks.package, marks.archived, marks.change, marks.sub_group
