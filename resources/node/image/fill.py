"""Copy an image into the cache, in a process that holds the image's lock."""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import traceback
from typing import Any, Iterator, List

from resources.node.children import die_with_parent, kill_group
from resources.node.files import sha256_of, sync_directory
from resources.node.image.cached import Image, leave_failure, now
from resources.node.image.reference import Failed, without_credentials
from resources.node.trees import remove_tree

SECRET_NAMES = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET")


def fill_or_explain(image: Image, apptainer: str) -> None:
    """Copy the image into the cache within its time limit, or write why that failed."""

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
        leave_failure(image, str(error))
    except OSError as error:
        leave_failure(image, "%s: %s" % (os.fsdecode(error.filename or image.cache), error.strerror))
    except Exception:  # noqa: BLE001 - whatever happens is reported
        leave_failure(image, traceback.format_exc())


def fill(image: Image, apptainer: str) -> None:
    """Make the SIF file, then rename its sidecar and the SIF file into place; raise Failed."""
    version = None
    if image.kind == "file":
        sif_sha256 = copy(image.name, image.part)
        check(image, sif_sha256)
    else:
        with working_directory(image) as directory:
            version = run([apptainer, "--version"], directory)
            if image.kind.endswith("-archive"):
                check(image, sha256_of(image.name.encode("utf-8")))
            run(make_command(image, apptainer), directory)
        sif_sha256 = sha256_of(image.part)
        if image.kind == "oras":
            check(image, sif_sha256)
    with open(image.part, "rb") as file:
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    sidecar = {"reference": image.reference, "source_sha256": image.sha256, "sif_sha256": sif_sha256}
    image.write(image.sidecar, dict(sidecar, made_at=now(), apptainer=version))
    os.rename(image.part, image.sif)
    sync_directory(image.cache)


def remove_parts(image: Image) -> None:
    """Remove the partial files of this image; only the holder of its lock may call this."""
    for name in os.listdir(image.cache):
        if name.startswith(image.part_prefix):
            path = os.path.join(image.cache, name)
            if os.path.isdir(path):
                remove_tree(path)
            else:
                os.remove(path)


def check(image: Image, found: str) -> None:
    """Raise Failed where a file's checksum is not the declared one."""
    if found != image.sha256:
        raise Failed("has sha256 %s, not %s" % (found, image.sha256))


def make_command(image: Image, apptainer: str) -> List[str]:
    """Return apptainer's command line that makes the SIF file."""
    part = image.part.decode("utf-8", "surrogateescape")
    if image.kind.endswith("-archive"):
        return [apptainer, "-q", "build", "--disable-cache", part, "%s:%s" % (image.kind, image.name)]
    insecure = ["--no-https"] if image.name.partition("/")[0] in image.insecure_registries else []
    return [apptainer, "-q", "pull", "--disable-cache", *insecure, part, "%s://%s" % (image.kind, image.name)]


@contextlib.contextmanager
def working_directory(image: Image) -> Iterator[bytes]:
    """Give a temporary directory, used by this process only, into which apptainer unpacks."""
    path = image.part + b".work"
    os.mkdir(path)
    try:
        yield path
    finally:
        remove_tree(path)


def run(command: List[str], directory: bytes) -> str:
    """Return a command's output; raise Failed with its last lines on stderr where it fails."""
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
        kill_group(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        words = "%s: exit code %d" % (" ".join(command[:3]), process.returncode)
        raise Failed("%s: %s" % (words, last_lines(stderr)))
    return stdout.decode("utf-8", "replace").strip()


def last_lines(stderr: bytes) -> str:
    """Return the last lines of a program's stderr, without credentials."""
    text = stderr.decode("utf-8", "replace")
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and value:
            text = text.replace(value, "…")
    text = without_credentials(text)
    text = re.sub(r"(?i)\b(bearer|basic)\s+\S+|\b(\w*(?:token|password|secret|signature)=)[^&\s]+", r"\1\2…", text)
    lines = ["".join(filter(str.isprintable, line)).strip() for line in text.splitlines()]
    return " / ".join([line for line in lines if line][-3:])[-500:]


def copy(source: str, target: bytes) -> str:
    """Copy a file and return its sha256."""
    found = hashlib.sha256()
    with open(source.encode("utf-8"), "rb") as reader, open(target, "wb") as writer:
        for block in iter(lambda: reader.read(1 << 20), b""):
            found.update(block)
            writer.write(block)
    return found.hexdigest()
