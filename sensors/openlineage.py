import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import dagster as dg
from openlineage.client.event_v2 import RunEvent
from pydantic import BaseModel

from ccat_models.clock import Clock
from ccat_models.run.endings import Ending, endings_after
from ccat_models.tables.base import RunId
from resources.openlineage import OpenLineageReceiver, ReceiverUnavailable
from resources.ops_db import OpsDb, Session
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 30
RUNS_PER_TICK = 50
_SETTLES_AFTER = timedelta(minutes=10)  # a change with a lower number may be committed after one with a higher

_LOG = logging.getLogger(__name__)

EventsOf = Callable[[Session, Sequence[RunId]], Mapping[RunId, Sequence[RunEvent]]]


class Cursor(BaseModel):
    """The sensor's cursor.

    The ends of runs up to the change `behind` are all sent. `also` holds the later changes that are sent, with their
    times. `rejected` counts the events that the receiver rejected.
    """

    behind: int = 0
    also: dict[int, datetime] = {}
    rejected: int = 0


@dataclass
class _Sent:
    """The runs whose events arrived, how many of these were rejected, and why sending stopped, "" if it did not."""

    ended: list[Ending] = field(default_factory=list)
    rejected: int = 0
    problem: str = ""


def openlineage_sensor(
    ops_db: Callable[[], OpsDb], receiver: OpenLineageReceiver, events_of: EventsOf, clock: Clock
) -> dg.SensorDefinition:
    """Return the sensor that sends a receiver the events of the runs that ended, in order, each at least once.

    The cursor advances to the last event that has arrived. If the process dies before the cursor is stored, events are
    sent again; the receiver recognizes them by their run's UUID. A receiver that does not answer delays only this
    sensor. An event that the receiver rejects is logged and not sent again; the later ones are sent.
    """

    @dg.sensor(
        name="openlineage",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Sends OpenLineage events of runs that ended to {receiver.url}.",
    )
    def openlineage(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        cursor = read_cursor(context.cursor, Cursor())
        with ops_db().read() as session:
            ended = endings_after(session, cursor.behind, published=cursor.also, limit=RUNS_PER_TICK)
            events = events_of(session, [ending.run_id for ending in ended]) if ended else {}
        sent = _send(receiver, ended, events)
        if sent.ended:
            cursor = _moved(cursor, sent, clock())
            context.update_cursor(cursor.model_dump_json())
        return dg.SkipReason(_summary(cursor, sent))

    return openlineage


def _send(receiver: OpenLineageReceiver, ended: Sequence[Ending], events: Mapping[RunId, Sequence[RunEvent]]) -> _Sent:
    """Send the events of one run after another; stop at the first that does not arrive."""
    sent = _Sent()
    try:
        for ending in ended:
            for why in receiver.send(events[ending.run_id]):
                _LOG.error("rejected, and not sent again: %s", why)
                sent.rejected += 1
            sent.ended.append(ending)
    except ReceiverUnavailable as error:
        _LOG.error("events are kept for the next tick: %s", error)
        sent.problem = str(error)
    return sent


def _summary(cursor: Cursor, sent: _Sent) -> str:
    summary = sent.problem or (f"the events of {len(sent.ended)} runs were sent" if sent.ended else "no run has ended")
    return f"{summary}; rejected events so far: {cursor.rejected}, see the log" if cursor.rejected else summary


def _moved(cursor: Cursor, sent: _Sent, now: datetime) -> Cursor:
    """Return the cursor after what was sent: it is past the changes that are old enough, and lists the newer ones."""
    also = cursor.also | {one.change_id: one.at for one in sent.ended}
    behind = max([cursor.behind, *(number for number, at in also.items() if at < now - _SETTLES_AFTER)])
    later = {number: at for number, at in also.items() if number > behind}
    return Cursor(behind=behind, also=later, rejected=cursor.rejected + sent.rejected)
