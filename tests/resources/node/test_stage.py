import contextlib
import fcntl
import gzip
import io
import json
import os
import signal
import subprocess  # noqa: TID251 - tests start real programs
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.node import zipapp
from resources.node.stage import unpack, work
from resources.node.stage.package import STARTS_IN_VAIN, Package
from resources.shell.remote_program import program_command
from tests.support.hands.attempts import PATIENCE_SECONDS, eventually, node_program
from tests.support.parts.archives import sha256_of, tar_of

FILES = {"scan.fits": b"counts" * 5000, "log/håndbok.txt": b"clear sky\n", "log/empty": b""}
SIGNATURE = "?X-Amz-Signature=c0ffee"


@dataclass
class BackEndWorld:
    """A directory of staged packages, and requests to the program that fills it."""

    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    sent: bool = False  # over stdin, as where no file can be written

    def ask(self, *items: Mapping[str, Any], **request: Any) -> dict[str, Any]:
        """Ask once."""
        asked = {"do": "ask", "packages": items, "parallel": 4, "retry_seconds": [0.05, 0.05]}
        return self.do({**asked, **self.options, **request})

    def do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start the program as it is started on a login node."""
        words, stdin = ["stage", str(self.root)], b""
        if self.sent:
            command, stdin = zipapp.sent_command(sys.executable, words)
        else:
            command = program_command(sys.executable, node_program(), *words)
        asked = stdin + json.dumps(request).encode()
        said = subprocess.run([*self.prefix, *command], input=asked, capture_output=True, check=True)
        return dict(json.loads(said.stdout))

    def bring(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Ask until the package is there or could not be brought; return the answer."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = self.ask(item)["packages"][item["name"]]
            if found["state"] in ("ready", "failed"):
                return dict(found)
            assert time.monotonic() < end, found
            time.sleep(0.02)

    def part(self, name: str = "scan-1") -> Path:
        return self.root / ".work" / name / "part"

    def shown(self, name: str = "scan-1") -> dict[str, bytes]:
        """Return the files of a package that is in place."""
        root = self.root / name
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())


def item_of(
    address: str | Sequence[str], files: Mapping[str, bytes] = FILES, *, name: str = "scan-1", job: int = 1
) -> dict[str, Any]:
    """Return the request for a package with these files, as one tar or with one address a file."""
    listed = [[path, len(content), sha256_of(content)] for path, content in files.items()]
    packed = isinstance(address, str)
    source = {"packed": packed, "files": listed, "from": [address] if packed else list(address)}
    return {"name": name, "job": job, "source": source}


def laid(folder: Path, content: bytes) -> str:
    path = folder / "package.tar"
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def yard(tmp_path: Path) -> BackEndWorld:
    return BackEndWorld(tmp_path / "staged")


class Server(ThreadingHTTPServer):
    """A web server whose answers a test makes up: what no real one can be made to say at will."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.etag = '"one"'
        self.break_after: list[int] = []  # bytes of the next answers, which then break off
        self.refuse: tuple[int, bytes] | None = None
        self.ranges: list[str] = []
        self.sent = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/bucket/scan.tar{SIGNATURE}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        if self.server.refuse:
            self.send_response(self.server.refuse[0])
            self.end_headers()
            self.wfile.write(self.server.refuse[1])
            return
        if self.headers.get("If-Match", self.server.etag) != self.server.etag:
            self.send_error(412)
            return
        first, total = int(asked[6:-1]) if asked else 0, len(self.server.content)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(total - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.end_headers()
        body = self.server.content[first:]
        body = body[: self.server.break_after.pop(0)] if self.server.break_after else body
        self.server.sent += len(body)
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_tar_is_unpacked_verified_and_appears_whole(yard: BackEndWorld, tmp_path: Path) -> None:
    item = item_of(laid(tmp_path, tar_of(FILES)))
    assert yard.ask({"name": "scan-1", "job": 1}) == {"packages": {"scan-1": {"state": "absent"}}, "free": 4}
    assert yard.ask(item)["packages"]["scan-1"]["state"] == "fetching"
    size = (tmp_path / "package.tar").stat().st_size
    ready = {"state": "ready", "bytes": sum(map(len, FILES.values())), "transferred": size}
    assert yard.bring(item) == ready
    assert yard.shown() == FILES
    assert yard.names() == [".work", "scan-1"]
    assert sorted(path.name for path in yard.part().parent.iterdir()) == ["done.json", "lock"]
    (tmp_path / "package.tar").unlink()
    assert yard.bring({"name": "scan-1", "job": 1}) == ready, "it does not need its source any more"


def test_compressed_tar_and_a_directory_are_brought_alike(yard: BackEndWorld, tmp_path: Path) -> None:
    packed = tmp_path / "package.tgz"
    packed.write_bytes(gzip.compress(tar_of({f"./{path}": content for path, content in FILES.items()})))
    assert yard.bring(item_of(str(packed)))["state"] == "ready"
    for path, content in FILES.items():
        (tmp_path / "open" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "open" / path).write_bytes(content)
    found = yard.bring(item_of([str(tmp_path / "open" / path) for path in FILES], name="scan-2"))
    assert (found["state"], found["transferred"]) == ("ready", found["bytes"])
    assert yard.shown("scan-1") == yard.shown("scan-2") == FILES


def tar_with(*members: tuple[str, bytes], **odd: Any) -> bytes:
    """Return a tar of FILES and further members, the last of which has odd features."""
    written = io.BytesIO(tar_of(FILES))
    with tarfile.open(fileobj=written, mode="a") as tar:
        for path, content in members:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            for name, value in odd.items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        pytest.param(tar_with(("../evil", b"x")), "unsafe", "'../evil' leaves the package's directory", id="parent"),
        pytest.param(
            tar_with(("/etc/evil", b"x")), "unsafe", "'/etc/evil' leaves the package's directory", id="absolute"
        ),
        pytest.param(
            tar_with(("log/link", b""), type=tarfile.SYMTYPE, linkname="/etc"),
            "unsafe",
            "a link or device: log/link",
            id="symbolic-link",
        ),
        pytest.param(
            tar_with(("hard", b""), type=tarfile.LNKTYPE, linkname="scan.fits"),
            "unsafe",
            "a link or device: hard",
            id="hard-link",
        ),
        pytest.param(tar_with(("pipe", b""), type=tarfile.FIFOTYPE), "unsafe", "a link or device: pipe", id="fifo"),
        pytest.param(
            tar_with(("scan.fits", FILES["scan.fits"])), "unsafe", "the tar holds scan.fits twice", id="twice"
        ),
        pytest.param(
            tar_with(("more", b"x")), "wrong", "the tar holds more, which is not registered", id="unregistered"
        ),
        pytest.param(tar_of({**FILES, "log/empty": b"x"}), "wrong", "log/empty has 1 bytes, not 0", id="longer"),
        pytest.param(
            tar_of({**FILES, "log/håndbok.txt": b"CLEAR SKY\n"}),
            "wrong",
            "log/håndbok.txt has sha256 ",
            id="other-content",
        ),
        pytest.param(
            tar_of({"scan.fits": FILES["scan.fits"]}),
            "wrong",
            "lacks 2 registered files, the first is log/empty",
            id="lacking",
        ),
        pytest.param(tar_of(FILES)[:20000], "wrong", "is no whole tar", id="cut"),
        pytest.param(b"no tar at all", "wrong", "is no whole tar", id="no-tar"),
        pytest.param(gzip.compress(tar_of(FILES), mtime=0)[:200], "wrong", "is no whole tar", id="cut-gzip"),
    ],
)
def test_a_bad_tar_leaves_nothing_and_is_reported_once(
    yard: BackEndWorld, tmp_path: Path, content: bytes, kind: str, message: str
) -> None:
    item = item_of(laid(tmp_path, content))
    found = yard.bring(item)
    assert (found["state"], found["kind"]) == ("failed", kind)
    assert message in found["message"]
    assert found["transferred"] == len(content)
    assert yard.names() == [".work"]
    assert [path.name for path in yard.part().parent.iterdir()] == ["lock"]
    assert not (tmp_path / "evil").exists()
    laid(tmp_path, tar_of(FILES))
    assert yard.bring(item)["state"] == "ready", "the next attempt brings it anew"
    assert yard.shown() == FILES


