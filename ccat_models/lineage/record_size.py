"""The size of a provenance record, counted before anything of it is loaded."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.base import RunId
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import RawDataFile


@dataclass(frozen=True)
class Things:
    """The numbers of runs, of products made and read, of packages read, and of the packages' files."""

    runs: int
    products: int
    packages: int
    files: int

    @property
    def all(self) -> int:
        """Return their sum."""
        return self.runs + self.products + self.packages + self.files

    def __str__(self) -> str:
        return f"{self.runs:,} runs, {self.products:,} products, {self.packages:,} packages, {self.files:,} raw files"


def count_things(session: Session, run_ids: Collection[RunId]) -> Things:
    """Return how many things the record of some runs would contain."""
    link, package = RunInputProduct, RunInputPackage
    made = sa.select(DataProduct.id).where(DataProduct.run_id.in_(run_ids))
    read = sa.select(link.data_product_id).where(link.run_id.in_(run_ids))
    contents = sa.select(package.raw_data_package_id, package.checksum).where(package.run_id.in_(run_ids)).distinct()
    content = contents.subquery()
    files = sa.select(RawDataFile.id).join(content, RawDataFile.of(content.c.raw_data_package_id, content.c.checksum))
    products, packages, raw_files = (_count(session, things) for things in (sa.union(made, read), contents, files))
    return Things(len(run_ids), products, packages, raw_files)


def _count(session: Session, things: sa.SelectBase) -> int:
    query: sa.Select[Any] = sa.select(sa.func.count()).select_from(things.subquery())
    return int(session.execute(query).scalar_one())
