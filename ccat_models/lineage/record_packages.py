"""The raw packages of a provenance record."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ccat_models.tables.base import PackageId
from ccat_models.tables.raw_data import PackageContent, PackageState


@dataclass(frozen=True)
class PackageRead:
    """A raw package that a run read, with its checksum then."""

    package_id: PackageId
    checksum: str

    @property
    def content(self) -> PackageContent:
        """Return the package's id and that checksum."""
        return self.package_id, self.checksum


@dataclass(frozen=True)
class RawFileRecord:
    """A raw file of a package."""

    id: UUID
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PackageRecord:
    """A raw package with one of its contents; `checksum` is "" if it has not arrived yet.

    `replaced_by` is the checksum of the present content, if that is another one. `files` is empty unless requested.
    """

    id: PackageId
    name: str
    state: PackageState
    checksum: str
    replaced_by: str | None
    created_at: datetime
    archived_at: datetime | None
    files: tuple[RawFileRecord, ...]

    @property
    def content(self) -> PackageContent:
        """Return the package's id and that checksum."""
        return self.id, self.checksum


@dataclass(frozen=True)
class TaintRecord:
    """A taint of a package: it must not be used, or must not have been until the taint was lifted."""

    id: int
    package_id: PackageId
    reason: str
    tainted_by: str
    tainted_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