def test_a_transfer_continues_after_its_connection_broke(yard: BackEndWorld, server: Server) -> None:
    server.content = tar_of(FILES)
    server.break_after = [10000, 10000]
    assert yard.bring(item_of(server.address))["transferred"] == len(server.content)
    assert server.ranges == ["", "bytes=10000-", "bytes=20000-"]
    assert yard.shown() == FILES


def test_server_that_is_gone_too_long_leaves_the_part_for_the_next_attempt(yard: BackEndWorld, server: Server) -> None:
    server.content = tar_of(FILES)
    server.break_after = [10000, 0, 0]
    found = yard.bring(item_of(server.address))
    assert (found["kind"], found["transferred"]) == ("unreachable", 10000)
    shown = server.address.removesuffix(SIGNATURE)
    assert found["message"] == f"{shown}: ended after 10000 of {len(server.content)} bytes"
    assert yard.part().stat().st_size == 10000
    assert yard.bring(item_of(server.address))["state"] == "ready"
    assert server.sent == len(server.content)
    assert server.ranges[-1] == "bytes=10000-"


def test_server_that_is_gone_is_waited_for_as_long_as_wanted_and_others_come_meanwhile(
    yard: BackEndWorld, server: Server, tmp_path: Path
) -> None:
    server.content, server.refuse = tar_of(FILES), (503, b"")
    item, other = item_of(server.address), item_of(laid(tmp_path, tar_of(FILES)), name="scan-2")
    item["source"]["patience_seconds"] = 60
    yard.options = {"parallel": 1}
    yard.ask(item)
    eventually(lambda: len(server.ranges) > 3)
    seen = yard.ask(item)["packages"]["scan-1"]
    shown = server.address.removesuffix(SIGNATURE)
    assert (seen["state"], seen["trouble"]) == ("fetching", f"{shown}: answered 503 Service Unavailable")
    assert yard.bring(other)["state"] == "ready"
    server.refuse = None
    assert yard.bring(item)["state"] == "ready"
    assert yard.shown() == FILES


