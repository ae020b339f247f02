import hashlib
import http.client
import json
import shutil
import subprocess  # noqa: TID251 - tests start real programs
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parts import tree
from tests.support.parts.docker_archive import MANIFEST, ContainerImage
from tests.support.parts.not_run import not_run
from tests.support.parts.postgres import free_port

_PATIENCE_SECONDS = 20.0


class Registry:
    """A private container registry without TLS on a random loopback port: a child of this process that dies with it."""

    def __init__(self) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            not_run("a container registry", "apt-get install docker-registry")
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="ccat-registry-"))
        self.host = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the registry; return when it answers."""
        for _ in range(3):  # another process may take the port between our look and the registry's
            self.host = f"127.0.0.1:{free_port()}"
            config = self._folder / "config.json"  # which is YAML too
            storage = {"filesystem": {"rootdirectory": str(self._folder / "data")}}
            config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": self.host}}))
            with (self._folder / "log").open("ab") as log:
                self._process = tree.start([self._program, "serve", config], log=log, cwd=self._folder)
            if self._answers():
                return
            tree.end(self._process)
        raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])

    def remove(self) -> None:
        """Stop the registry and remove its files."""
        if self._process is not None:
            tree.end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def push(self, image: ContainerImage, name: str, tag: str) -> None:
        """Put an image under a name."""
        for blob in (image.config, image.layer):
            place = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"").partition(self.host)[2]
            digest = hashlib.sha256(blob).hexdigest()
            self._ask("PUT", f"{place}{'&' if '?' in place else '?'}digest=sha256:{digest}", blob)
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", image.manifest, MANIFEST)

    def _ask(self, method: str, path: str, body: bytes, kind: str = "application/octet-stream") -> str:
        connection = http.client.HTTPConnection(self.host, timeout=_PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {answer.read().decode(errors='replace')}")
            return answer.getheader("Location", "")
        finally:
            connection.close()

    def _answers(self) -> bool:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                self._ask("GET", "/v2/", b"")
            except (OSError, RuntimeError, http.client.HTTPException):
                time.sleep(0.02)
            else:
                return True
        return False


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """Give a running registry, one for each worker."""
    server = Registry()
    try:
        server.start()
        yield server
    finally:
        server.remove()
