"""Archives a package from this machine's disk: packed into one tar, copied, read back, recorded."""

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ccat_assets.wiring.application import Application
from ccat_assets.wiring.archives import archive_of
from ccat_models.errors import Refused
from ccat_models.raw.locations import files_of, find_location, find_package, readable_copy, record_archived
from ccat_models.raw.staging import readable_directories
from ccat_models.tables.places import DataLocation, LocationType
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage
from resources.archive.port import Archive
from resources.archive.stager import staged_name


@dataclass(frozen=True)
class Archived:
    """The archived copy of a package; `copied` is False where it existed already."""

    package: str
    location: str
    path: str
    copied: bool


def archive_packages(app: Application, names: Sequence[str], to: str) -> list[Archived]:
    """Archive packages one after another; those that the archive has already are not copied.

    Raises NotFound or Refused before anything is copied. A copy that breaks off is resumed by the next call.
    """
    location_id = app.cluster.location_id
    with app.ops_db.read() as session:
        location = find_location(session, to)
        _check_is_archive(location)
        packages = [find_package(session, name) for name in names]
        there = {package.id: readable_copy(session, package.id, location.id) for package in packages}
        files = {package.id: files_of(session, package.id) for package in packages}
        unpacked = readable_directories(session, [package.id for package in packages], location_id)
    directories = {package_id: directory for (package_id, _), directory in unpacked.items()}
    wanted = [package for package in packages if there[package.id] is None]
    for package in wanted:
        if package.id not in directories or not Path(directories[package.id]).is_dir():
            raise Refused(f"package {package.name}: its unpacked files are on no disk of this machine")
    archive, done = archive_of(app.settings, location), []
    for package in packages:
        copy = there[package.id]
        if copy is None:
            path = _archive(app, archive, location, package, Path(directories[package.id]), files[package.id])
        done.append(Archived(package.name, location.name, path if copy is None else copy.path, copy is None))
    return done


def _check_is_archive(location: DataLocation) -> None:
    wanted = LocationType.LONG_TERM_ARCHIVE
    if location.location_type is not wanted:
        raise Refused(f"data location {location.name!r} is for {location.location_type.value}, not {wanted.value}")


def _archive(
    app: Application,
    archive: Archive,
    location: DataLocation,
    package: RawDataPackage,
    directory: Path,
    files: Sequence[RawDataFile],
) -> str:
    checksum = package.checksum or ""
    path = f"{staged_name(package.name, checksum)}.tar"
    with tempfile.TemporaryDirectory(prefix="packing-", dir=app.settings.home) as scratch:
        tar = Path(scratch) / "package.tar"
        pack(directory, files, tar)
        archive.put(tar, path)
    with app.ops_db.request() as session:  # as for ingesting, which may change the package
        record_archived(session, (package.id, checksum), location.id, path, app.clock())
    return path


def pack(directory: Path, files: Sequence[RawDataFile], tar: Path) -> None:
    """Write registered files into a tar; the same files always give the same bytes.

    Raises Refused for a file that differs from the registered one, and where the disk has no space.
    """
    try:
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as writer:
            for file in files:
                _add(writer, directory / file.path, file)
    except OSError as error:
        raise Refused(f"{tar}: {error.strerror}: packing needs as much space there as the package takes") from error


def _add(writer: tarfile.TarFile, path: Path, file: RawDataFile) -> None:
    member = tarfile.TarInfo(file.path)
    member.size = file.size_bytes
    with _naming(path):
        found, opened = path.stat().st_size, path.open("rb")
    with opened:
        read = _Hashed(opened, path)
        if found == file.size_bytes:
            writer.addfile(member, read)
    if found != file.size_bytes:
        raise Refused(f"{path}: has {found} bytes, {file.size_bytes} are registered: ingest the package again")
    if read.sha256 != file.sha256:
        raise Refused(f"{path}: has sha256 {read.sha256}, {file.sha256} is registered: ingest the package again")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise Refused that names the file to be packed for an OSError, which would not name it."""
    try:
        yield
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


class _Hashed:
    """A file, with the sha256 of the bytes that were read from it."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._found = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes."""
        with _naming(self._path):
            block = self._file.read(count)
        self._found.update(block)
        return block

    @property
    def sha256(self) -> str:
        """Return the checksum of the bytes that were read so far."""
        return self._found.hexdigest()
