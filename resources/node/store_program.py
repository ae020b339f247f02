"""Lay out, claim, look at, read and verify attempts where they run: python3 store_program.py < request > answer.

Stands alone: Python >= 3.6 on Linux, standard library only, so that it runs on any login node as it runs here. One call
answers for a whole batch: what it costs does not grow with the distance.
"""
# Paths are bytes: a login node's locale may be unable to decode them.

import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

LARGEST_RESULT_BYTES = 16 << 20
LARGEST_NUMBERS_BYTES = 1 << 20  # of one qa/*.json
REHASH_LIMIT_BYTES = 64 << 20  # larger files keep the checksum that the node computed
LONGEST_LOOK_SECONDS = 20.0
LONGEST_LOOK_AT_ONE_SECONDS = 5.0  # one attempt's many files must not keep the others waiting
LARGEST_ANSWER_BYTES = 32 << 20
BLOCK_BYTES = 1 << 20
NOTE_EVERY_SECONDS = 2.0  # how far the reading of a large file is
FORGOTTEN_AFTER_SECONDS = 120.0  # a large file is read for as long as somebody asks for it
NOT_TO_BE_HAD = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM)
)  # no such regular file; with any other error it may be read later


class Bad(Exception):
    """Raised for what must not be used or believed; the message names the file."""


class OutOfTimeError(Exception):
    """Raised where the rest of an attempt is for the next look."""


