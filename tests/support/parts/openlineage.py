"""A receiver of OpenLineage events on this machine, and the published form of an event."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {
            "_producer": {"type": "string", "format": "uri", "minLength": 1},
            "_schemaURL": {"type": "string", "pattern": "^https://openlineage.io/spec/"},
        },
    },
}


def _named(**more: Any) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    properties = {"namespace": text, "name": text, "facets": _FACETS, **more}
    return {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": properties,
        "additionalProperties": False,
    }


RUN_EVENT: dict[str, Any] = {
    "$comment": "RunEvent as https://openlineage.io/spec/2-0-2/OpenLineage.json has it; nothing but what it names",
    "type": "object",
    "required": ["eventTime", "eventType", "producer", "schemaURL", "run", "job"],
    "additionalProperties": False,
    "properties": {
        "eventTime": {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "producer": {"type": "string", "format": "uri", "minLength": 1},
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": _FACETS},
            "additionalProperties": False,
        },
        "job": _named(),
        "inputs": {"type": "array", "items": _named(inputFacets=_FACETS)},
        "outputs": {"type": "array", "items": _named(outputFacets=_FACETS)},
    },
}


@dataclass
class Receiver:
    """What arrived: events in order, with which authorisation and where; it answers 503 after so many, if any.

    To events of a run in `answers` it gives that status.
    """

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    authorisations: list[str | None] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    refuses_after: int | None = None
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def ends(self) -> list[tuple[str, str]]:
        """Return of each event the run and what happened to it."""
        return [(event["run"]["runId"], event["eventType"]) for event in self.events]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver on a loopback port."""
    received = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(received))
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(received: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            full = received.refuses_after is not None and len(received.events) >= received.refuses_after
            if not self.path.endswith("/api/v1/lineage") or full:
                self.send_error(503)
                return
            event = json.loads(body)
            if event["run"]["runId"] in received.answers:
                self.send_error(received.answers[event["run"]["runId"]])
                return
            received.events.append(event)
            received.paths.add(self.path)
            received.authorisations.append(self.headers["Authorization"])
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    return Handler
