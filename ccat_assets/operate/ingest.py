import hashlib
from pathlib import Path

from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration
from ccat_models.raw.catalogue import PackageEntry, parse_catalogue
from ccat_models.raw.ingest import IngestReport, MeasuredFile, ingest
from ccat_models.raw.locations import add_location, disk_at
from ccat_models.tables.places import DiskDataLocation, LocationType
from ccat_models.tables.raw_data import PackageState
from resources.ops_db import Session
from resources.workspace.outputs import file_sha256

CATALOGUE = "catalogue.json"


def ingest_folder(app: Application, folder: Path) -> IngestReport:
    """Register what a folder's catalogue.json lists; the folder becomes a data location.

    The size and sha256 of every file are computed. Raises InvalidDeclaration naming the place in the catalogue or the
    missing directory, with nothing changed.
    """
    folder = folder.resolve()
    file = folder / CATALOGUE
    try:
        catalogue = parse_catalogue(file.read_text(encoding="utf-8"), file=str(file))
    except OSError as error:
        raise InvalidDeclaration(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidDeclaration(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    measured = {package.name: _measure(folder, package) for package in catalogue.packages}
    try:
        with app.ops_db.request() as session:
            return ingest(session, catalogue, measured, location_id=_location(session, folder), now=app.clock())
    except InvalidDeclaration as error:
        raise InvalidDeclaration(f"{file}: {error}") from error


def _measure(folder: Path, package: PackageEntry) -> list[MeasuredFile]:
    directory = folder / package.path
    if not directory.is_dir():
        if package.state is PackageState.ARCHIVED:
            raise InvalidDeclaration(f"{folder / CATALOGUE}: package {package.name}: path: no directory {directory}")
        return []
    files = sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return [
        MeasuredFile(path.relative_to(directory).as_posix(), path.stat().st_size, file_sha256(path)) for path in files
    ]


def _location(session: Session, folder: Path) -> int:
    location = disk_at(session, str(folder))
    if location is not None:
        return location.id
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    name, kind = f"{folder.name[:80]}-{digest}", LocationType.LONG_TERM_ARCHIVE
    return add_location(session, DiskDataLocation(name=name, location_type=kind, path=str(folder)))
