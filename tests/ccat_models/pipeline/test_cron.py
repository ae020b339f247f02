from datetime import UTC, datetime

import pytest

from ccat_models.pipeline.cron import checked_cron, checked_time_zone, next_time

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("0 6 * * *", datetime(2026, 4, 2, 6, tzinfo=UTC)),
        ("0 12 * * *", datetime(2026, 4, 2, 12, tzinfo=UTC)),
        ("*/15 0-23/2 1,15 jan-MAR sun", datetime(2027, 1, 1, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0 0 29 2 */7", datetime(2032, 2, 29, tzinfo=UTC)),
        ("0 0 31 2 mon", datetime(2027, 2, 1, tzinfo=UTC)),
        ("0 0 31 2-3 *", datetime(2027, 3, 31, tzinfo=UTC)),
        ("59 23 31 12 7", datetime(2026, 12, 6, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_cron_expression_of_five_fields_stays_as_it_is_and_fires(expression: str, fires: datetime) -> None:
    assert checked_cron(expression) == expression
    assert next_time(expression, "UTC", NOON) == fires


@pytest.mark.parametrize(
    ("expression", "after", "fires"),
    [
        ("30 23 * * *", "2026-04-05T02:00", "2026-04-05T02:30"),
        ("30 23 * * *", "2026-04-05T02:45", "2026-04-06T03:30"),  # half past eleven came twice that night
        ("30 0 * * *", "2026-09-06T03:00", "2026-09-06T04:00"),  # there was no half past midnight
        ("30 0 * * *", "2026-09-06T04:05", "2026-09-07T03:30"),
        ("*/30 * * * *", "2026-04-05T03:01", "2026-04-05T03:30"),
    ],
)
def test_a_clock_that_is_changed_makes_nothing_fire_twice_or_never(expression: str, after: str, fires: str) -> None:
    moment, expected = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (after, fires))
    assert next_time(expression, "America/Santiago", moment) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("@daily", "cron expression must have 5 fields (minute hour day month weekday), has 1"),
        ("0 6 * * * *", "cron expression must have 5 fields (minute hour day month weekday), has 6"),
        ("60 6 * * *", "cron minute '60' must be within 0-59, in rising order"),
        ("0 5-3 * * *", "cron hour '5-3' must be within 0-23, in rising order"),
        ("0 6 0 * *", "cron day of month '0' must be within 1-31, in rising order"),
        ("0 6 * juni *", "cron month 'juni' must be within 1-12, in rising order"),
        ("0 6 * * mo-fr", "cron day of week 'mo-fr' must be within 0-7, in rising order"),
        ("*/0 6 * * *", "cron minute '*/0' must be within 0-59, in rising order"),
        ("5/2 6 * * *", "cron minute '5/2' must be *, a value, a range a-b, or one of */n and a-b/n"),
        ("0 6, * * *", "cron hour '' must be *, a value, a range a-b, or one of */n and a-b/n"),
        ("² 6 * * *", "cron minute '²' must be within 0-59, in rising order"),
        ("0 0 30 2 *", "cron expression never fires: no day 30 in those months"),
        ("0 0 30 2 */2", "cron expression never fires: no day 30 in those months"),
        ("0 0 31 4 *,1", "cron expression never fires: no day 31 in those months"),
    ],
)
def test_any_other_is_refused_with_its_field(expression: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        checked_cron(expression)
    assert str(caught.value) == message


def test_time_zones_are_those_of_the_tz_database() -> None:
    assert checked_time_zone("America/Santiago") == "America/Santiago"
    with pytest.raises(ValueError) as caught:
        checked_time_zone("../UTC")
    assert str(caught.value) == "time zone must be a name of the tz database, e.g. UTC or America/Santiago"
