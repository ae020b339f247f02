"""Archives of both kinds, and packages to put into them."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resources.archive.disk import DiskArchive
from resources.archive.port import Archive
from resources.archive.s3 import Bucket, Credentials, S3Archive
from tests.support.parts.rgw import ARCHIVIST, Keys, S3Server

VARIABLES = ("CCAT_S3_COLOGNE_ACCESS_KEY_ID", "CCAT_S3_COLOGNE_SECRET_ACCESS_KEY")
SMALLEST_PART_BYTES = 5 << 20  # that S3 takes


@dataclass(frozen=True)
class Lent:
    """An archive, and access to its content that does not use the code under test."""

    archive: Archive
    root: Path | None = None
    server: S3Server | None = None
    bucket: str = ""

    def content(self, path: str) -> bytes:
        """Return the content at a path."""
        if self.root is not None:
            return (self.root / path).read_bytes()
        assert self.server is not None
        return self.server.client().get_object(Bucket=self.bucket, Key=f"raw/{path}")["Body"].read()

    def put(self, path: str, content: bytes) -> None:
        """Store content at a path."""
        if self.root is not None:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)
        elif self.server is not None:
            self.server.client().put_object(Bucket=self.bucket, Key=f"raw/{path}", Body=content)


def disk_archive(root: Path) -> Lent:
    """Return an archive in a directory."""
    root.mkdir(exist_ok=True)
    return Lent(DiskArchive("longterm", root), root=root)


def s3_archive(
    server: S3Server, *, keys: Keys | None = ARCHIVIST, endpoint: str | None = None, bucket: str | None = None
) -> Lent:
    """Return an archive below raw/ in a bucket, a new one if none is named."""
    name = bucket or server.new_bucket()
    place = Bucket("cologne", endpoint or server.endpoint, name, "raw", VARIABLES)
    credentials = None if keys is None else Credentials(keys.access_key_id, keys.secret_access_key)
    return Lent(S3Archive(place, credentials, SMALLEST_PART_BYTES), server=server, bucket=name)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """Return a tar with these files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


def sha256_of(content: bytes) -> str:
    """Return the checksum of bytes."""
    return hashlib.sha256(content).hexdigest()