def test_object_that_changed_meanwhile_is_brought_from_its_start(yard: BackEndWorld, server: Server) -> None:
    server.content = b"x" * 40000
    server.break_after = [10000, 0, 0]
    assert yard.bring(item_of(server.address))["kind"] == "unreachable"
    server.content, server.etag = tar_of(FILES), '"two"'
    assert yard.bring(item_of(server.address))["state"] == "ready"
    assert server.ranges[-2:] == ["bytes=10000-", ""]
    assert yard.shown() == FILES


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"), "refused", "answered 403 SignatureDoesNotMatch"),
        ((403, b"<Code>AccessDenied</Code><Message>Request has expired</Message>"), "expired", "403 AccessDenied"),
        ((404, b"<Code>NoSuchKey</Code>"), "missing", "answered 404 NoSuchKey"),
        ((503, b""), "unreachable", "answered 503 Service Unavailable"),
        ((418, b""), "broken", "answered 418"),
    ],
)
def test_answers_of_a_server_are_distinguished_and_no_signature_is_shown(
    yard: BackEndWorld, server: Server, answer: tuple[int, bytes], kind: str, words: str
) -> None:
    server.refuse = answer
    found = yard.bring(item_of(server.address))
    assert (found["state"], found["kind"]) == ("failed", kind)
    assert words in found["message"]
    assert len(server.ranges) == (3 if kind == "unreachable" else 1), "what may pass is tried again"
    assert "c0ffee" not in json.dumps(found) + everything_below(yard.root)


