"""Lines in the log of a Dagster run that say how far its runs are."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ENDED, RunStatus

_EVERY_SECONDS = 10.0  # each line is an event that Dagster stores


class Progress:
    """Writes one line when something has changed, at most every ten seconds: how many runs have ended, and how."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._statuses: dict[RunId, RunStatus] = {}
        self._written = ""
        self._next = clock()

    def __call__(self, statuses: Mapping[RunId, RunStatus]) -> None:
        """Note the statuses of runs that are waited for."""
        self._statuses.update(statuses)
        line = self._line()
        if line != self._written and self._clock() >= self._next:
            self._write(line)
            self._written, self._next = line, self._clock() + _EVERY_SECONDS

    def _line(self) -> str:
        counts = Counter(self._statuses.values())
        ended = sum(counts[status] for status in ENDED)
        named = ", ".join(f"{counts[status]} {status.value}" for status in RunStatus if counts[status])
        return f"{ended} of {len(self._statuses)} runs have ended: {named}" if named else self._written
