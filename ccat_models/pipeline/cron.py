import calendar
import re
import zoneinfo
from datetime import UTC, datetime

from cronsim import CronSim

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(?:(?P<any>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,4}))?")
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def checked_cron(expression: str) -> str:
    """Return a cron expression of five fields; raise ValueError for one that is malformed or never fires."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"cron expression must have 5 fields (minute hour day month weekday), has {len(fields)}")
    values = [_values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
    _, _, days, months, _ = values
    any_weekday = fields[4].startswith("*")  # as in cronsim and Debian's cron: the day of the month must match too
    if any_weekday and all(_DAYS_OF_MONTH[month - 1] < min(days) for month in months):
        raise ValueError(f"cron expression never fires: no day {min(days)} in those months")
    return expression


def next_time(expression: str, time_zone: str, after: datetime) -> datetime:
    """Return the time in UTC at which a checked cron expression fires next after `after`.

    At changes to and from summer time it behaves as Debian's cron (cronsim): a time that the clock skips fires right
    after, a time that comes twice fires once, and expressions of every so many minutes or hours fire throughout.
    """
    local = after.astimezone(zoneinfo.ZoneInfo(time_zone))
    return next(CronSim(expression.upper(), local)).astimezone(UTC)


def checked_time_zone(name: str) -> str:
    """Return the name of a time zone; raise ValueError for one that the tz database does not have."""
    if name not in zoneinfo.available_timezones():
        raise ValueError("time zone must be a name of the tz database, e.g. UTC or America/Santiago")
    return name


def _values(text: str, field: str, lowest: int, highest: int, names: dict[str, int]) -> set[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (match["step"] and not match["any"] and not match["last"]):
            raise ValueError(f"cron {field} {item!r} must be *, a value, a range a-b, or one of */n and a-b/n")
        first = lowest if match["any"] else _number(match["first"], names)
        last = highest if match["any"] else _number(match["last"] or match["first"], names)
        step = int(match["step"] or 1)
        if not lowest <= first <= last <= highest or step < 1:
            raise ValueError(f"cron {field} {item!r} must be within {lowest}-{highest}, in rising order")
        values.update(range(first, last + 1, step))
    return values


def _number(text: str, names: dict[str, int]) -> int:
    return int(text) if text.isascii() and text.isdecimal() else names.get(text.lower(), -1)
