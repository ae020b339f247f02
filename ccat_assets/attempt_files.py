"""Reading what a program left, which may be anything: nothing is followed out of its directory."""

import io
import os
import re
import stat
from pathlib import Path

from PIL import Image

_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\x20-\x7e\xa0-\U0010ffff]")
_LARGEST_IMAGE_BYTES = 20_000_000
_LARGEST_IMAGE_PIXELS = 50_000_000


def size_inside(root: Path, relative: str) -> int | None:
    """Return the size in bytes of a regular file below a directory, None where there is none."""
    descriptor = _open_inside(root, relative)
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_tail(root: Path, relative: str, *, lines: int, max_bytes: int) -> str:
    """Return the last lines of a text file below a directory, without control characters; "" for no such file."""
    descriptor = _open_inside(root, relative)
    if descriptor is None:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - max_bytes))
        text = file.read(max_bytes).decode("utf-8", errors="replace")
    kept = _CONTROL.sub("", text).splitlines()
    return "\n".join((kept[1:] if size > max_bytes and len(kept) > 1 else kept)[-lines:])


def thumbnail_png(root: Path, relative: str, *, max_bytes: int) -> bytes | None:
    """Return a PNG below a directory, made smaller until it fits; None for what cannot be shown."""
    descriptor = _open_inside(root, relative)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_LARGEST_IMAGE_BYTES + 1)
    if len(content) > _LARGEST_IMAGE_BYTES:
        return None
    try:
        return _shrunk(content, max_bytes)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None  # not a PNG after all: it stays a product, it is only not drawn


def _shrunk(content: bytes, max_bytes: int) -> bytes | None:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.width * image.height > _LARGEST_IMAGE_PIXELS:
            return None
        if len(content) <= max_bytes:
            image.verify()
            return content
        picture = image.convert("RGB")
    for width in (640, 480, 360, 240, 160):
        smaller = picture.copy()
        smaller.thumbnail((width, width))
        target = io.BytesIO()
        smaller.quantize(64).save(target, format="PNG", optimize=True)
        if target.tell() <= max_bytes:
            return target.getvalue()
    return None


def _open_inside(root: Path, relative: str) -> int | None:
    """Open a regular file, refusing a symbolic link at every step of its path; None where that cannot be done."""
    *directories, name = relative.split("/")
    if any(part in {"", ".", ".."} for part in (*directories, name)):
        return None
    try:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        for part in directories:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        # A pipe must not block whoever opens it.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return file
