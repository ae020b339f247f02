"""The files of products in an RO-Crate: copied from this machine's disks, and only if they are as registered."""

import hashlib
import os
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ccat_assets.provenance.ro_crate import CrateContent, crate_of, place_of
from ccat_models.errors import Refused
from ccat_models.lineage.record import ProductRecord, ProvenanceRecord
from ccat_models.lineage.record_things import CopiesHere
from ccat_models.pipeline.export import export
from ccat_models.tables.base import ProductId
from resources.node.store.inside import open_inside
from resources.ops_db import Session

_BLOCK_BYTES = 1 << 20


def declaration_of(session: Session, record: ProvenanceRecord) -> str:
    """Return the declaration of the record's pipeline, in the revision of its last run."""
    revision = max((step.revision for step in record.steps.values()), default=None)
    return export(session, record.scope.pipeline, revision)


def write_crate(
    record: ProvenanceRecord, declaration: str, copies: CopiesHere, directory: Path, *, license_text: str, now: datetime
) -> None:
    """Write a crate into an empty directory, with the files of the products that have copies.

    Raises Refused for a file that is gone, cannot be read, or differs from what is registered.
    """
    files = {
        product_id: _take(record.products[product_id], root, path, directory)
        for product_id, (root, path) in sorted(copies.items())
    }
    entities = crate_of(record, CrateContent(declaration, now, license_text, files))
    entities.crate.write(directory)


def missing(record: ProvenanceRecord, copies: Collection[ProductId]) -> list[ProductRecord]:
    """Return the products that have no copy: a crate only refers to their files."""
    return [product for product in record.products.values() if product.id not in copies]


def _take(product: ProductRecord, root: str, path: str, directory: Path) -> Path:
    place = directory / place_of(product)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = open_inside(os.fsencode(root), path)
    except OSError as error:
        raise Refused(f"product {product.id} ({product.name}): its file cannot be read now: {error}") from error
    if handle is None:
        raise Refused(f"product {product.id} ({product.name}): its file is gone: see `ccat verify {product.id}`")
    with os.fdopen(handle, "rb") as source, place.open("wb") as target:
        sha256 = _copy(source, target)
    if sha256 != product.sha256:
        raise Refused(
            f"product {product.id} ({product.name}): is not what is registered: sha256 {sha256[:12]}…, registered is"
            f" {product.sha256[:12]}…: see `ccat verify {product.id}`"
        )
    return place


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(_BLOCK_BYTES):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()