def write_whole(path: bytes, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is either whole or absent."""
    temporary = path + b".part-%d-%s" % (os.getpid(), base64.b16encode(os.urandom(4)))
    with open(temporary, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.rename(temporary, path)


def lay_out(item: Dict[str, Any]) -> None:
    """Lay out one attempt; again is harmless, and a claimed attempt is left as it is."""
    root = os.fsencode(item["directory"])
    for path, message in item["needs"]:
        if not os.path.isdir(os.fsencode(path)):
            raise Bad(message)
    if os.path.lexists(os.path.join(root, b"job.json")):
        found, key = job_of(root)["submission_key"], item["submission_key"]
        if found != key:
            raise Bad("%s/job.json: belongs to submission key %r, not %r" % (item["directory"], found, key))
    if os.path.lexists(os.path.join(root, b"claim")):
        return
    os.makedirs(root, exist_ok=True)
    for name in item["directories"]:
        make_directory(inside(root, name))
    for name, target in item["links"]:
        link(inside(root, name), os.fsencode(target))
    for name, text in item["files"]:  # job.json comes last
        write_whole(inside(root, name), text.encode("utf-8"))


def make_directory(path: bytes) -> None:
    """Make a directory and those above it, asking the disk as little as can be."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)


def inside(root: bytes, name: str) -> bytes:
    """Return a path below the attempt's directory."""
    if name.startswith("/") or ".." in name.split("/"):
        raise Bad("%s is not below %s" % (name, os.fsdecode(root)))
    return os.path.join(root, os.fsencode(name))


def job_of(root: bytes) -> Dict[str, str]:
    """Return what an attempt's job.json says of it; raise Bad where it is none."""
    path = os.path.join(root, b"job.json")
    try:
        with open(path, "rb") as file:
            job = json.loads(file.read().decode("utf-8"))
        return {name: str(job[name]) for name in ("submission_key", "output_directory")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_TO_BE_HAD:
            raise
        raise Bad("%s: not a job: %r" % (os.fsdecode(path), error)) from error


def link(path: bytes, target: bytes) -> None:
    """Make a symbolic link, or turn one to its new target, by rename."""
    make_directory(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.symlink(target, path)
    if os.path.islink(path) and os.readlink(path) == target:
        return
    temporary = os.path.join(os.path.dirname(path), b".%d.link" % os.getpid())
    os.symlink(target, temporary)
    os.rename(temporary, path)


def open_inside(root: bytes, relative: str) -> Optional[int]:
    """Open a regular file, refusing a symbolic link at every step below the root; None where there is no such file.

    Raises OSError where that cannot be told now.
    """
    parts = [os.fsencode(part) for part in relative.split("/")]
    if any(part in (b"", b".", b"..") for part in parts):
        return None
    try:
        directory = open_directory(root, parts[:-1])
        try:
            # a pipe must not block whoever opens it
            handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in NOT_TO_BE_HAD:
            return None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return handle


def open_directory(root: bytes, parts: List[bytes]) -> int:
    """Open a directory below a root, refusing a symbolic link at every step."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory


def read_inside(root: bytes, relative: str, limit: int, from_end: bool = False) -> Optional[Tuple[int, bytes]]:
    """Return a file's size and no more than so many bytes of it; None for no file that can be read."""
    handle = open_inside(root, relative)
    if handle is None:
        return None
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        file.seek(max(0, size - limit) if from_end else 0)
        return size, file.read(limit)


def read_whole(root: bytes, relative: str, limit: int) -> Optional[bytes]:
    """Return a file's content, None for no file; raise Bad for a larger one."""
    found = read_inside(root, relative, limit + 1)
    if found is not None and len(found[1]) > limit:
        raise Bad("%s/%s: more than %d bytes" % (os.fsdecode(root), relative, limit))
    return None if found is None else found[1]


def blocks(file: BinaryIO) -> Iterator[memoryview]:
    """Yield what is left of an unbuffered file, block after block in the same memory."""
    block = memoryview(bytearray(BLOCK_BYTES))
    for size in iter(lambda: file.readinto(block), 0):  # type: ignore[attr-defined]
        yield block[:size]


def sha256_of(file: BinaryIO) -> str:
    """Return the sha256 of what is left of an unbuffered file."""
    digest = hashlib.sha256()
    for block in blocks(file):
        digest.update(block)
    return digest.hexdigest()


def verify(root: bytes, output: Dict[str, Any]) -> None:
    """Compare one output with what its attempt's result says of it."""
    path = "%s/%s" % (os.fsdecode(root), output["path"])
    handle = open_inside(root, output["path"])
    if handle is None:
        raise Bad("%s: not a regular file of this attempt" % path)
    with os.fdopen(handle, "rb", 0) as file:
        size = os.fstat(handle).st_size
        if size != output["size_bytes"]:
            raise Bad("%s: %d bytes, %d when the program ended" % (path, size, output["size_bytes"]))
        if size > REHASH_LIMIT_BYTES:
            return
        found = sha256_of(file)
    if found != output["sha256"]:
        raise Bad("%s: its checksum is not what it was when the program ended" % path)


def heartbeat_age(root: bytes) -> Optional[float]:
    """Return the seconds since the attempt's wrapper last gave a sign of life, None where it never did.

    The claim itself is the first one: a slow disk may let seconds pass before the wrapper writes anything into it.
    """
    times = []
    for name in (b"", b"heartbeat", b"owner.json"):
        with contextlib.suppress(OSError):
            times.append(os.stat(os.path.join(root, b"claim", name)).st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def look(directory: str, end: float) -> Optional[Dict[str, Any]]:
    """Return what an attempt has left so far; of one that completed, its outputs are compared and its numbers read.

    None where there was no time for all of its outputs: the next look goes on behind those that have been compared.
    """
    root = os.fsencode(directory)
    found = {"result": None, "problem": None, "trouble": None, "output_directory": None, "numbers": {}}  # type: Any
    found.update(claimed=os.path.lexists(os.path.join(root, b"claim")), heartbeat_age=heartbeat_age(root))
    try:
        if is_there(os.path.join(root, b"result.json")):
            collect(root, found, end)
    except Bad as bad:
        found["problem"] = str(bad)
    except OutOfTimeError:
        return None
    except OSError as error:  # it may be read later
        found["trouble"] = "%s: %s" % (directory, error)
    return dict(found)


def is_there(path: bytes) -> bool:
    """Say whether there is anything at a path; raise OSError where that cannot be told now."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in NOT_TO_BE_HAD:
            return False
        raise
    return True


def collect(root: bytes, found: Dict[str, Any], end: float) -> None:
    """Add result.json, the output directory, and the numbers of qa/*.json."""
    shown = os.fsdecode(root)
    content = read_whole(root, "result.json", LARGEST_RESULT_BYTES)
    if content is None:
        raise Bad("%s/result.json: not a regular file that can be read" % shown)
    found["result"] = content.decode("utf-8", "replace")
    try:
        result = json.loads(found["result"])
        outputs = result["outputs"] if result["outcome"] == "completed" else []
        kinds = [(output["path"] + "", output["type"]) for output in outputs]
        verify_all(root, outputs, hashlib.sha256(content).hexdigest(), end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # whoever reads the result says what is wrong with it
    found["output_directory"] = job_of(root)["output_directory"]
    for path, kind in kinds:
        if kind == "qa_metric" and path.endswith(".json"):
            numbers = read_whole(root, path, LARGEST_NUMBERS_BYTES)
            found["numbers"][path] = (numbers or b"").decode("utf-8", "replace")


def verify_all(root: bytes, outputs: List[Dict[str, Any]], result: str, end: float) -> None:
    """Compare outputs until the time is over, one at least, and note how many of this result have been compared."""
    note = os.path.join(root, b"claim", b"compared.json")
    done = compared(note, result)
    for number, output in enumerate(outputs[done:], done + 1):
        verify(root, output)
        if number < len(outputs) and time.monotonic() > end:
            with contextlib.suppress(OSError):  # where nothing can be noted, the rest is compared now
                write_whole(note, json.dumps({"result": result, "compared": number}).encode("ascii"))
                raise OutOfTimeError


def compared(note: bytes, result: str) -> int:
    """Return how many outputs of a result an earlier look has compared."""
    try:
        with open(note, "rb") as file:
            told = json.loads(file.read().decode("ascii"))
        return int(told["compared"]) if told["result"] == result else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def answer_lay_out(request: Dict[str, Any]) -> Dict[str, Any]:
    """Lay out attempts; answer with the problems by directory."""
    problems = {}
    for item in request["attempts"]:
        try:
            lay_out(item)
        except (Bad, OSError) as error:
            problems[item["directory"]] = str(error)
    return {"problems": problems}


def answer_claim(request: Dict[str, Any]) -> Dict[str, Any]:
    """Claim attempts in their wrappers' place, so that jobs that turn up later run nothing; answer which were free."""
    claimed = []
    for directory in request["directories"]:
        claim = os.path.join(os.fsencode(directory), b"claim")
        with contextlib.suppress(OSError):  # where it cannot be made, it is not ours
            os.makedirs(claim)
            claimed.append(directory)
            os.utime(claim, (0, 0))  # no sign of life
    return {"claimed": claimed}


def answer_look(request: Dict[str, Any]) -> Dict[str, Any]:
    """Look at attempts; those for which there is no time or room now are left out of the answer."""
    found = {}  # type: Dict[str, Any]
    room, end = LARGEST_ANSWER_BYTES, time.monotonic() + LONGEST_LOOK_SECONDS
    for directory in request["directories"]:
        seen = look(directory, min(end, time.monotonic() + LONGEST_LOOK_AT_ONE_SECONDS))
        if seen is not None:
            size = len(json.dumps(seen))  # as it will be sent: what is no ASCII takes up to six times its size
            if size > LARGEST_ANSWER_BYTES:
                problem = "%s: result.json and qa/*.json take %d bytes of an answer, which may have %d"
                seen.update(result=None, numbers={}, problem=problem % (directory, size, LARGEST_ANSWER_BYTES))
                size = len(json.dumps(seen))
            if size > room and found:
                break
            found[directory], room = seen, room - size
        if time.monotonic() > end:
            break
    return {"found": found}


def answer_marks(request: Dict[str, Any]) -> Dict[str, Any]:
    """Forget marks that have been seen to, and answer with the names of those that are there."""
    marks = os.fsencode(request["directory"])
    for name in request["forget"]:
        with contextlib.suppress(OSError):  # it is seen again
            os.unlink(os.path.join(marks, os.fsencode(name)))
    try:
        names = os.listdir(marks)
    except FileNotFoundError:
        names = []
    return {"marks": sorted(name.decode("ascii", "replace") for name in names)}


def answer_install(request: Dict[str, Any]) -> Dict[str, Any]:
    """Write files that are not there yet; a file's name tells its content."""
    installed = []
    for path, content in request["files"]:
        if not os.path.exists(os.fsencode(path)):
            make_directory(os.path.dirname(os.fsencode(path)))
            write_whole(os.fsencode(path), base64.b64decode(content))
            installed.append(path)
    return {"installed": installed}


def answer_missing(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer which of these paths do not lead anywhere."""
    return {"missing": [path for path in request["paths"] if not os.path.exists(os.fsencode(path))]}


def answer_read(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the size and a part of each of these files; the last ones are left out where the answer is full."""
    files, room = [], LARGEST_ANSWER_BYTES
    for root, path, limit, from_end in request["files"]:
        found = None
        with contextlib.suppress(OSError):
            found = read_inside(os.fsencode(root), path, limit, from_end)
        files.append(found and [found[0], base64.b64encode(found[1]).decode("ascii")])
        room -= len(found[1]) if found else 0
        if room < 0:
            break
    return {"files": files}


def answer_checksum(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with size and checksum of each of these files; the last ones are left out when time is over."""
    files, end = [], time.monotonic() + LONGEST_LOOK_SECONDS
    for root, path, size in request["files"]:
        try:
            files.append(checksum(os.fsencode(root), path, size, request))
        except OSError as error:
            files.append({"size": size, "sha256": None, "problem": str(error)})
        if time.monotonic() > end:
            break
    return {"files": files}


def checksum(root: bytes, path: str, size: int, request: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return what a file is, None for no regular file; one of another size than expected is not read."""
    handle = open_inside(root, path)
    if handle is None:
        return None
    with os.fdopen(handle, "rb", 0) as file:
        found = os.fstat(handle).st_size
        if found != size:
            return {"size": found, "sha256": None}
        if size <= request["at_once_bytes"]:
            return {"size": found, "sha256": sha256_of(file)}
    return {"size": found, **far_enough(root, path, request)}


def far_enough(root: bytes, path: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Return how far the process is that reads a large file, longer than one call may take; start it if there is none.

    The notes are the asker's own, so that nobody takes an old checksum for a new one.
    """
    name = hashlib.sha256(b"%s/%s" % (root, os.fsencode(path))).hexdigest() + "." + request["asker"]
    note = os.path.join(os.fsencode(request["notes"]), os.fsencode(name))
    make_directory(os.path.dirname(note))
    with open(note + b".asked", "wb"):
        os.utime(note + b".asked")
    try:
        age = time.time() - os.stat(note).st_mtime
        with open(note, encoding="ascii") as file:
            told = dict(json.load(file))
    except FileNotFoundError:
        age, told = 0.0, {}
    if not told or ("sha256" not in told and age > FORGOTTEN_AFTER_SECONDS):
        told = {"read": 0}
        write_whole(note, json.dumps(told).encode("ascii"))
        start_alone({"do": "hash", "root": os.fsdecode(root), "path": path, "note": os.fsdecode(note)})
    elif "sha256" in told:
        forget(note)
    return {"sha256": None, **told}


def start_alone(request: Dict[str, Any]) -> None:
    """Start this program on a request in a process that belongs to nobody and holds none of our streams."""
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), json.dumps(request)]
    shell = ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *words]
    subprocess.check_call(shell, start_new_session=True, cwd="/")


def forget(note: bytes) -> None:
    """Remove a note and the mark of who asks for it."""
    for path in (note, note + b".asked"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def answer_hash(request: Dict[str, Any]) -> Dict[str, Any]:
    """Read a large file to its end and leave its checksum in a note, unless nobody asks for it any more."""
    note = os.fsencode(request["note"])
    try:
        handle = open_inside(os.fsencode(request["root"]), request["path"])
        if handle is None:
            told = {"sha256": None, "problem": "no regular file any more"}  # type: Dict[str, Any]
        else:
            told = {"sha256": sha256_for(note, handle)}
    except OSError as error:
        told = {"sha256": None, "problem": str(error)}
    if os.path.exists(note + b".asked"):
        write_whole(note, json.dumps(told).encode("ascii"))
    return told


def sha256_for(note: bytes, handle: int) -> Optional[str]:
    """Return the sha256 of an open file, noting how far it is; None where nobody asks for it any more."""
    digest, read, noted = hashlib.sha256(), 0, time.monotonic()
    with os.fdopen(handle, "rb", 0) as file:
        for block in blocks(file):
            digest.update(block)
            read += len(block)
            if time.monotonic() - noted > NOTE_EVERY_SECONDS:
                noted = time.monotonic()
                if time.time() - os.stat(note + b".asked").st_mtime > FORGOTTEN_AFTER_SECONDS:
                    forget(note)
                    return None
                write_whole(note, json.dumps({"read": read}).encode("ascii"))
    return digest.hexdigest()


def answer_remove(request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove directories below a root with all that is in them, following no link; answer which are gone."""
    root, end = os.fsencode(request["root"]), time.monotonic() + LONGEST_LOOK_SECONDS
    gone = []
    for name in request["names"]:
        shutil.rmtree(inside(root, name), ignore_errors=True)
        gone += [] if os.path.lexists(inside(root, name)) else [name]
        if time.monotonic() > end:
            break
    return {"gone": gone}


def answer_unlink(request: Dict[str, Any]) -> Dict[str, Any]:
    """Remove files below a root, following no link; answer which are gone, and of the others why they are not."""
    root, end = os.fsencode(request["root"]), time.monotonic() + LONGEST_LOOK_SECONDS
    gone, problems = [], {}
    for name in request["names"]:
        try:
            unlink(root, name)
            gone.append(name)
        except OSError as error:
            problems[name] = "%s: %s" % (name, error.strerror)
        if time.monotonic() > end:
            break
    return {"gone": gone, "problems": problems}


def unlink(root: bytes, relative: str) -> None:
    """Remove a file below a root, refusing a symbolic link at every step; one that is not there is removed already."""
    *above, name = [os.fsencode(part) for part in relative.split("/")]
    inside(root, relative)
    try:
        directory = open_directory(root, above)
    except OSError as error:
        if is_none_there(root, above, error):
            return
        raise
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def is_none_there(root: bytes, above: List[bytes], error: OSError) -> bool:
    """Say whether directories could not be opened because there are none; with any other error it cannot be told."""
    if error.errno == errno.ENOTDIR:  # which a symbolic link is, too
        with contextlib.suppress(FileNotFoundError):
            for depth in range(len(above) + 1):
                mode = os.lstat(os.path.join(root, *above[:depth])).st_mode
                if not stat.S_ISDIR(mode):
                    return stat.S_ISREG(mode)
    return error.errno == errno.ENOENT


def answer_sizes(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with the size of each of these files, null for none, or why that cannot be told; as far as time allows."""
    root, end = os.fsencode(request["root"]), time.monotonic() + LONGEST_LOOK_SECONDS
    sizes = []  # type: List[Any]
    for name in request["names"]:
        try:
            sizes.append(size_of(root, name))
        except (Bad, OSError) as error:
            sizes.append(str(error))
        if time.monotonic() > end:
            break
    return {"sizes": sizes}


def size_of(root: bytes, relative: str) -> Optional[int]:
    """Return the size of a regular file below a root, None where there is nothing; raise where that cannot be told."""
    *above, name = [os.fsencode(part) for part in relative.split("/")]
    inside(root, relative)
    try:
        directory = open_directory(root, above)
    except OSError as error:
        if is_none_there(root, above, error):
            return None
        raise
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
    if not stat.S_ISREG(found.st_mode):
        raise Bad("%s: not a regular file" % relative)
    return found.st_size


def answer_tree(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with regular files below a root, in the order of a walk, and where to go on: null once all were seen.

    Each file has its path, size, and seconds since it or its name last changed. A walk goes on behind a file of a
    directory, whatever came or went meanwhile; directories whose path matches `skip` are not gone into.
    """
    root, end, files = os.fsencode(request["root"]), time.monotonic() + LONGEST_LOOK_SECONDS, []
    after = [os.fsencode(part) for part in request["after"]]
    for directory, name in walk(root, after[0], after[1], re.compile(os.fsencode(request["skip"]))):
        with contextlib.suppress(OSError):
            found = os.lstat(os.path.join(root, directory, name))
            if stat.S_ISREG(found.st_mode):
                path = os.fsdecode(os.path.join(directory, name))
                files.append([path, found.st_size, max(0.0, time.time() - found.st_ctime)])
        if len(files) >= request["limit"] or time.monotonic() > end:
            return {"files": files, "after": [os.fsdecode(directory), os.fsdecode(name)]}
    return {"files": files, "after": None}


def walk(root: bytes, after: bytes, last: bytes, skip: Any) -> Iterator[Tuple[bytes, bytes]]:
    """Yield each directory and the name of a file in it, "" for the directory itself, behind those named last."""
    left, parts = [], after.split(b"/") if after else []  # the directory to go into next is the last one
    for depth, part in enumerate(parts):
        above = b"/".join(parts[:depth])
        left += [os.path.join(above, name) for name in reversed(listed(root, above, skip)[1]) if name > part]
    left.append(after)
    while left:
        here = left.pop()
        if here != after:
            yield here, b""
        names, inner = listed(root, here, skip)
        for name in names:
            if here != after or name > last:
                yield here, name
        left += [os.path.join(here, name) for name in reversed(inner)]


def listed(root: bytes, directory: bytes, skip: Any) -> Tuple[List[bytes], List[bytes]]:
    """Return the names in a directory in their order: of those that are none, links included, and of directories."""
    try:
        with os.scandir(os.path.join(root, directory)) as found:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError:  # it is gone, or not for us
        return [], []
    inner = [name for name, is_directory in entries if is_directory]
    return (
        [name for name, is_directory in entries if not is_directory],
        [name for name in inner if not skip.search(os.path.join(directory, name))],
    )


def answer_disk(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer how large the file system of a directory is, and how much of it is free for us."""
    path = os.fsencode(request["path"])
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return {"size": found.f_frsize * found.f_blocks, "free": found.f_frsize * found.f_bavail}


_LOOKING = (answer_look, answer_marks, answer_missing, answer_read, answer_checksum, answer_hash)
_SIZING = (answer_disk, answer_sizes, answer_tree)
_CHANGING = (answer_lay_out, answer_claim, answer_install, answer_remove, answer_unlink)
ANSWERS = {one.__name__[len("answer_") :]: one for one in _LOOKING + _SIZING + _CHANGING}


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what is asked."""
    return ANSWERS[request["do"]](request)


def main() -> int:
    """Read one request and write its answer."""
    os.umask(0o022)
    request = json.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.buffer.write(json.dumps(answer(request)).encode("ascii") + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
