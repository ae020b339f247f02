"""A receiver of OpenLineage events, spoken to over HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import requests
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

from resources.errors import TransientError

TIMEOUT_SECONDS = 5.0


# 4xx by which a receiver refuses the sender or the time, not the event: a wrong key or address
# yet, or too much at a time. Any other says that the event itself will never be taken.
_ASK_AGAIN = frozenset((401, 403, 404, 405, 407, 408, 421, 425, 429))


class ReceiverUnavailable(TransientError):
    """Raise where a receiver of events does not answer, or refuses them all; what was sent before has arrived."""


@dataclass(frozen=True)
class OpenLineageReceiver:
    """A receiver at a URL, below which it takes events at api/v1/lineage."""

    url: str
    api_key: str | None = field(default=None, repr=False)

    def send(self, events: Iterable[RunEvent]) -> list[str]:
        """Send events in order; return which ones the receiver rejected for good, and why.

        Raises ReceiverUnavailable at the first that does not arrive.
        """
        token = TokenProvider({}) if self.api_key is None else ApiKeyTokenProvider({"apiKey": self.api_key})
        # The sensor's next tick is the retry: trying again here would only hold that tick up.
        base = self.url.rstrip("/") + "/"  # else its last part would be taken for a file's name and replaced
        config = HttpConfig(url=base, timeout=TIMEOUT_SECONDS, auth=token, retry={"total": 0})
        transport = HttpTransport(config)
        try:
            return [why for event in events if (why := _emit(transport, event)) is not None]
        except requests.RequestException as error:
            raise ReceiverUnavailable(f"OpenLineage receiver {self.url}: {type(error).__name__}: {error}") from error
        finally:
            transport.close()


def _emit(transport: HttpTransport, event: RunEvent) -> str | None:
    """Send an event; return why it was rejected for good, None where it was taken."""
    try:
        transport.emit(event)
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status is None or not 400 <= status < 500 or status in _ASK_AGAIN:
            raise
        return f"run {event.run.runId} {event.eventType.value if event.eventType else ''}: {error}"
    return None
