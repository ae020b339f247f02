"""The database of a benchmark: a SQLite file or a private PostgreSQL, and the programs that work on it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Place:
    """A database for each name, on a server or in files, and a directory, all of which go together."""

    directory: Path
    urls: dict[str, str]
    server: int | None  # the postmaster's process id

    def child(self, module: str, what: str, number: int) -> dict[str, Any]:
        """Measure in a process of its own, whose CPU and memory count whole, beside what the server spends on it."""
        before = self._server_cpu_s()
        program = [sys.executable, "-m", module, what, str(self.directory), str(number), json.dumps(self.urls)]
        done = subprocess.run(program, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer if self.server is None else {**answer, "server_cpu_s": round(self._server_cpu_s() - before, 2)}

    def _server_cpu_s(self) -> float:
        """Return the CPU time of all its processes, of those too that have ended: the postmaster waits for each."""
        if self.server is None:
            return 0.0
        postmaster = psutil.Process(self.server)
        times = [process.cpu_times() for process in (postmaster, *postmaster.children(recursive=True))]
        return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))


@contextmanager
def place(kind: str, names: tuple[str, ...] = ("ops",)) -> Iterator[Place]:
    """Give empty databases of a kind, which are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ccat-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        if kind == "sqlite":
            yield Place(directory, {one: f"sqlite:///{directory / one}.sqlite" for one in names}, None)
            return
        from tests.support.parts.postgres import PostgresServer  # noqa: PLC0415 - pytest takes its time

        server = PostgresServer()
        try:
            server.start()
            yield Place(directory, {one: server.url(server.create_database()) for one in names}, server.pid)
        finally:
            server.remove()


def usage() -> dict[str, float]:
    """Return what this process has cost so far, its imports included."""
    import resource  # noqa: PLC0415 - the standard library's

    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 2), "peak_mb": round(used.ru_maxrss / 1024, 1)}


def answer(children: dict[str, Any]) -> None:
    """Do what `Place.child` asks this process for."""
    what, directory, number, urls = sys.argv[1:]
    sys.stdout.write(json.dumps(children[what](Path(directory), int(number), json.loads(urls))))
