"""Serves the files of products to browsers, from this machine's disks, and only files that are as registered.

A small file is compared with its registered sha256 before it is sent. A large one is compared while it is sent: if it
differs, its last block is not sent and the connection is closed, so that browsers report an incomplete download.
"""

import hashlib
import logging
import mimetypes
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ccat_models.product.copies import disk_copies, find_registered
from ccat_models.tables.base import ProductId, number_in
from ccat_models.tables.places import READABLE
from ccat_models.tables.products import DataProduct
from resources.node.store.inside import open_inside
from resources.ops_db import OpsDb

_BLOCK_BYTES = 1 << 20
_SMALL_BYTES = 64 << 20  # read and compared in a fraction of a second
# Types that a browser displays; all others are downloaded. A product may contain scripts: none of them may run.
_SHOWN = ("image/png", "image/jpeg", "text/plain", "application/json", "application/pdf")
_SAFE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


_LOG = logging.getLogger(__name__)


class _NotServed(Exception):
    """Why a product's file is not served, with the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Differs(Exception):
    """A file differs from what is registered; all but its last block has been sent."""


def product_server(ops_db: OpsDb, *, small_bytes: int = _SMALL_BYTES) -> Starlette:
    """Return the application: GET /products/NUMBER[/PATH] answers with the product's file.

    Files of at most `small_bytes` are compared before they are sent, larger ones meanwhile. An error is answered with
    404 (no such product), 409 (the file differs), 410 (no file here) or 503 (it cannot be read now), and a reason.
    """

    def product(request: Request) -> Response:
        number = request.path_params["number"]
        try:
            return _file(ops_db, number, small_bytes)
        except _NotServed as problem:
            return PlainTextResponse(f"product {number}: {problem}\n", status_code=problem.status)

    return Starlette(routes=[Route("/products/{number}", product), Route("/products/{number}/{path:path}", product)])


def _file(ops_db: OpsDb, text: str, small_bytes: int) -> Response:
    with ops_db.read() as session:
        number = number_in(text)
        product = None if number is None else find_registered(session, ProductId(number))
        if product is None:
            raise _NotServed(404, "no such product")
        found = disk_copies(session, product.id)
    here = [(root, path) for path, status, root, host in found if status in READABLE and not host]
    if not here:
        where = ", ".join(f"{host or 'this machine'}: {status.value}" for _, status, _, host in found)
        raise _NotServed(410, f"no copy on a disk of this machine ({where or 'no copy at all'})")
    return _response(product, _open(product, *here[0]), is_small=product.size_bytes <= small_bytes)


def _open(product: DataProduct, root: str, path: str) -> BufferedReader:
    try:
        handle = open_inside(os.fsencode(root), path)
    except OSError as error:
        raise _NotServed(503, f"its file cannot be read now: {error}") from error
    if handle is None:
        raise _NotServed(410, f"its file is gone from {root}")
    file = os.fdopen(handle, "rb")
    size = os.fstat(handle).st_size
    if size != product.size_bytes:
        file.close()
        raise _NotServed(409, f"its file has {size} bytes, registered with {product.size_bytes}: `ccat verify`")
    return file


def _response(product: DataProduct, file: BufferedReader, *, is_small: bool) -> Response:
    if is_small:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != product.sha256:
            file.close()
            raise _NotServed(409, f"its file has sha256 {found}, registered with {product.sha256}: `ccat verify`")
        file.seek(0)
    name = PurePosixPath(product.path).name
    kind = "text/plain" if name.endswith(".log") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    way = "inline" if kind in _SHOWN else "attachment"
    headers = {
        **_SAFE,
        "Content-Length": str(product.size_bytes),
        "Content-Disposition": f"{way}; filename*=UTF-8''{quote(name)}",
        **({"ETag": f'"{product.sha256}"'} if is_small else {}),  # a large one is not compared yet
    }
    return StreamingResponse(_blocks(product, file), media_type=kind, headers=headers)


def _blocks(product: DataProduct, file: BufferedReader) -> Iterator[bytes]:
    """Yield the blocks of a file, the last one only once the checksum of the whole is the registered one."""
    digest = hashlib.sha256()
    with file:
        block = file.read(_BLOCK_BYTES)
        digest.update(block)
        while following := file.read(_BLOCK_BYTES):
            yield block
            block = following
            digest.update(block)
        if digest.hexdigest() != product.sha256:
            problem = (
                f"product {product.id}: its file has sha256 {digest.hexdigest()}, registered with {product.sha256}"
            )
            _LOG.error("%s: not sent to its end: `ccat verify %s`", problem, product.id)
            raise _Differs(problem)
        yield block
