"""Ask for an image in a cache of SIF files: python3 image_program.py CACHE_DIRECTORY APPTAINER < request.json.

Stands alone: Python >= 3.6 on Linux, standard library only, so that it runs on any login node as it runs here. Answers
at once with one line of JSON. An image that is not there is filled in by a detached process that holds
<sha256>.lock: however many ask, on however many machines of one file system, one fills. Each file appears by rename,
the sidecar <sha256>.json before <sha256>.sif: whenever a filler dies, what is there is whole, and whoever asks next
starts another.
"""
# Paths are bytes: a login node's locale may be unable to decode them.
# ruff: noqa: PTH100, PTH101, PTH102, PTH103, PTH104, PTH107, PTH112, PTH113, PTH114, PTH118, PTH123, PTH208

import contextlib
import ctypes
import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

VALID = "an absolute path, file:///…, oras://…, docker://…, docker-archive:/… or oci-archive:/…"
NAME = re.compile(r"[A-Za-z0-9._:/@-]+")  # of an image in a registry
CREDENTIALS = re.compile(r"//[^/\s@]*@(?!sha256:)")
SHA256 = re.compile(r"[0-9a-f]{64}")
SECRET_NAMES = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET")
FILL_SECONDS = 7200.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Failed(Exception):
    """Raised with why there will be no image."""


