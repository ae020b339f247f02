"""Links that Dagit shows: to partitions of other assets, and to the files that `ccat serve` serves."""

import re
from dataclasses import dataclass
from urllib.parse import quote

import dagster as dg

from ccat_models.sub_group.keys import make_key
from ccat_models.tables.base import ProductId

_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line ends too: Markdown after one is a new paragraph


@dataclass(frozen=True)
class Links:
    """Where product files are served: the address of `ccat serve`, "" for none."""

    products_url: str = ""

    def product(self, product_id: ProductId, path: str) -> str:
        """Return a Markdown link to a product's file, or only its name where no files are served."""
        return (
            link(path, f"{self.products_url}/products/{product_id}/{quote(path)}") if self.products_url else text(path)
        )


def partition_url(asset_key: dg.AssetKey, partition: str) -> str:
    """Return the page of an asset's partition, as seen from Dagit's other pages."""
    return f"/assets/{'/'.join(map(quote, asset_key.path))}?view=partitions&partition={quote(partition, safe='')}"


def observation_key(executed_obs_unit: str) -> str:
    """Return the partition of a raw data asset that holds an executed observation unit."""
    return make_key(["executed_obs_unit"], [executed_obs_unit])


def link(label: str, url: str) -> str:
    """Return a Markdown link; the label is plain text."""
    return f"[{text(label)}]({url})"


def text(plain: str) -> str:
    """Return plain text escaped for Markdown, on one line, with U+FFFD for each control character."""
    return _CONTROL.sub("\ufffd", _SPECIAL.sub(r"\\\1", plain))
