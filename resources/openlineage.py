"""A receiver of OpenLineage events, spoken to over HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import requests
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

from resources.errors import AskAgain

TIMEOUT_SECONDS = 5.0


class ReceiverUnavailable(AskAgain):
    """Raise where a receiver of events does not answer or refuses; what was sent before has arrived."""


@dataclass(frozen=True)
class OpenLineageReceiver:
    """A receiver at a URL, below which it takes events at api/v1/lineage."""

    url: str
    api_key: str | None = field(default=None, repr=False)

    def send(self, events: Iterable[RunEvent]) -> None:
        """Send events in order; raise ReceiverUnavailable at the first that does not arrive."""
        token = TokenProvider({}) if self.api_key is None else ApiKeyTokenProvider({"apiKey": self.api_key})
        # The sensor's next tick is the retry: trying again here would only hold that tick up.
        base = self.url.rstrip("/") + "/"  # else its last part would be taken for a file's name and replaced
        config = HttpConfig(url=base, timeout=TIMEOUT_SECONDS, auth=token, retry={"total": 0})
        transport = HttpTransport(config)
        try:
            for event in events:
                transport.emit(event)
        except requests.RequestException as error:
            raise ReceiverUnavailable(f"OpenLineage receiver {self.url}: {type(error).__name__}: {error}") from error
        finally:
            transport.close()
