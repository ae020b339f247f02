from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the present moment, timezone-aware UTC: the one place that reads the machine's clock."""
    return datetime.now(UTC)  # noqa: TID251 - the edge that the ban points to