def everything_below(root: Path) -> str:
    return " ".join(path.read_text(errors="replace") for path in root.rglob("*") if path.is_file())


def test_a_killed_worker_is_followed_by_one_that_continues(yard: BackEndWorld, server: Server) -> None:
    content = {"scan.fits": os.urandom(3 << 20)}
    server.content = tar_of(content)
    item = item_of(server.address, content)
    slow = {"mb_per_second": 1.0}
    yard.ask(item, **slow)
    eventually(lambda: yard.part().exists() and yard.part().stat().st_size > 1 << 18)
    assert "c0ffee" not in " ".join(word for one in workers(yard) for word in one.cmdline())
    assert yard.ask(item, **slow)["packages"]["scan-1"]["state"] == "fetching"
    assert len(workers(yard)) == 1, "one works on it, however often it is asked for"
    (worker,) = workers(yard)
    worker.kill()
    eventually(lambda: is_free(yard.part().parent / "lock"))
    have = yard.part().stat().st_size
    assert yard.ask({"name": "scan-1", "job": 1})["packages"]["scan-1"]["state"] == "absent"
    found = yard.bring(item)
    assert found["state"] == "ready"
    assert server.ranges == ["", f"bytes={have}-"]
    assert yard.shown() == content
    assert "c0ffee" not in everything_below(yard.root)


def test_file_that_was_not_compared_when_its_worker_was_killed_is_no_part_of_the_package(
    yard: BackEndWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_of(laid(tmp_path, tar_of({"scan.fits": b"COUNTS" * 5000})), {"scan.fits": FILES["scan.fits"]})
    package = Package(os.fsencode(yard.root), "scan-1")
    yard.part().parent.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(unpack, "compare", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        if (child := os.fork()) == 0:
            work.work(package, item, {})
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (tmp_path / "scan.fits").write_bytes(FILES["scan.fits"])
    item = item_of([str(tmp_path / "scan.fits")], {"scan.fits": FILES["scan.fits"]}, job=2)
    assert yard.bring(item)["state"] == "ready"
    assert yard.shown() == {"scan.fits": FILES["scan.fits"]}


def test_a_worker_that_is_killed_every_time_is_reported_in_the_end(
    yard: BackEndWorld, server: Server, tmp_path: Path
) -> None:
    server.content = tar_of(FILES)
    mover = tmp_path / "mover"
    mover.write_text("#!/bin/sh\nkill -9 $PPID\n")
    mover.chmod(0o755)
    for _ in range(STARTS_IN_VAIN):
        assert yard.ask(item_of(server.address), mover=[str(mover)])["packages"]["scan-1"]["state"] == "fetching"
        eventually(lambda: is_free(yard.part().parent / "lock"))
    found = yard.ask(item_of(server.address), mover=[str(mover)])["packages"]["scan-1"]
    assert (found["state"], found["kind"]) == ("failed", "killed")
    assert found["message"] == "the process that brings it was ended 5 times, and got no further"
    assert yard.bring(item_of(server.address))["state"] == "ready"
    assert not list(yard.part().parent.glob("starts*"))


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_larger_than_what_is_registered_is_not_fetched(
    yard: BackEndWorld, tmp_path: Path, packed: bool
) -> None:
    place = tmp_path / "package.tar"
    with place.open("wb") as file:
        file.truncate(1 << 30 if packed else 11)
    found = yard.bring(item_of(str(place) if packed else [str(place)], {"scan.fits": b"0123456789"}))
    assert (found["kind"], found["transferred"]) == ("wrong", 0)
    assert f"{place}: has {place.stat().st_size} bytes, no more than " in found["message"]


def member_of(size: int, kind: bytes) -> bytes:
    """Return the header of a member of this type, and content as long as it says."""
    member = tarfile.TarInfo("long")
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT) + b"x" * size + bytes(-size % 512)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(member_of(1 << 26, b"x"), id="long-pax-header"),
        pytest.param(member_of(1 << 26, tarfile.GNUTYPE_LONGNAME), id="long-name"),
        pytest.param(member_of(512, b"x") * 3000, id="chained-headers"),
        pytest.param(member_of(512, tarfile.GNUTYPE_LONGLINK) * 3000, id="chained-links"),
        pytest.param(member_of(0, tarfile.GNUTYPE_SPARSE), id="sparse"),
        pytest.param(
            (member_of(60_000, tarfile.GNUTYPE_LONGNAME) + member_of(0, tarfile.DIRTYPE)) * 1000, id="many-long-names"
        ),
    ],
)
def test_tar_that_would_take_up_memory_or_time_is_refused(yard: BackEndWorld, tmp_path: Path, content: bytes) -> None:
    found = yard.bring(item_of(laid(tmp_path, gzip.compress(content))))
    assert (found["kind"], yard.names()) == ("unsafe", [".work"])
    assert "tar" in found["message"]