class Image:
    """One image that is asked for, and its files in the cache."""

    def __init__(self, cache: bytes, request: Dict[str, Any]) -> None:
        self.reference, self.sha256 = str(request["reference"]), str(request["sha256"])
        self.insecure_registries = [str(name) for name in request.get("insecure_registries", [])]
        self.seconds = float(request.get("time_limit_seconds", FILL_SECONDS))
        if not SHA256.fullmatch(self.sha256):
            raise Failed("%r is not a sha256" % self.sha256)
        self.kind, self.name = parse(self.reference, self.sha256)
        self.cache = cache
        self.sif, self.sidecar, self.lock, self.failed = (
            os.path.join(cache, self.sha256.encode() + ending) for ending in (b".sif", b".json", b".lock", b".failed")
        )
        self.part_prefix = b".%s.part-" % self.sha256.encode()

    @property
    def part(self) -> bytes:
        """Return where this process fills in what it will rename."""
        return os.path.join(self.cache, self.part_prefix + b"%d" % os.getpid())

    def ready(self) -> Optional[Dict[str, Any]]:
        """Return the answer if the image is there, with the sidecar that was written before it."""
        try:
            with open(self.sidecar, encoding="utf-8") as file:
                sif_sha256 = json.load(file)["sif_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not os.path.isfile(self.sif):
            return None
        return {"state": "ready", "path": self.sif.decode("utf-8", "surrogateescape"), "sha256": sif_sha256}


def parse(reference: str, sha256: str) -> Tuple[str, str]:
    """Return a reference's kind and the path or name that apptainer is given; raise Failed for what is none."""
    if CREDENTIALS.search(reference):
        raise Failed("names a user: credentials belong into apptainer's own configuration")
    if reference.startswith("/"):
        return "file", reference
    scheme, _, rest = reference.partition(":")
    double, name = rest.startswith("//"), re.sub("^//", "", rest)
    if scheme == "file" and double and name.startswith("/"):
        return "file", name
    if scheme in ("docker-archive", "oci-archive") and name.startswith("/"):
        if ":" in name:
            raise Failed("apptainer cannot read an archive with ':' in its path")
        return scheme, name
    if scheme in ("oras", "docker") and double and NAME.fullmatch(name):
        return scheme, name if scheme == "oras" else by_digest(name, sha256)
    raise Failed("must be " + VALID)


def by_digest(name: str, sha256: str) -> str:
    """Return the name of the image with this manifest, without its tag."""
    name, _, digest = name.partition("@")
    if digest not in ("", "sha256:" + sha256):
        raise Failed("names the manifest %s, not sha256:%s" % (digest, sha256))
    path, slash, last = name.rpartition("/")
    return "%s%s%s@sha256:%s" % (path, slash, last.partition(":")[0], sha256)


def ask(image: Image, apptainer: str) -> Dict[str, Any]:
    """Return whether the image is there; see to it that somebody fills it in if it is not."""
    os.makedirs(image.cache, exist_ok=True)
    found = image.ready()
    if found:
        return found
    lock = os.open(image.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        answer = image.ready() or take_failure(image)
        if answer is None:
            detach(lambda: fill_and_tell(image, apptainer))
    except BlockingIOError:
        return {"state": "filling"}
    finally:
        os.close(lock)  # a filler inherited it: the lock is held until both have closed it
    return answer or {"state": "filling"}


def take_failure(image: Image) -> Optional[Dict[str, Any]]:
    """Return how the last filler failed, once."""
    try:
        with open(image.failed, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    os.remove(image.failed)
    told = json.loads(text)
    return {"state": "failed", "message": "%s (%s)" % (told["message"], told["time"])}


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


def fill_and_tell(image: Image, apptainer: str) -> None:
    """Fill in the image or leave why not, in the time that there is."""

    def too_late(_number: int, _frame: Any) -> None:
        raise Failed("not there after %g s" % image.seconds)

    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, image.seconds)
    try:
        try:
            remove_parts(image)
            fill(image, apptainer)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            remove_parts(image)
    except Failed as error:
        tell(image, str(error))
    except OSError as error:
        tell(image, "%s: %s" % (os.fsdecode(error.filename or image.cache), error.strerror))
    except Exception:  # noqa: BLE001 - whatever happens is told
        tell(image, traceback.format_exc())


def tell(image: Image, message: str) -> None:
    """Leave word of a failure."""
    write_whole(image, image.failed, {"message": message, "time": now()})


def remove_parts(image: Image) -> None:
    """Remove what fillers of this image have left; to be called by the lock's holder alone."""
    for name in os.listdir(image.cache):
        if name.startswith(image.part_prefix):
            path = os.path.join(image.cache, name)
            if os.path.isdir(path):
                remove_tree(path)
            else:
                os.remove(path)


def remove_tree(path: bytes) -> None:
    """Remove a directory, also where an unpacked image made parts of it unreadable."""
    for place, inner, _ in os.walk(path):
        for name in inner:
            if not os.path.islink(os.path.join(place, name)):
                os.chmod(os.path.join(place, name), 0o700)
    shutil.rmtree(path)


def fill(image: Image, apptainer: str) -> None:
    """Make the SIF, and put sidecar and SIF in place."""
    version = None
    if image.kind == "file":
        sif_sha256 = copy(image.name, image.part)
        check(image, sif_sha256)
    else:
        with working_directory(image) as directory:
            version = run([apptainer, "--version"], directory)
            if image.kind.endswith("-archive"):
                check(image, digest(image.name.encode("utf-8")))
            run(make_command(image, apptainer), directory)
        sif_sha256 = digest(image.part)
        if image.kind == "oras":
            check(image, sif_sha256)
    with open(image.part, "rb") as file:
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    told = {"reference": image.reference, "source_sha256": image.sha256, "sif_sha256": sif_sha256}
    write_whole(image, image.sidecar, dict(told, made_at=now(), apptainer=version))
    os.rename(image.part, image.sif)
    sync_directory(image.cache)


def check(image: Image, found: str) -> None:
    """Raise Failed where a file's checksum is not the declared one."""
    if found != image.sha256:
        raise Failed("has sha256 %s, not %s" % (found, image.sha256))


def make_command(image: Image, apptainer: str) -> List[str]:
    """Return apptainer's command line that makes the SIF."""
    part = image.part.decode("utf-8", "surrogateescape")
    if image.kind.endswith("-archive"):
        return [apptainer, "-q", "build", "--disable-cache", part, "%s:%s" % (image.kind, image.name)]
    insecure = ["--no-https"] if image.name.partition("/")[0] in image.insecure_registries else []
    return [apptainer, "-q", "pull", "--disable-cache", *insecure, part, "%s://%s" % (image.kind, image.name)]


@contextlib.contextmanager
def working_directory(image: Image) -> Iterator[bytes]:
    """Give a directory of this filler's own for what apptainer unpacks."""
    path = image.part + b".work"
    os.mkdir(path)
    try:
        yield path
    finally:
        remove_tree(path)


def run(command: List[str], directory: bytes) -> str:
    """Return what a command writes; raise Failed with its last words where it fails."""
    environment = dict(os.environ)
    for name in ("APPTAINER_CACHEDIR", "APPTAINER_TMPDIR", "TMPDIR"):
        environment[name] = directory.decode("utf-8", "surrogateescape")
    try:
        process = subprocess.Popen(
            [word.encode("utf-8", "surrogateescape") for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        raise Failed("cannot start %s: %s" % (command[0], error.strerror)) from error
    try:
        stdout, stderr = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        words = "%s: exit code %d" % (" ".join(command[:3]), process.returncode)
        raise Failed("%s: %s" % (words, last_lines(stderr)))
    return stdout.decode("utf-8", "replace").strip()


def die_with_parent() -> Callable[[], None]:
    """Return what a child does before exec so that the kernel kills it when this process ends."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def last_lines(stderr: bytes) -> str:
    """Return the last lines of what a program complained of, without credentials."""
    text = stderr.decode("utf-8", "replace")
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and value:
            text = text.replace(value, "…")
    text = without_credentials(text)
    text = re.sub(r"(?i)\b(bearer|basic)\s+\S+|\b(\w*(?:token|password|secret|signature)=)[^&\s]+", r"\1\2…", text)
    lines = ["".join(filter(str.isprintable, line)).strip() for line in text.splitlines()]
    return " / ".join([line for line in lines if line][-3:])[-500:]


def without_credentials(text: str) -> str:
    """Return text whose references name no user."""
    return CREDENTIALS.sub("//…@", text)


def copy(source: str, target: bytes) -> str:
    """Copy a file and return its sha256."""
    found = hashlib.sha256()
    with open(source.encode("utf-8"), "rb") as reader, open(target, "wb") as writer:
        for block in iter(lambda: reader.read(1 << 20), b""):
            found.update(block)
            writer.write(block)
    return found.hexdigest()


def digest(path: bytes) -> str:
    """Return a file's sha256."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def write_whole(image: Image, path: bytes, content: Dict[str, Any]) -> None:
    """Write a JSON file that is either whole or absent."""
    temporary = image.part + b".json"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    sync_directory(image.cache)


def sync_directory(path: bytes) -> None:
    """Make renames in a directory last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def now() -> str:
    """Return the time as UTC."""
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def main(arguments: List[str]) -> int:
    """Answer one request."""
    if len(arguments) != 2:
        sys.stderr.write("usage: image_program.py CACHE_DIRECTORY APPTAINER < request.json\n")
        return 78
    os.umask(0o022)
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    try:
        answer = ask(Image(os.path.abspath(os.fsencode(arguments[0])), request), arguments[1])
    except Failed as error:
        answer = {"state": "failed", "message": str(error)}
    except OSError as error:
        answer = {"state": "failed", "message": "%s: %s" % (arguments[0], error.strerror)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
