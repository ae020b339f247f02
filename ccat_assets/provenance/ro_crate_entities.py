"""Entities of an RO-Crate, added with an identifier, a type and properties."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, DataEntity
from rocrate.rocrate import ROCrate

Reference = dict[str, str]


def ref(identifier: str) -> Reference:
    """Return a reference to an entity."""
    return {"@id": identifier}


def refs(identifiers: Iterable[str]) -> list[Reference]:
    """Return references to entities."""
    return [ref(identifier) for identifier in identifiers]


class Entities:
    """A crate under construction; properties that are None or empty are left out."""

    def __init__(self, terms: Mapping[str, str]) -> None:
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_terms.update(terms)

    def describe(self, **values: Any) -> None:
        """Set properties of the crate as a whole."""
        for name, value in _known(values).items():
            self.crate.root_dataset[name] = value

    def add(self, identifier: str, kind: str | list[str], /, **values: Any) -> str:
        """Add an entity that is not a file; return its identifier."""
        entity = ContextEntity(self.crate, identifier, properties={"@type": kind, **_known(values)})
        self.crate.add(entity)
        return identifier

    def add_remote(self, identifier: str, /, **values: Any) -> str:
        """Add a file that is not in the crate; return its identifier."""
        self.crate.add(DataEntity(self.crate, identifier, properties={"@type": "File", **_known(values)}))
        return identifier

    def add_file(self, source: Path | bytes, place: str, kind: str | list[str] = "File", /, **values: Any) -> str:
        """Add a file, to be copied to a path in the crate; return its identifier."""
        properties = {"@type": kind, **_known(values)}
        content = BytesIO(source) if isinstance(source, bytes) else source
        identifier: str = self.crate.add_file(content, place, properties=properties).id
        return identifier


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if value not in (None, [], "")}
