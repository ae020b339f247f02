import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Literal, Self

Direction = Literal["up", "down"]  # to the server, from the server
_CHUNK_BYTES = 2**14


@dataclass
class _Limit:
    bytes_left: int
    then: Literal["drop", "stall"]


class FlakyRelay:
    """A real TCP relay on loopback that can lose, hold back or refuse the traffic to a server behind it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._refuses = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._limits: dict[Direction, _Limit] = {}
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self._flowing.set()
        self.drop()
        for thread in [self._accepting, *self._threads]:
            thread.join(10)

    def stall(self) -> None:
        """Hold back everything from now on; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._limits.clear()
        self._refuses = False
        self._flowing.set()

    def refuse(self) -> None:
        """Close new connections as soon as they are made."""
        self._refuses = True

    def drop(self) -> None:
        """Cut all connections."""
        for wire in self._sockets:
            _cut(wire)

    def drop_after(self, count: int, direction: Direction) -> None:
        """Cut the connection once so many more bytes have gone that way."""
        self._limits[direction] = _Limit(count, "drop")

    def stall_after(self, count: int, direction: Direction) -> None:
        """Hold back everything once at least so many more bytes have gone that way."""
        self._limits[direction] = _Limit(count, "stall")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self._refuses:
                    client.close()
                else:
                    self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), 10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for wire in (client, server):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets += [client, server]
        ways: tuple[tuple[socket.socket, socket.socket, Direction], ...] = (
            (client, server, "up"),
            (server, client, "down"),
        )
        for way in ways:
            self._threads.append(threading.Thread(target=self._pump, args=way, daemon=True))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                self._flowing.wait()
                limit = self._limits.get(direction)
                sink.sendall(data[: limit.bytes_left] if limit and limit.then == "drop" else data)
                if limit is not None and self._is_reached(limit, len(data), direction):
                    break
        _cut(source)
        _cut(sink)

    def _is_reached(self, limit: _Limit, count: int, direction: Direction) -> bool:
        """Count the bytes that have passed; at the limit hold all back, or say that the connection is to be cut."""
        limit.bytes_left -= count
        if limit.bytes_left > 0:
            return False
        self._limits.pop(direction, None)
        if limit.then == "stall":
            self._flowing.clear()
        return limit.then == "drop"


def _cut(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)
    wire.close()
