"""Send OpenLineage events to a receiver over HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import requests
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

from resources.errors import TransientError

TIMEOUT_SECONDS = 5.0


# 4xx that do not concern the event itself, such as a wrong key or address, or too many requests: it is sent again
# later. After any other 4xx the event will never be accepted.
_ASK_AGAIN = frozenset((401, 403, 404, 405, 407, 408, 421, 425, 429))


class ReceiverUnavailable(TransientError):
    """Raise where a receiver of events does not answer, or refuses all; events sent before have arrived."""


@dataclass(frozen=True)
class OpenLineageReceiver:
    """A receiver of events at a URL; they are posted to api/v1/lineage below it."""

    url: str
    api_key: str | None = field(default=None, repr=False)

    def send(self, events: Iterable[RunEvent]) -> list[str]:
        """Send events in order; return a message for each that the receiver rejected for good.

        Raises ReceiverUnavailable at the first that does not arrive.
        """
        token = TokenProvider({}) if self.api_key is None else ApiKeyTokenProvider({"apiKey": self.api_key})
        # No retries here: the sensor's next tick sends the rest.
        base = self.url.rstrip("/") + "/"  # without "/" at the end, the last part of the path would be replaced
        config = HttpConfig(url=base, timeout=TIMEOUT_SECONDS, auth=token, retry={"total": 0})
        transport = HttpTransport(config)
        try:
            return [why for event in events if (why := _emit(transport, event)) is not None]
        except requests.RequestException as error:
            raise ReceiverUnavailable(f"OpenLineage receiver {self.url}: {type(error).__name__}: {error}") from error
        finally:
            transport.close()


def _emit(transport: HttpTransport, event: RunEvent) -> str | None:
    """Send an event; return why it was rejected for good, None if it was accepted."""
    try:
        transport.emit(event)
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status is None or not 400 <= status < 500 or status in _ASK_AGAIN:
            raise
        return f"run {event.run.runId} {event.eventType.value if event.eventType else ''}: {error}"
    return None
