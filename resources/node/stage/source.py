"""The source of a package: a web address, or a path on a disk or tape that is mounted here.

Web addresses are signed. They are written to no file; messages have only the part before the "?".
"""

import contextlib
import http.client
import io
import os
import re
import urllib.error
import urllib.request
from typing import Any, BinaryIO, Dict, Tuple

from resources.node.stage.package import Failed, encoded

BLOCK_BYTES = 1 << 18
CONNECTION_SECONDS = 60.0  # without a byte
ERROR_CODE = re.compile(rb"<Code>(\w{1,80})</Code>")


class Broken(Exception):
    """Raised where a connection broke or a server does not answer: the transfer may be tried again."""


class Changed(Exception):
    """Raised where the source has changed since the transfer began."""


def read_block(stream: Any) -> bytes:
    """Return the next bytes of a source; raise Broken where the connection breaks."""
    try:
        return bytes(stream.read(BLOCK_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from error


def open_source(address: str, have: int, note: Dict[str, Any]) -> Tuple[Any, int, int, str]:
    """Open a path or a web address, from byte `have` on if possible.

    Returns the stream, the byte at which it begins, the whole size in bytes, and the version (ETag). `note` has the
    version and size of the part so far. Raises Broken, Changed or Failed.
    """
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
        raise Failed("broken", "%s: answered %d without its size" % (shown(address), answer.status))
    return answer, 0, int(answer.headers["Content-Length"]), answer.headers.get("ETag", "")


def refusal(error: urllib.error.HTTPError, address: str) -> Exception:
    """Return the exception for a server's error reply: Changed, Failed or Broken."""
    with contextlib.closing(error):
        body = b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            body = error.read(1 << 16)
    code = ERROR_CODE.search(body)
    text = "%s: answered %d %s" % (shown(address), error.code, code.group(1).decode() if code else error.reason)
    if error.code in (412, 416):
        return Changed(text)
    if error.code in (401, 403):
        return Failed("expired" if b"expired" in body else "refused", text)
    if error.code in (404, 410):
        return Failed("missing", text)
    if error.code in (408, 429) or error.code >= 500:
        return Broken("answered %d %s" % (error.code, error.reason))
    return Failed("broken", text)


def open_path(path: str, have: int, note: Dict[str, Any]) -> Tuple[BinaryIO, int, int, str]:
    """Open a file on a disk or tape that is mounted here; arguments and result are those of `open_source`."""
    try:
        file = open(encoded(path), "rb")  # noqa: SIM115 - the caller closes it
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


def shown(address: str) -> str:
    """Return an address without its signature and user."""
    return re.sub(r"//[^/@]*@", "//", address.partition("?")[0]) if "://" in address else address
