from collections.abc import Callable, Sequence
from datetime import timedelta

import dagster as dg
from pydantic import BaseModel

from ccat_models.clock import Clock
from ccat_models.gap.reason_counts import CHANGES_FOR
from ccat_models.product.overview import Overview, newest_change, read_overviews
from resources.ops_db import OpsDb
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 60
FAILED_WITHIN = timedelta(days=7)

Describe = Callable[[Overview], dg.AssetMaterialization]
DescribeAll = Callable[[Sequence[Overview]], dg.AssetMaterialization]


class Cursor(BaseModel):
    """The sensor's cursor: the newest changes it has seen, and by pipeline the overview that was published then."""

    status: int = 0
    count: int = 0
    told: dict[str, str] = {}  # the name that running instances have stored


def overview_sensor(
    ops_db: Callable[[], OpsDb], describe: Describe, describe_all: DescribeAll, clock: Clock
) -> dg.SensorDefinition:
    """Return the sensor that keeps the overviews of each pipeline and of all up to date, at most once a minute.

    Idle, it reads once. An overview that has not changed is not published again.
    """

    @dg.sensor(
        name="overview",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Keeps the overviews, of each pipeline and of all, up to date: reasons, runs, failures, disk.",
    )
    def overview(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        cursor = read_cursor(context.cursor, Cursor())
        with ops_db().read() as session:
            newest = newest_change(session)
            is_counting = newest.counted_at is not None and newest.counted_at > clock() - CHANGES_FOR
            if (newest.status, newest.count) == (cursor.status, cursor.count) and not is_counting:
                return dg.SkipReason("nothing has changed")
            found = read_overviews(session, clock() - FAILED_WITHIN)
        count = _publish(context.instance, found, cursor.told, describe)
        if count:
            context.instance.report_runless_asset_event(describe_all(found))
        published = {one.pipeline: str(one) for one in found}
        context.update_cursor(Cursor(status=newest.status, count=newest.count, told=published).model_dump_json())
        return dg.SkipReason(f"the overviews of {count} pipelines were published")

    return overview


def _publish(
    instance: dg.DagsterInstance, found: Sequence[Overview], published: dict[str, str], describe: Describe
) -> int:
    changed = [one for one in found if published.get(one.pipeline) != str(one)]
    for one in changed:
        instance.report_runless_asset_event(describe(one))
    return len(changed)
