"""Unpack a tar: only registered files, each verified by its checksum, within limits of size and memory."""

import gzip
import hashlib
import os
import resource
import tarfile
import zlib
from typing import Any, BinaryIO, Dict, Set, Tuple

from resources.node.stage.package import Failed, Package, encoded
from resources.node.stage.source import BLOCK_BYTES
from resources.node.trees import remove_tree

MEMBERS_BEYOND_FILES = 10000  # largest number of directories in a tar
HEADER_BYTES = 1 << 16  # largest header of one member: no real name or list of attributes is longer
HEADERS_BYTES = 1 << 12  # largest mean size of a member's headers and padding
END_BYTES = 1 << 20  # largest size of a tar's end marker and padding
MEMORY_BYTES = 1 << 29  # largest memory to read a tar
LONG_HEADERS = (b"x", b"g", b"X", tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def tar_bound(expected: Dict[str, Tuple[int, str]]) -> int:
    """Return the largest possible size, in bytes, of a tar of these files, compressed or not."""
    members = len(expected) + MEMBERS_BEYOND_FILES
    content = sum(size + size // 1000 + tarfile.BLOCKSIZE for size, _ in expected.values())  # gzip may add a little
    return content + members * HEADERS_BYTES + END_BYTES


class BoundedHeader(tarfile.TarInfo):
    """A member of a tar with a limit on its header, which `tarfile` would read whole into memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        """Return the header in a block; raise Failed for one that announces a longer header or a sparse file."""
        header = super().frombuf(buf, encoding, errors)
        if header.type == tarfile.GNUTYPE_SPARSE or (header.type in LONG_HEADERS and header.size > HEADER_BYTES):
            raise Failed("unsafe", "the tar has a header of %d bytes, or a sparse file" % header.size)
        return header


class Bounded:
    """The stream of a tar, unpacked by gzip if needed; it ends with Failed after `most` unpacked bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self.stream: Any = gzip.GzipFile(fileobj=file) if packed else file
        self.packed, self.left = packed, most

    def read(self, count: int) -> bytes:
        """Return the next bytes; raise Failed for a broken gzip file, or above the limit."""
        try:
            block = bytes(self.stream.read(count))
        except OSError as error:
            if not self.packed or error.errno is not None:
                raise
            raise Failed("wrong", "the archived copy is no whole tar: %s" % error) from error
        self.left -= len(block)
        if self.left < 0:
            raise Failed("unsafe", "the tar is larger than what is registered can be")
        return block


def limit_memory() -> None:
    """Limit this process to `MEMORY_BYTES` more memory than it has now: the machine is shared."""
    with open("/proc/self/statm", "rb") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def unpack(package: Package, expected: Dict[str, Tuple[int, str]]) -> None:
    """Unpack the copied tar; raise Failed unless it has exactly the registered files with their checksums."""
    remove_tree(package.new)
    os.makedirs(package.new)
    seen: Set[str] = set()
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
        raise Failed("wrong", "the archived copy is no whole tar: %s" % error) from error
    except (MemoryError, RecursionError) as error:
        raise Failed("unsafe", "the tar's headers take too much memory: %s" % type(error).__name__) from None
    missing = sorted(set(expected) - seen)
    if missing:
        raise Failed("wrong", "the tar lacks %d registered files, the first is %s" % (len(missing), missing[0]))


def open_tar(file: BinaryIO, most: int) -> tarfile.TarFile:
    """Open a tar, compressed or not, of which at most `most` unpacked bytes are read."""
    source: Any = Bounded(file, most)
    return tarfile.open(fileobj=source, mode="r|", errors="surrogateescape", tarinfo=BoundedHeader)


def check_member(member: tarfile.TarInfo, path: str, seen: Set[str], expected: Dict[str, Tuple[int, str]]) -> None:
    """Raise Failed unless a member is a registered file that was not in the tar before."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise Failed("unsafe", "the tar holds a link or device: %s" % path)
    if path in seen:
        raise Failed("unsafe", "the tar holds %s twice" % path)
    if path not in expected:
        raise Failed("wrong", "the tar holds %s, which is not registered" % path)
    if member.size != expected[path][0]:
        raise Failed("wrong", "%s has %d bytes, not %d" % (path, member.size, expected[path][0]))


def write_member(package: Package, member: Any, size: int) -> Tuple[int, str]:
    """Write a member into a file outside of the verified ones; return its size and sha256."""
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
    """Move a verified file into the package's new directory, which has only such files, also after a kill."""
    target = os.path.join(package.new, encoded(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(file, target)


def compare(path: str, found: Tuple[int, str], expected: Tuple[int, str]) -> None:
    """Raise Failed where size or sha256 of a file is not the registered one."""
    if found[0] != expected[0]:
        raise Failed("wrong", "%s has %d bytes, not %d" % (path, found[0], expected[0]))
    if found[1] != expected[1]:
        raise Failed("wrong", "%s has sha256 %s, not %s" % (path, found[1], expected[1]))


def clean(path: str) -> str:
    """Return a relative path without "." parts; raise Failed for one that leaves its directory."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise Failed("unsafe", "%r leaves the package's directory" % path)
    return "/".join(parts)