def workers(yard: BackEndWorld) -> list[psutil.Process]:
    """Return the processes that hold a lock of the yard's."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(file.path.startswith(f"{yard.root}/.work/") for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_no_more_than_so_many_are_brought_at_a_time_and_no_faster(yard: BackEndWorld, server: Server) -> None:
    content = {"scan.fits": os.urandom(1 << 20)}
    server.content = tar_of(content)
    items = [item_of(server.address, content, name=f"scan-{number}", job=number) for number in range(3)]
    begun = time.monotonic()
    first = yard.ask(*items, parallel=2, mb_per_second=2.0)
    assert [one["state"] for one in first["packages"].values()] == ["fetching", "fetching", "queued"]
    assert first["free"] == 0
    yard.options = {"parallel": 2, "mb_per_second": 2.0}
    assert {yard.bring(item)["state"] for item in items} == {"ready"}
    assert time.monotonic() - begun > 3 * (1 << 20) / 2e6 - 0.5, "the limit is one of all together"


def test_a_disk_that_is_too_small_is_reported_before_and_while_it_fills(yard: BackEndWorld, server: Server) -> None:
    server.content = tar_of(FILES)
    huge = item_of(server.address)
    huge["source"]["files"][0][1] = 1 << 60
    found = yard.bring(huge)
    assert found["kind"] == "full"
    assert f"{(1 << 60) + len(server.content) + 10} more bytes are needed, " in found["message"]
    assert f"bytes are free in {yard.root}" in found["message"]
    assert server.sent <= len(server.content)
    yard.prefix = ("prlimit", "--fsize=20000")
    found = yard.bring(item_of(server.address))
    assert (found["kind"], yard.part().exists()) == ("full", False)
    yard.prefix = ()
    assert yard.bring(item_of(server.address))["state"] == "ready"


def test_a_disk_filled_by_another_user_is_reported_and_recovered_from(small_disk: Path, server: Server) -> None:
    yard, content = BackEndWorld(small_disk / "staged"), {"scan.fits": os.urandom(300_000)}
    server.content = tar_of(content)
    item, bulk = item_of(server.address, content), small_disk / "bulk"
    yard.ask(item, mb_per_second=0.2)
    eventually(lambda: yard.part().exists() and yard.part().stat().st_size > 200_000)
    with contextlib.suppress(OSError), bulk.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    found = yard.bring({"name": "scan-1", "job": 1})
    assert (found["state"], found["kind"], yard.part().exists()) == ("failed", "full", False)
    assert f" bytes are free in {yard.root}" in found["message"]
    assert yard.names() == [".work"]
    bulk.unlink()
    assert yard.bring(item)["state"] == "ready"
    assert yard.shown() == content


def test_a_mover_decides_where_staging_runs_and_its_failure_is_reported(
    yard: BackEndWorld, server: Server, tmp_path: Path
) -> None:
    server.content = tar_of(FILES)
    mover = tmp_path / "mover"
    mover.write_text(
        '#!/bin/sh\necho "$@" >>"$(dirname "$0")/calls"\n[ -e "$(dirname "$0")/bad" ] && { echo "srun: no" >&2; exit 3; }\nshift\nexec "$@"\n'
    )
    mover.chmod(0o755)
    yard.options = {"mover": [str(mover), "--partition=dtn"]}
    assert yard.bring(item_of(server.address))["state"] == "ready"
    assert yard.shown() == FILES
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith(f"--partition=dtn {sys.executable} -I -S {node_program()} stage {yard.root} work")
    assert "c0ffee" not in call
    (tmp_path / "bad").touch()
    found = yard.bring(item_of(server.address, name="scan-2"))
    assert (found["kind"], found["message"][-23:]) == ("broken", ": exit code 3: srun: no")


def test_mover_is_given_a_program_that_was_sent(yard: BackEndWorld, tmp_path: Path) -> None:
    mover = tmp_path / "mover"
    mover.write_text('#!/bin/sh\necho "$@" >"$0.called"\nexec "$@"\n')
    mover.chmod(0o755)
    yard.sent, yard.options = True, {"mover": [str(mover)]}
    assert yard.bring(item_of(laid(tmp_path, tar_of(FILES))))["state"] == "ready"
    assert yard.shown() == FILES
    called = (tmp_path / "mover.called").read_text()
    assert (" -I -S -c " in called, called.endswith(f" stage {yard.root} work\n")) == (True, True)


def test_letting_go_removes_what_a_job_brought_and_not_what_came_since(yard: BackEndWorld, tmp_path: Path) -> None:
    item = item_of(laid(tmp_path, tar_of(FILES)), job=7)
    yard.bring(item)
    request: Callable[[int], dict[str, Any]] = lambda job: {"do": "let_go", "packages": [["scan-1", job]]}  # noqa: E731
    assert yard.do(request(6)) == {"gone": ["scan-1"]}
    assert yard.shown() == FILES, "another job's is not touched"
    assert yard.do(request(7)) == {"gone": ["scan-1"]}
    assert (yard.names(), list((yard.root / ".work").glob("scan*"))) == ([".work"], [])
    assert yard.do(request(7)) == {"gone": ["scan-1"]}
    assert yard.bring(item | {"job": 8})["state"] == "ready"
    yard.do(request(7))
    assert yard.shown() == FILES
    adopted = yard.bring({"name": "scan-1", "job": 9})
    assert adopted["state"] == "ready"
    yard.do(request(8))
    assert yard.shown() == FILES, "the last request has it"


def test_remains_of_packages_that_no_worker_stages_are_removed(
    yard: BackEndWorld, server: Server, tmp_path: Path
) -> None:
    server.content, server.break_after = tar_of(FILES), [10000, 0, 0]
    assert yard.bring(item_of(server.address))["kind"] == "unreachable"
    yard.bring(item_of(laid(tmp_path, tar_of(FILES)), name="scan-2"))
    assert yard.do({"do": "sweep", "older_than_seconds": 3600}) == {"swept": []}
    assert yard.part().exists()
    (yard.root / ".work" / "vanishes").symlink_to("gone")  # as one that goes between the list and the look
    assert yard.do({"do": "sweep", "older_than_seconds": -1}) == {"swept": ["scan-1"]}
    assert not yard.part().parent.exists()
    assert yard.bring({"name": "scan-2", "job": 1})["state"] == "ready"


def test_names_that_leave_the_directory_and_directories_that_cannot_be_made_are_reported(
    yard: BackEndWorld, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    found = BackEndWorld(tmp_path / "file" / "staged").ask({"name": "scan-1", "job": 1})
    assert found["problem"]["kind"] == "broken"
    assert "Not a directory" in found["problem"]["message"]
    with pytest.raises(subprocess.CalledProcessError):
        yard.ask({"name": "../scan", "job": 1})
