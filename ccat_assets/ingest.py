from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_assets.application import Application
from ccat_assets.initialise import local_site
from ccat_models.errors import InvalidDeclaration
from ccat_models.raw.catalogue import Catalogue, parse_catalogue
from ccat_models.raw.ingest import IngestReport, MeasuredFile, ingest
from ccat_models.tables.places import DiskDataLocation, LocationType
from resources.outputs import file_sha256


def ingest_folder(app: Application, folder: Path) -> IngestReport:
    """Register what a folder's catalogue.json lists, measuring every file; the folder becomes a data location.

    Raises InvalidDeclaration naming the place in the catalogue or the missing directory, with nothing changed.
    """
    folder = folder.resolve()
    file = folder / "catalogue.json"
    try:
        catalogue = parse_catalogue(file.read_text(encoding="utf-8"), file=str(file))
    except OSError as error:
        raise InvalidDeclaration(f"{file}: {error.strerror}") from error
    measured = {package.name: _measure(folder, package.path, package.name) for package in _on_disk(catalogue, folder)}
    with app.ops_db.request() as session:
        location_id = _location(session, folder)
        return ingest(session, catalogue, measured, location_id=location_id, now=app.clock())
