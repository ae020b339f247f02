"""The names that a PROV document uses: things by their number, kinds and values in the house's own terms."""

from collections.abc import Mapping
from typing import Any

from prov.constants import PROV
from prov.identifier import Namespace, QualifiedName

from ccat_assets.provenance import names

THING = Namespace("data", names.NAMESPACE)
TERM = Namespace("ccat", f"{names.NAMESPACE}terms:")
TYPE, ROLE, LABEL = PROV["type"], PROV["role"], PROV["label"]


def thing(name: str) -> QualifiedName:
    """Return the qualified name of a thing of the record."""
    return THING[name]


def said(kind: str, values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return attributes in the house's terms, with the type; what is not known is left out."""
    stated = {TERM[name]: value for name, value in values.items() if value is not None}
    return {TYPE: TERM[kind], **stated}
