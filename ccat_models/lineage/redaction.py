"""Redaction: exported texts contain no paths of this installation's disks and no credentials."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.places import DiskDataLocation

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Redaction:
    """The disks whose paths are replaced by {name}; credentials in URLs are removed."""

    roots: Mapping[str, str]  # path → name, the longest first

    def of(self, text: str) -> str:
        """Return the redacted text."""
        for path, name in self.roots.items():
            text = text.replace(path, f"{{{name}}}")
        return _CREDENTIALS.sub("", text)


def read_redaction(session: Session) -> Redaction:
    """Return the redaction for all registered disks."""
    disks = session.execute(sa.select(DiskDataLocation.path, DiskDataLocation.name)).tuples().all()
    roots = {path.rstrip("/"): name for path, name in disks if path.rstrip("/")}
    return Redaction(dict(sorted(roots.items(), key=lambda item: (-len(item[0]), item))))
