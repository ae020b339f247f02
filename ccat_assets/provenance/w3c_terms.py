"""The names in a PROV document: things of the record, and this project's own terms for their types and attributes."""

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


def terms(kind: str, values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return attributes in this project's terms, with the type; values that are None are left out."""
    stated = {TERM[name]: value for name, value in values.items() if value is not None}
    return {TYPE: TERM[kind], **stated}
