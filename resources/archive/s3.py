import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from resources.archive.port import (
    BLOCK_BYTES,
    ArchiveRefused,
    ArchiveUnavailable,
    Entry,
    NotInArchive,
    WrongBytes,
    blocks_of,
    sha256_of,
)
from resources.errors import ResourceError, StagingFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

ADDRESS_SECONDS = 24 * 3600
PART_BYTES = 64 << 20
_MOST_PARTS = 10_000  # of one upload, by S3's own limits
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "401", "403")
_MISSING = ("NoSuchKey", "NoSuchBucket", "404")
_LATER = ("SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError")


@dataclass(frozen=True)
class Bucket:
    """The place of an archive in an object store, and the variables of its credentials, for messages."""

    name: str  # of the data location
    endpoint_url: str
    bucket: str
    prefix: str
    variables: tuple[str, str]

    def key(self, path: str) -> str:
        """Return the key of a file."""
        return f"{self.prefix.strip('/')}/{path}".lstrip("/")

    def shown(self, path: str) -> str:
        """Return a file's place as messages name it."""
        return f"{self.name}: {self.endpoint_url}/{self.bucket}/{self.key(path)}"


@dataclass(frozen=True)
class Credentials:
    """What requests to one location are signed with; never shown."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


class S3Archive:
    """An archive in an object store that speaks S3.

    It uses boto3 for signatures, retries and paging. The cluster does not need that: it reads signed addresses with
    Python's standard library.
    """

    def __init__(self, bucket: Bucket, credentials: Credentials | None, part_bytes: int = PART_BYTES) -> None:
        self._bucket = bucket
        self._credentials = credentials
        self._part_bytes = part_bytes

    @property
    def access(self) -> str:
        """Return the names of the variables with the credentials."""
        return " and ".join(self._bucket.variables)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose paths begin with a prefix."""
        cut = len(self._bucket.key(""))
        with self._sorted(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket.bucket, Prefix=self._bucket.key(prefix)):
                for found in page.get("Contents", []):
                    yield Entry(found["Key"][cut:], found["Size"], found["ETag"])

    def read(self, path: str, first_byte: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield an object's bytes."""
        last = "" if length is None else str(first_byte + length - 1)
        with self._sorted(path):
            span = {"Range": f"bytes={first_byte}-{last}"} if first_byte or length is not None else {}
            answer = self._client.get_object(Bucket=self._bucket.bucket, Key=self._bucket.key(path), **span)  # type: ignore[arg-type]
            yield from answer["Body"].iter_chunks(BLOCK_BYTES)

    def checksum(self, path: str) -> str:
        """Return the sha256 of an object: S3's ETag of a large object is not a checksum of its content."""
        return sha256_of(self.read(path))

    def put(self, source: Path, path: str) -> None:
        """Copy a file into the archive, part by part; a later call continues an interrupted upload."""
        wanted, size = sha256_of(blocks_of(source)), source.stat().st_size
        if self._has(path, size) and self.checksum(path) == wanted:
            return
        with self._sorted(path):
            self._upload(source, size, self._bucket.key(path))
        if (found := self.checksum(path)) != wanted:
            with self._sorted(path):
                self._client.delete_object(Bucket=self._bucket.bucket, Key=self._bucket.key(path))
            shown = self._bucket.shown(path)
            raise WrongBytes(f"{shown}: has sha256 {found} once written, not {wanted}: try again")

    def address(self, path: str) -> str:
        """Return a signed web address; it is computed without a request to the store."""
        place = {"Bucket": self._bucket.bucket, "Key": self._bucket.key(path)}
        with self._sorted(path):
            return self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=ADDRESS_SECONDS)

    def _has(self, path: str, size: int) -> bool:
        return any(entry.path == path and entry.size_bytes == size for entry in self.list(path))

    def _upload(self, source: Path, size: int, key: str) -> None:
        bucket, client = self._bucket.bucket, self._client
        if size <= self._part_bytes:
            client.put_object(Bucket=bucket, Key=key, Body=source.read_bytes())
            return
        upload = self._open_upload(key) or client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        there = self._parts(key, upload)
        length = max(self._part_bytes, math.ceil(size / _MOST_PARTS))
        parts: list[CompletedPartTypeDef] = []
        for number, first_byte in enumerate(range(0, size, length), start=1):
            part = b"".join(blocks_of(source, first_byte, length))
            etag = f'"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"'  # the ETag that S3 gives to a part
            if there.get(number) != etag:
                sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part)
                etag = sent["ETag"]
            parts.append({"ETag": etag, "PartNumber": number})
        client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})

    def _open_upload(self, key: str) -> str | None:
        """Return the id of an interrupted upload of this key, None if there is none."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket.bucket, Prefix=key)
        found = (upload for page in pages for upload in page.get("Uploads", []) if upload["Key"] == key)
        return next((upload["UploadId"] for upload in found), None)

    def _parts(self, key: str, upload: str) -> dict[int, str]:
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket.bucket, Key=key, UploadId=upload)
        return {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}

    @cached_property
    def _client(self) -> "S3Client":
        import boto3  # noqa: PLC0415 - takes a third of a second to import, and most commands need none

        if self._credentials is None:
            raise ArchiveRefused(f"{self._bucket.name}: no credentials: set {self.access}")
        return boto3.client(
            "s3",
            endpoint_url=self._bucket.endpoint_url,
            region_name="us-east-1",  # other stores than AWS have no regions, but a signature needs one
            aws_access_key_id=self._credentials.access_key_id,
            aws_secret_access_key=self._credentials.secret_access_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=10,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 3},
                request_checksum_calculation="when_required",  # older stores refuse trailing checksums
                response_checksum_validation="when_required",
            ),
        )

    @contextmanager
    def _sorted(self, path: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._meaning(error, path) from None
        except (BotoCoreError, OSError) as error:
            raise ArchiveUnavailable(f"{self._bucket.shown(path)}: {type(error).__name__}: {error}") from None

    def _meaning(self, error: ClientError, path: str) -> ResourceError:
        code, shown = error.response["Error"].get("Code", ""), self._bucket.shown(path)
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if code in _REFUSED:
            return ArchiveRefused(f"{shown}: refused ({code}): check {self.access}")
        if code in _MISSING:
            return NotInArchive(f"{shown}: not there ({code})")
        if code in _LATER or status >= 500:
            return ArchiveUnavailable(f"{shown}: {code}")
        return StagingFailed(f"{shown}: {code}: {error.response['Error'].get('Message', '')}")
