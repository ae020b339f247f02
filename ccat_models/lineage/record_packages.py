"""What a provenance record says of raw packages."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ccat_models.tables.base import PackageId
from ccat_models.tables.raw_data import PackageContent, PackageState


@dataclass(frozen=True)
class PackageRead:
    """That a run read a raw package, with the checksum that it had."""

    package_id: PackageId
    checksum: str

    @property
    def content(self) -> PackageContent:
        """Return the package with that checksum."""
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
    """A raw package as it was delivered at one time, "" for the checksum of one that was not yet.

    `replaced_by` is the checksum of what was delivered in its place since. Of the files nothing is said unless wanted.
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
        """Return the package with that checksum."""
        return self.id, self.checksum


@dataclass(frozen=True)
class TaintRecord:
    """That a package must not be used, or must not have been until the taint was lifted."""

    id: int
    package_id: PackageId
    reason: str
    tainted_by: str
    tainted_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
