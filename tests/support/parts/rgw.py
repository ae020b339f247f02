import http.client
import os
import shutil
import signal
import subprocess  # noqa: TID251 - tests start real programs
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.support.parts import tree
from tests.support.parts.not_run import not_run
from tests.support.parts.postgres import free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PATIENCE_SECONDS = 90.0
_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
_CAPS = {  # name → what it may do
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
}
_CONFIG = """\
[global]
keyring = {folder}/keyring
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 2000
mon osd initial require min compat client = luminous
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = {folder}/run
admin socket = {folder}/run/$cluster-$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
crash dir = {folder}
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw dns name = 127.0.0.1
rgw lc debug interval = -1
mon cluster log file = {folder}/cluster.log
rgw override bucket index max shards = 1
rgw num rados handles = 1
rgw thread pool size = 32
"""


@dataclass(frozen=True)
class Keys:
    """What an account signs its requests with."""

    access_key_id: str
    secret_access_key: str


ARCHIVIST = Keys("ARCHIVEKEY1", "archivesecret1")


class S3Server:
    """A private S3 server (Ceph's gateway, all in memory) on random loopback ports: children that die with this process.

    The gateway alone can be killed and started again: what was put is in the object store behind it.
    """

    def __init__(self) -> None:
        if not all(shutil.which(program) for program in ("ceph-mon", "ceph-osd", "radosgw", "ceph")):
            not_run("an S3 server", "tools/setup-s3.sh")
        self._folder = Path(tempfile.mkdtemp(prefix="ccat-s3-"))
        self._buckets = (f"bucket-{number}" for number in count(1))
        self._store: list[subprocess.Popen[bytes]] = []
        self._gateway: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Return the address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Make the object store and start it and the gateway; return when that answers."""
        self.port, mon_port, fsid = free_port(), free_port(), str(uuid.uuid4())
        for name in ("mon", "osd", "run"):
            (self._folder / name).mkdir()
        (self._folder / "ceph.conf").write_text(
            _CONFIG.format(folder=self._folder, fsid=fsid, mon_port=mon_port, port=self.port)
        )
        self._make_keys()
        self._run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon_port}/0]", "--fsid", fsid, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._store.append(self._begin("ceph-mon", "-i", "a", "-f"))
        osd = str(uuid.uuid4())
        self._run("ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._store.append(self._begin("ceph-osd", "-i", "0", "-f"))
        self.start_gateway()
        keys = (f"--access-key={ARCHIVIST.access_key_id}", f"--secret-key={ARCHIVIST.secret_access_key}")
        self._run("radosgw-admin", "user", "create", "--uid=archivist", "--display-name=archivist", *keys)

    def start_gateway(self) -> None:
        """Start the gateway; return when it answers."""
        self._gateway = self._begin("radosgw", "-n", "client.rgw.a", "-f")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            if self._gateway.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "out").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def kill_gateway(self) -> None:
        """End the gateway at once, with all its connections."""
        if self._gateway is not None:
            tree.end(self._gateway, by=signal.SIGKILL)

    def remove(self) -> None:
        """Stop all and remove the files."""
        for process in [*([self._gateway] if self._gateway else []), *reversed(self._store)]:
            tree.end(process, by=signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self) -> "S3Client":
        """Return a client of the archivist's."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ARCHIVIST.access_key_id,
            aws_secret_access_key=ARCHIVIST.secret_access_key,
        )

    def new_bucket(self) -> str:
        """Make a bucket of this test's own and return its name."""
        name = next(self._buckets)
        self.client().create_bucket(Bucket=name)
        return name

    def _make_keys(self) -> None:
        for number, (name, may) in enumerate(_CAPS.items()):
            caps = [word for place, what in may.items() for word in ("--cap", place, what)]
            create = [] if number else ["--create-keyring"]
            self._run("ceph-authtool", *create, "keyring", "--gen-key", "-n", name, *caps)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self._folder, env=self._environment(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')[-2000:]}")

    def _begin(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / "out").open("ab") as log:
            return tree.start(command, log=log, cwd=self._folder, environment=self._environment())

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._folder / "ceph.conf")}  # noqa: TID251 - a program's own

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Give a running S3 server, one for each worker."""
    server = S3Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()
