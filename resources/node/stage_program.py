"""Bring packages from an archive onto this disk: python3 stage_program.py DIRECTORY < request.json > answer.json.

Stands alone: Python >= 3.6 on Linux, standard library only, so that it runs on any login node as it runs here. One call
answers for many packages, at once. A package that is wanted is brought by a detached process that holds its lock, and
one of a few slots that all share: however many ask, on however many machines of one file system, one works on it. What
came so far lies in a .part file: whoever works on it after a kill goes on where that ends. A package appears by rename,
whole and with every checksum verified, or not at all.

Sources hold signed addresses: they come on stdin, are written nowhere, and what is told of them ends before the "?".
"""
# Paths are bytes: a login node's locale may be unable to decode them.

import contextlib
import ctypes
import errno
import fcntl
import gzip
import hashlib
import http.client
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback
import urllib.error
import urllib.request
import zlib
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

BLOCK_BYTES = 1 << 18
CONNECTION_SECONDS = 60.0  # without a byte
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_PAUSE_SECONDS = 300.0
SLOT_SECONDS = 2.0  # between two looks for a slot
NOTE_EVERY_SECONDS = 1.0
MEMBERS_BEYOND_FILES = 10000  # directories that a tar may name
HEADER_BYTES = 1 << 16  # of one member: a longer name or list of attributes is nobody's
HEADERS_BYTES = 1 << 12  # of each member on average, with what pads it
END_BYTES = 1 << 20  # what ends a tar, and pads it
MEMORY_BYTES = 1 << 29  # that reading a tar may take
LONG_HEADERS = (b"x", b"g", b"X", tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
STARTS_IN_VAIN = 5
KILLED = "the process that brings it was ended %d times, and got no further" % STARTS_IN_VAIN
PR_SET_PDEATHSIG = 1  # linux/prctl.h
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NAME = re.compile(r"[A-Za-z0-9_=+%][A-Za-z0-9._=+%-]{0,254}")
ERROR_CODE = re.compile(rb"<Code>(\w{1,80})</Code>")
WORTHLESS = ("wrong", "full", "unsafe")  # failures after which what came must not be gone on with


class Failed(Exception):
    """Raised with why a package cannot be brought; the kind says what to do about it."""

    def __init__(self, kind: str, message: str) -> None:
        Exception.__init__(self, message)
        self.kind = kind


class Broken(Exception):
    """Raised where a line broke or a server does not answer: trying again may help."""


class Changed(Exception):
    """Raised where the source is another one than what came so far is of."""


class Package:
    """One package, and its places: `.work/<name>` holds what is not finished."""

    def __init__(self, root: bytes, name: str) -> None:
        if not NAME.fullmatch(name):
            raise Failed("broken", "%r cannot name a package's directory" % name)
        self.root, self.name = root, name
        self.slot = None  # type: Optional[Tuple[int, int]] # its lock, and of how many slots it is one
        self.final = os.path.join(root, name.encode())
        self.work = os.path.join(root, b".work", name.encode())
        self.part, self.member, self.new = (os.path.join(self.work, one) for one in (b"part", b"member", b"new"))
        self.note, self.starts, self.done, self.failed = (
            os.path.join(self.work, one) for one in (b"note.json", b"starts.json", b"done.json", b"failed.json")
        )

    def lock(self) -> Optional[int]:
        """Return the lock, None while another has it; one whose file was removed meanwhile is none."""
        while True:
            os.makedirs(self.work, exist_ok=True)
            try:
                lock = os.open(os.path.join(self.work, b"lock"), os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue
            if not take(lock):
                return None
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(lock), os.stat(os.path.join(self.work, b"lock"))):
                    return lock
            os.close(lock)

    def ready(self) -> Optional[Dict[str, Any]]:
        """Return what was noted of the package if it is in place."""
        done = read_json(self.done)
        return done if done and os.path.isdir(self.final) else None


class Allowance(NamedTuple):
    """How many bytes of a file may come, and how many more there must be room for."""

    most: int
    room: int

    def check(self, address: str, size: int) -> None:
        """Raise Failed for a file that is larger than what is registered can be."""
        if size > self.most:
            raise Failed(
                "wrong", "%s: has %d bytes, no more than %d can be registered" % (shown(address), size, self.most)
            )


class Patience(NamedTuple):
    """How a server that does not answer is waited for: after these pauses with growing ones, for so long in all."""

    pauses: List[float]
    seconds: float

    def pause(self, tries: int) -> float:
        """Return how long to wait after so many tries."""
        if tries < len(self.pauses):
            return self.pauses[tries]
        last = self.pauses[-1] if self.pauses else 1.0
        return min(LONGEST_PAUSE_SECONDS, last * 2.0 ** min(tries - len(self.pauses) + 1, 20))


class Line:
    """What came over the line for one package: counted, noted, and no faster than all together may be."""

    def __init__(self, package: Package, job: Any, bytes_per_second: Optional[float]) -> None:
        self.package, self.rate = package, bytes_per_second
        before = read_json(package.note) or {}
        self.note = dict(before, transferred=before.get("transferred", 0) if before.get("job") == job else 0, job=job)
        self.noted = time.monotonic()

    def took(self, count: int) -> None:
        """Count bytes, and wait for as long as they are worth."""
        self.note["transferred"] += count
        if self.rate:
            time.sleep(reserve(os.path.join(self.package.root, b".work", b".bandwidth"), count / self.rate))
        if time.monotonic() - self.noted > NOTE_EVERY_SECONDS:
            self.tell()

    def tell(self, **words: Any) -> None:
        """Leave word of how far it is."""
        self.note.update(words)
        self.noted = time.monotonic()
        write_whole(self.package.note, self.note)


def take(lock: int) -> bool:
    """Take a lock that is open, or close it and say no."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def take_slot(root: bytes, parallel: int) -> Optional[int]:
    """Return the lock of a slot, None where so many packages are worked on already."""
    slots = os.path.join(root, b".work", b".slots")
    os.makedirs(slots, exist_ok=True)
    for number in range(parallel):
        lock = os.open(os.path.join(slots, b"%d" % number), os.O_RDWR | os.O_CREAT, 0o644)
        if take(lock):
            return lock
    return None


def reserve(path: bytes, seconds: float) -> float:
    """Take so much of the time that all workers share, and return how long to wait for it."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = time.time()
        try:
            begins = float(file.read() or 0)
        except ValueError:
            begins = 0.0
        begins = min(max(begins, now), now + 60)  # whatever the clock did meanwhile
        file.seek(0)
        file.write(b"%.6f\n" % (begins + seconds))
        file.truncate()
    return begins - now


# Answers


def answer_ask(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Say of each package how far it is; begin with those whose source is told, as far as there are slots."""
    os.makedirs(os.path.join(root, b".work"), exist_ok=True)
    packages = {item["name"]: ask(root, item, request) for item in request["packages"]}
    return {"packages": packages, "free": free_slots(root, int(request["parallel"]))}


def ask(root: bytes, item: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Say how far a package is; begin if its source is told."""
    package = Package(root, item["name"])
    lock = package.lock()
    if lock is None:
        return progress(package)
    try:
        done = package.ready()
        if done:
            if done["job"] != item["job"]:
                write_whole(package.done, dict(done, job=item["job"]))
            return {"state": "ready", "bytes": done["bytes"], "transferred": done["transferred"]}
        failure = read_json(package.failed)
        if failure:
            os.remove(package.failed)
            return dict(failure, state="failed")
        return begin(package, item, request) if "source" in item else {"state": "absent"}
    finally:
        os.close(lock)  # a worker inherited it: the lock is held until both have closed it


def progress(package: Package) -> Dict[str, Any]:
    """Return how far whoever works on a package is."""
    note = read_json(package.note) or {}
    return {
        "state": "fetching",
        "transferred": note.get("transferred", 0),
        "total": note.get("total"),
        "trouble": note.get("trouble"),
    }


def begin(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Let a detached process bring a package, if there is a slot for it."""
    slot = take_slot(package.root, int(request["parallel"]))
    if slot is None:
        return {"state": "queued"}
    package.slot = (slot, int(request["parallel"]))
    try:
        if starts_in_vain(package) > STARTS_IN_VAIN:
            remove_files(package.starts)
            return {
                "state": "failed",
                "kind": "killed",
                "message": KILLED,
                "transferred": progress(package)["transferred"],
            }
        detach(lambda: work_and_tell(package, item, request))
    finally:
        os.close(slot)
    return progress(package)


def starts_in_vain(package: Package) -> int:
    """Count one more begin; return how many there were since one told what became of it, or got any further."""
    come = {"part": size_of(package.part), "transferred": progress(package)["transferred"]}
    before = read_json(package.starts) or {}
    count = before["count"] + 1 if before.get("come") == come else 1
    write_whole(package.starts, {"count": count, "come": come})
    return int(count)


def wait(package: Package, seconds: float) -> None:
    """Wait, and let others have the slot meanwhile."""
    if package.slot is None:
        time.sleep(seconds)
        return
    slot, parallel = package.slot
    os.close(slot)
    time.sleep(seconds)
    again = take_slot(package.root, parallel)
    while again is None:
        time.sleep(SLOT_SECONDS)
        again = take_slot(package.root, parallel)
    package.slot = (again, parallel)


def free_slots(root: bytes, parallel: int) -> int:
    """Return how many packages could be begun with now."""
    locks = list(iter(lambda: take_slot(root, parallel), None))
    for lock in locks:
        os.close(lock)
    return len(locks)


def answer_let_go(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove packages as these jobs have brought them, and nothing that another job brought; answer which are gone."""
    return {"gone": [name for name, job in request["packages"] if release(Package(root, name), job)]}


def answer_sweep(root: bytes, request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove what is left of packages that nobody has worked on for so long; answer of which."""
    before = time.time() - float(request["older_than_seconds"])
    try:
        names = [os.fsdecode(name) for name in os.listdir(os.path.join(root, b".work"))]
    except FileNotFoundError:
        names = []
    return {"swept": sorted(name for name in names if NAME.fullmatch(name) and sweep(Package(root, name), before))}


def sweep(package: Package, before: float) -> bool:
    """Remove what is left of a package that is not in place, if all of it is older than that; say whether it was."""
    times = []
    for path in (package.work, package.part, package.note, package.new):
        with contextlib.suppress(FileNotFoundError):
            times.append(os.stat(path).st_mtime)
    if not times or max(times) > before or os.path.exists(package.done):
        return False
    lock = package.lock()
    if lock is None:
        return False
    try:
        forget(package)
    finally:
        os.close(lock)
    return True


def release(package: Package, job: Any) -> bool:
    """Remove what a job has brought; say whether it is gone."""
    lock = package.lock()
    if lock is None:
        return False
    try:
        done = read_json(package.done)
        if done is None or done["job"] == job:  # else it was brought anew since
            leaving = os.path.join(package.work, b"leaving")
            remove_tree(leaving)
            if os.path.isdir(package.final):
                os.rename(package.final, leaving)
            remove_tree(leaving)
            forget(package)
        return True
    finally:
        os.close(lock)


def forget(package: Package) -> None:
    """Remove what is noted of a package, its lock last: until then nobody else begins."""
    for name in os.listdir(package.work):
        path = os.path.join(package.work, name)
        if os.path.isdir(path):
            remove_tree(path)
        elif name != b"lock":
            os.remove(path)
    os.remove(os.path.join(package.work, b"lock"))
    with contextlib.suppress(OSError):  # somebody asks for it again
        os.rmdir(package.work)


# The worker


def detach(work: Callable[[], None]) -> None:
    """Do the work in a process that belongs to nobody and holds none of our streams."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            os.chdir("/")
            work()
    finally:
        os._exit(0)


def work_and_tell(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Bring a package, here or where the mover puts it, or leave word why not."""
    try:
        if request.get("mover"):
            move(package, item, request)
        else:
            bring(package, item, request)
    except Failed as error:
        tell(package, error.kind, str(error))
    except OSError as error:
        kind = "full" if error.errno in FULL else "broken"
        tell(package, kind, no_room(package) if kind == "full" else "%s: %s" % (place(error, package), error.strerror))
    except Exception:  # noqa: BLE001 - whatever happens is told
        tell(package, "broken", traceback.format_exc(limit=-3))


def tell(package: Package, kind: str, message: str) -> None:
    """Leave word of a failure; what came stays where the next one can go on with it."""
    note = read_json(package.note) or {}
    if kind in WORTHLESS:
        remove_files(package.part, package.note, package.member)
        remove_tree(package.new)
    remove_files(package.starts)
    write_whole(package.failed, {"kind": kind, "message": message, "transferred": note.get("transferred", 0)})


def place(error: OSError, package: Package) -> str:
    """Return the path that an error names."""
    return os.fsdecode(error.filename or package.work)


def no_room(package: Package, needed: Optional[int] = None) -> str:
    """Return how much room there is, and how much is needed where that is known."""
    words = "%d bytes are free in %s" % (free_bytes(package.root), os.fsdecode(package.root))
    return words if needed is None else "%d more bytes are needed, %s" % (needed, words)


def move(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Let the mover's command run this program for one package, where the data is."""
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), os.fsdecode(package.root), "work"]
    command = [str(word) for word in request["mover"]] + words
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    told = json.dumps({"item": item, "request": dict(request, mover=None, packages=[])}).encode("utf-8")
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=before_exec,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        raise Failed("broken", "cannot start %s: %s" % (command[0], error.strerror)) from error
    stderr = process.communicate(told)[1].decode("utf-8", "replace").strip()
    if process.returncode:
        said = " / ".join(re.sub(r"\?\S*", "?…", stderr).splitlines()[-3:])[-300:]
        raise Failed("broken", "%s: exit code %d: %s" % (" ".join(command[:3]), process.returncode, said))


def bring(package: Package, item: Dict[str, Any], request: Dict[str, Any]) -> None:
    """Bring a package, verify all of it, and put it in place."""
    source, limit = item["source"], request.get("mb_per_second")
    line = Line(package, item["job"], limit * 1e6 if limit else None)
    expected = {}
    for path, size, sha256 in source["files"]:
        expected[clean(path)] = (int(size), str(sha256))
    limit_memory()
    line.tell()
    pauses = [float(seconds) for seconds in request.get("retry_seconds", RETRY_SECONDS)]
    patience = Patience(pauses, float(source.get("patience_seconds", 0)))
    if source["packed"]:
        size = sum(size for size, _ in expected.values())
        fetch(package, source["from"][0], line, patience, Allowance(tar_bound(expected), size))
        unpack(package, expected)
    else:
        fetch_files(package, source, expected, line, patience)
    total = sum(size for size, _ in expected.values())
    done = {"job": item["job"], "bytes": total, "transferred": line.note["transferred"]}
    remove_tree(package.final)  # one of which nothing is noted
    write_whole(package.done, done)
    os.rename(package.new, package.final)
    sync_directory(package.root)
    remove_files(package.part, package.note, package.starts)


def fetch_files(
    package: Package,
    source: Dict[str, Any],
    expected: Dict[str, Tuple[int, str]],
    line: Line,
    patience: Patience,
) -> None:
    """Bring a package that lies unpacked; files that are in place already have been verified."""
    for (path, size, sha256), address in zip(source["files"], source["from"]):  # noqa: B905 - Python 3.6
        target = os.path.join(package.new, encoded(clean(path)))
        if os.path.isfile(target):
            continue
        fetch(package, address, line, patience, Allowance(int(size), 0))
        with open(package.part, "rb") as file:
            found = digest(file)
        compare(path, (os.path.getsize(package.part), found), (int(size), sha256))
        put_verified(package, package.part, path)
    if not expected:
        os.makedirs(package.new, exist_ok=True)
    for inner, _, names in os.walk(package.new):
        for name in names:
            path = os.fsdecode(os.path.relpath(os.path.join(inner, name), package.new))
            if path not in expected:
                raise Failed("wrong", "%s is not registered" % path)


def fetch(package: Package, address: str, line: Line, patience: Patience, allowed: Allowance) -> None:
    """Bring one file into the part, going on where it ends; a line that breaks is tried again a few times."""
    if line.note.get("of") != shown(address):
        line.tell(of=shown(address), etag=None, total=None)
        with contextlib.suppress(FileNotFoundError):
            os.remove(package.part)
    tries, since = 0, time.monotonic()
    while True:
        before = size_of(package.part)
        try:
            fetch_on(package, address, line, allowed)
        except Changed:
            os.remove(package.part)
            line.tell(etag=None, total=None)
        except Broken as error:
            trouble = "%s: %s" % (shown(address), error)
            if size_of(package.part) > before:
                tries, since = 0, time.monotonic()
            if tries >= len(patience.pauses) and time.monotonic() - since >= patience.seconds:
                raise Failed("unreachable", trouble) from error
            line.tell(trouble=trouble)
            wait(package, patience.pause(tries))
            tries += 1
        else:
            return


def fetch_on(package: Package, address: str, line: Line, allowed: Allowance) -> None:
    """Bring what is missing of a file; raise Broken where that ends too early."""
    have = size_of(package.part) if line.note.get("etag") else 0
    stream, begins, total, etag = open_source(address, have, line.note)
    with contextlib.closing(stream), open(os.open(package.part, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
        file.truncate(begins)
        file.seek(begins)
        line.tell(etag=etag, total=total, trouble=None)
        allowed.check(address, total)
        needed = total - begins + allowed.room
        if needed > free_bytes(package.root):
            raise Failed("full", no_room(package, needed))
        for block in iter(lambda: read_block(stream), b""):
            file.write(block)
            line.took(len(block))
            allowed.check(address, file.tell())
        file.flush()
        os.fsync(file.fileno())
    line.tell()
    if size_of(package.part) != total:
        raise Broken("ended after %d of %d bytes" % (size_of(package.part), total))


def read_block(stream: Any) -> bytes:
    """Return the next bytes of a source; raise Broken where the line does."""
    try:
        return bytes(stream.read(BLOCK_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from error


def open_source(address: str, have: int, note: Dict[str, Any]) -> Tuple[Any, int, int, str]:
    """Open a path or a web address; return it with the byte that it begins at, its whole size, and its version."""
    if not address.startswith(("http://", "https://")):
        return open_path(address, have, note)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers.update({"Range": "bytes=%d-" % have, "If-Match": note["etag"]})
    try:
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http or https
        answer = urllib.request.urlopen(request, timeout=CONNECTION_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and have == note.get("total"):
            return io.BytesIO(), have, have, note["etag"]
        raise refusal(error, address) from None
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(getattr(error, "reason", error)) or type(error).__name__) from None
    whole = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and whole and int(whole.group(1)) == have:
        return answer, have, int(whole.group(2)), answer.headers.get("ETag", "")
    if answer.status != 200 or answer.headers.get("Content-Length") is None:
        raise Failed("broken", "%s: answered %d without telling its size" % (shown(address), answer.status))
    return answer, 0, int(answer.headers["Content-Length"]), answer.headers.get("ETag", "")


def refusal(error: urllib.error.HTTPError, address: str) -> Exception:
    """Return what a server's answer means."""
    with contextlib.closing(error):
        body = b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            body = error.read(1 << 16)
    code = ERROR_CODE.search(body)
    said = "%s: answered %d %s" % (shown(address), error.code, code.group(1).decode() if code else error.reason)
    if error.code in (412, 416):
        return Changed(said)
    if error.code in (401, 403):
        return Failed("expired" if b"expired" in body else "refused", said)
    if error.code in (404, 410):
        return Failed("missing", said)
    if error.code in (408, 429) or error.code >= 500:
        return Broken("answered %d %s" % (error.code, error.reason))
    return Failed("broken", said)


def open_path(path: str, have: int, note: Dict[str, Any]) -> Tuple[BinaryIO, int, int, str]:
    """Open a file on a disk or tape that is mounted here."""
    try:
        file = open(encoded(path), "rb")  # noqa: SIM115 - whoever asked closes it
    except FileNotFoundError:
        raise Failed("missing", "%s: no such file" % path) from None
    except PermissionError:
        raise Failed("refused", "%s: permission denied" % path) from None
    except OSError as error:
        raise Broken(error.strerror or str(error)) from None
    found = os.fstat(file.fileno())
    etag = "%d-%d" % (found.st_size, found.st_mtime_ns)
    if etag != note.get("etag"):
        have = 0
    file.seek(have)
    return file, have, found.st_size, etag


def tar_bound(expected: Dict[str, Tuple[int, str]]) -> int:
    """Return how large a tar of these files can be, compressed or not."""
    members = len(expected) + MEMBERS_BEYOND_FILES
    content = sum(size + size // 1000 + tarfile.BLOCKSIZE for size, _ in expected.values())  # gzip may add a little
    return content + members * HEADERS_BYTES + END_BYTES


class BoundedHeader(tarfile.TarInfo):
    """A member of a tar whose header is short: a longer one is read whole into memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        """Return what a block says; raise Failed for one that announces more than a header is."""
        header = super().frombuf(buf, encoding, errors)
        if header.type == tarfile.GNUTYPE_SPARSE or (header.type in LONG_HEADERS and header.size > HEADER_BYTES):
            raise Failed("unsafe", "the tar has a header of %d bytes, or a sparse file" % header.size)
        return header


class Bounded:
    """What a tar is read from: no more than so many bytes, however little they were when compressed."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self.stream = gzip.GzipFile(fileobj=file) if packed else file  # type: Any
        self.packed, self.left = packed, most

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        try:
            block = bytes(self.stream.read(count))
        except OSError as error:
            if not self.packed or error.errno is not None:
                raise
            raise Failed("wrong", "what lies there is no whole tar: %s" % error) from error
        self.left -= len(block)
        if self.left < 0:
            raise Failed("unsafe", "the tar is larger than what is registered can be")
        return block


def limit_memory() -> None:
    """Let this process take so much more memory and no more: the machine is not ours alone."""
    with open("/proc/self/statm", "rb") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def unpack(package: Package, expected: Dict[str, Tuple[int, str]]) -> None:
    """Unpack the tar that came: the registered files, each with its checksum, and nothing else."""
    remove_tree(package.new)
    os.makedirs(package.new)
    seen = set()  # type: Set[str]
    try:
        with open(package.part, "rb") as file, open_tar(file, tar_bound(expected)) as tar:
            for number, member in enumerate(tar):
                if number >= len(expected) + MEMBERS_BEYOND_FILES:
                    raise Failed("unsafe", "the tar has more than %d members" % number)
                path = clean(member.name)
                if member.isdir():
                    continue
                check_member(member, path, seen, expected)
                compare(path, write_member(package, tar.extractfile(member), member.size), expected[path])
                put_verified(package, package.member, path)
                seen.add(path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Failed("wrong", "what lies there is no whole tar: %s" % error) from error
    except (MemoryError, RecursionError) as error:
        raise Failed("unsafe", "the tar's headers take too much memory: %s" % type(error).__name__) from None
    missing = sorted(set(expected) - seen)
    if missing:
        raise Failed("wrong", "the tar lacks %d registered files, the first is %s" % (len(missing), missing[0]))


def open_tar(file: BinaryIO, most: int) -> tarfile.TarFile:
    """Open a tar, compressed or not."""
    source = Bounded(file, most)  # type: Any
    return tarfile.open(fileobj=source, mode="r|", errors="surrogateescape", tarinfo=BoundedHeader)


def check_member(member: tarfile.TarInfo, path: str, seen: Set[str], expected: Dict[str, Tuple[int, str]]) -> None:
    """Raise Failed for anything but a registered file that has not come yet."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise Failed("unsafe", "the tar holds a link or device: %s" % path)
    if path in seen:
        raise Failed("unsafe", "the tar holds %s twice" % path)
    if path not in expected:
        raise Failed("wrong", "the tar holds %s, which is not registered" % path)
    if member.size != expected[path][0]:
        raise Failed("wrong", "%s has %d bytes, not %d" % (path, member.size, expected[path][0]))


def write_member(package: Package, member: Any, size: int) -> Tuple[int, str]:
    """Write a member beside what is verified; return its size and checksum."""
    found, left = hashlib.sha256(), size
    with open(package.member, "wb") as file:
        while left > 0:
            block = member.read(min(BLOCK_BYTES, left))
            if not block:
                break
            found.update(block)
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())
    return size - left, found.hexdigest()


def put_verified(package: Package, file: bytes, path: str) -> None:
    """Let a file that was compared be one of the package's: none but such lie there, whoever is killed."""
    target = os.path.join(package.new, encoded(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(file, target)


def compare(path: str, found: Tuple[int, str], expected: Tuple[int, str]) -> None:
    """Raise Failed where a file is not the registered one."""
    if found[0] != expected[0]:
        raise Failed("wrong", "%s has %d bytes, not %d" % (path, found[0], expected[0]))
    if found[1] != expected[1]:
        raise Failed("wrong", "%s has sha256 %s, not %s" % (path, found[1], expected[1]))


def clean(path: str) -> str:
    """Return a relative path without "." steps; raise Failed for one that leaves its directory."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise Failed("unsafe", "%r leaves the package's directory" % path)
    return "/".join(parts)


def shown(address: str) -> str:
    """Return an address without what is signed."""
    return re.sub(r"//[^/@]*@", "//", address.partition("?")[0]) if "://" in address else address


def encoded(path: str) -> bytes:
    """Return a path as bytes, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def digest(file: BinaryIO) -> str:
    """Return the sha256 of what is left of a file."""
    found = hashlib.sha256()
    for block in iter(lambda: file.read(BLOCK_BYTES), b""):
        found.update(block)
    return found.hexdigest()


def size_of(path: bytes) -> int:
    """Return a file's size, 0 for none."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def free_bytes(path: bytes) -> int:
    """Return how many bytes are free for us on a disk."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def remove_tree(path: bytes) -> None:
    """Remove a directory with all that is in it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def remove_files(*paths: bytes) -> None:
    """Remove those files that are there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def read_json(path: bytes) -> Optional[Dict[str, Any]]:
    """Return what a file of ours says, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (FileNotFoundError, ValueError):
        return None


def write_whole(path: bytes, content: Dict[str, Any]) -> None:
    """Write a JSON file that is either whole or absent."""
    temporary = path + b".part-%d" % os.getpid()
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def sync_directory(path: bytes) -> None:
    """Make renames in a directory last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


ANSWERS = {"ask": answer_ask, "release": answer_let_go, "sweep": answer_sweep}


def answer(directory: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what is asked; a failure of the directory itself is one of every package."""
    root = os.path.abspath(os.fsencode(directory))
    try:
        return ANSWERS[request["do"]](root, request)
    except OSError as error:
        kind = "full" if error.errno in FULL else "broken"
        return {"problem": {"kind": kind, "message": "%s: %s" % (os.fsdecode(error.filename or root), error.strerror)}}


def main(arguments: List[str]) -> int:
    """Answer one request, or do the work of one package."""
    os.umask(0o022)
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: stage_program.py DIRECTORY < request.json > answer.json\n")
        return 78
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    if arguments[1:] == ["work"]:
        package = Package(os.path.abspath(os.fsencode(arguments[0])), request["item"]["name"])
        work_and_tell(package, request["item"], request["request"])
        return 0
    sys.stdout.write(json.dumps(answer(arguments[0], request)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
