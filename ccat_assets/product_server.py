"""Gives out the files of products to browsers, from this machine's disks, as they were registered or not at all."""

import mimetypes
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ccat_models.tables.places import READABLE, DataProductPhysicalCopy, DiskDataLocation
from ccat_models.tables.products import DataProduct
from resources.ops_db import OpsDb
from resources.store_program import open_inside

_BLOCK_BYTES = 1 << 20
# Shown by a browser itself; all others are downloaded. A product may be anything: nothing of it may run as ours.
_SHOWN = ("image/png", "image/jpeg", "text/plain", "application/json", "application/pdf")
_SAFE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class _NotGivenOut(Exception):
    """Why a product's file is not given out, and with which status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def product_server(ops_db: OpsDb) -> Starlette:
    """Return the application: GET /products/NUMBER[/PATH] answers with the product's file."""

    def product(request: Request) -> Response:
        number = int(request.path_params["number"])
        try:
            return _file(ops_db, number)
        except _NotGivenOut as problem:
            return PlainTextResponse(f"product {number}: {problem}\n", status_code=problem.status)

    return Starlette(
        routes=[Route("/products/{number:int}", product), Route("/products/{number:int}/{path:path}", product)]
    )


def _file(ops_db: OpsDb, number: int) -> Response:
    with ops_db.read() as session:
        product = session.get(DataProduct, number) if number < 2**63 else None
        if product is None:
            raise _NotGivenOut(404, "no such product")
        copy = DataProductPhysicalCopy
        copies = (
            sa.select(copy.path, copy.status, DiskDataLocation.path, DiskDataLocation.host)
            .join(DiskDataLocation, DiskDataLocation.id == copy.data_location_id)
            .where(copy.data_product_id == number)
            .order_by(DiskDataLocation.host, DiskDataLocation.id)
        )
        found = session.execute(copies).tuples().all()
    here = [(root, path) for path, status, root, host in found if status in READABLE and not host]
    if not here:
        where = ", ".join(f"{host or 'this machine'}: {status.value}" for _, status, _, host in found)
        raise _NotGivenOut(410, f"no copy on a disk of this machine ({where or 'no copy at all'})")
    return _stream(product, *here[0])


def _stream(product: DataProduct, root: str, path: str) -> Response:
    handle = open_inside(os.fsencode(root), path)
    if handle is None:
        raise _NotGivenOut(410, f"its file is gone from {root}")
    file = os.fdopen(handle, "rb")
    size = os.fstat(handle).st_size
    if size != product.size_bytes:
        file.close()
        raise _NotGivenOut(409, f"its file has {size} bytes, registered with {product.size_bytes}: `ccat verify`")
    name = PurePosixPath(product.path).name
    kind = "text/plain" if name.endswith(".log") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    way = "inline" if kind in _SHOWN else "attachment"
    headers = {
        **_SAFE,
        "Content-Length": str(size),
        "Content-Disposition": f"{way}; filename*=UTF-8''{quote(name)}",
        "ETag": f'"{product.sha256}"',
    }
    return StreamingResponse(_blocks(file), media_type=kind, headers=headers)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK_BYTES):
            yield block
