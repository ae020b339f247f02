"""The law of lineage: which links there are, between what, and how many of them a thing may have.

The tables of `ccat_models.tables.lineage` and `DataProduct.run_id` carry it as constraints of the database.
"""

from dataclasses import dataclass
from enum import Enum


class Thing(Enum):
    """What a link may join."""

    PACKAGE = "package"
    RUN = "run"
    PRODUCT = "product"


class Degree(Enum):
    """How many links of one kind a thing may have."""

    EXACTLY_ONE = "exactly one"
    ANY = "any"


@dataclass(frozen=True)
class Link:
    """A kind of link: from where to where, and how many may leave the one and reach the other."""

    source: Thing
    target: Thing
    out_degree: Degree
    in_degree: Degree
    table: str
    unique: tuple[str, ...]  # the columns by which the database knows a link of this kind


LAW: dict[str, Link] = {
    "read_package": Link(
        Thing.PACKAGE, Thing.RUN, Degree.ANY, Degree.ANY, "run_input_package", ("run_id", "raw_data_package_id")
    ),
    "read_product": Link(
        Thing.PRODUCT, Thing.RUN, Degree.ANY, Degree.ANY, "run_input_product", ("run_id", "data_product_id")
    ),
    "made": Link(Thing.RUN, Thing.PRODUCT, Degree.ANY, Degree.EXACTLY_ONE, "data_product", ("id",)),
}
