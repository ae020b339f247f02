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
    """The sensor's cursor: up to where Dagster knows what ops-db holds, and when all of that was last compared."""

    database: str
    marks: Marks
    compared_at: datetime


@dataclass(frozen=True)
class RawDataPublisher:
    """The pieces of work, each to be repeated at will; each says whether it came to its end.

    What is new is all that came after marks, everything for None.
    """

    add: Piece
    observe: Piece
    hide: Piece

    def show(self, instance: dg.DagsterInstance, session: Session, told: Marks | None, now: Marks) -> bool:
        """Do all that is to be done and say whether nothing is left."""
        if not self.add(instance, session, told):
            return False
        if told is not None and _packages(told) == _packages(now):
            return True
        if not self.observe(instance, session, told):
            return False
        return told is not None or self.hide(instance, session, told)


def raw_data_sensor(ops_db: Callable[[], OpsDb], mirror: RawDataPublisher, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that shows new sub-groups and packages, and hides what is beyond the partition horizon.

    Memberships are brought up to date by others. Idle, it reads once and writes nothing. Once an hour, and where its
    cursor is lost or speaks of another database, it compares everything.
    """

    @dg.sensor(
        name="raw_data",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows newly archived packages and the sub-groups they make.",
    )
    def raw_data(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        database, now = ops_db(), clock()
        name = database.url.render_as_string()
        with database.read() as session:
            marks = read_marks(session)  # first of all: what comes after them is seen by the next tick
        told = _told(context.cursor, name, marks)
        if told is not None and now - told.compared_at >= _COMPARE_EVERY:
            told = None
        if told is not None and told.marks == marks:
            return dg.SkipReason("nothing has come")
        with database.read() as session:
            if not mirror.show(context.instance, session, None if told is None else told.marks, marks):
                return dg.SkipReason("there is more to show than one tick can")
        compared_at = now if told is None else told.compared_at
        context.update_cursor(Cursor(database=name, marks=marks, compared_at=compared_at).model_dump_json())
        return dg.SkipReason("everything was compared" if told is None else "what has come was shown")

    return raw_data


def _told(cursor: str | None, database: str, marks: Marks) -> Cursor | None:
    """Return the cursor; None where there is none, or it cannot be of this database as it is."""
    try:
        told = None if cursor is None else Cursor.model_validate_json(cursor)
    except ValidationError:
        return None
    return None if told is None or told.database != database or marks.is_before(told.marks) else told


def _packages(marks: Marks) -> tuple[object, ...]:
    return marks.package, marks.archived, marks.change, marks.sub_group
