"""Makes the archive of a data location, from its row and the settings."""

from pathlib import Path

from ccat_assets.wiring.s3_credentials import s3_variables
from ccat_assets.wiring.settings import Settings
from ccat_models.errors import Refused
from ccat_models.tables.places import DataLocation, DiskDataLocation, S3DataLocation, TapeDataLocation
from resources.archive.disk import DiskArchive
from resources.archive.port import Archive


def archive_of(settings: Settings, location: DataLocation) -> Archive:
    """Return the archive at a location; opens no connection. Raises Refused for an unknown type of storage."""
    if isinstance(location, S3DataLocation):
        return _s3_archive(settings, location)
    if isinstance(location, DiskDataLocation):
        return DiskArchive(location.name, Path(location.path))
    if isinstance(location, TapeDataLocation):
        return DiskArchive(location.name, Path(location.mount_path))
    raise Refused(f"data location {location.name!r}: nothing reads storage of type {location.storage_type!r}")


def _s3_archive(settings: Settings, location: S3DataLocation) -> Archive:
    from resources.archive.s3 import Bucket, Credentials, S3Archive

    variables = s3_variables(location.name)
    found = settings.s3_credentials.get(variables[0])
    credentials = (
        None
        if found is None
        else Credentials(found.access_key_id.get_secret_value(), found.secret_access_key.get_secret_value())
    )
    bucket = Bucket(location.name, location.endpoint_url, location.bucket, location.prefix, variables)
    return S3Archive(bucket, credentials)
