"""Instances of the IVOA model's classes, each once and in the order in which they were added."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ccat_assets.provenance import names
from ccat_assets.provenance.ivoa_model import CLASSES

Row = Mapping[str, str]


def identifier(name: str) -> str:
    """Return the `id` of a thing of the record."""
    return f"{names.NAMESPACE}{name}"


class Instances:
    """Rows by class; an instance that exists already is not added again."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[str, ...], Row]] = {name: {} for name in CLASSES}

    def add(self, class_name: str, **values: Any) -> str:
        """Add an instance, leaving out values that are None; return its `id`, "" for a class that has none.

        Raises KeyError for a class or attribute that the model does not have, and for a missing mandatory attribute.
        """
        attributes = {attribute.name: attribute for attribute in CLASSES[class_name]}
        row = {name: _text(value) for name, value in values.items() if value is not None}
        unknown = row.keys() - attributes.keys()
        missing = {one.name for one in attributes.values() if one.mandatory} - row.keys()
        if unknown or missing:
            raise KeyError(f"{class_name}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        key = (row["id"],) if "id" in row else tuple(row.values())
        self._rows[class_name].setdefault(key, row)
        return row.get("id", "")

    @property
    def rows(self) -> dict[str, list[Row]]:
        """Return all instances by class."""
        return {name: list(found.values()) for name, found in self._rows.items()}


def _text(value: Any) -> str:
    if isinstance(value, datetime):  # UTC, without a time zone in the text (DALI 1.1, 3.3.3)
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return str(value)
