import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from resources.archive.disk import DiskArchive
from resources.archive.port import Archive, ArchiveRefused, ArchiveUnavailable, NotInArchive, WrongBytes
from resources.errors import StagingFailed, TransientError, UnsafePath
from tests.support.parts.archives import SMALLEST_PART_BYTES, Lent, disk_archive, s3_archive, sha256_of
from tests.support.parts.postgres import free_port
from tests.support.parts.relay import FlakyRelay
from tests.support.parts.rgw import Keys, S3Server

S3 = (pytest.mark.real, pytest.mark.xdist_group("s3"))


class BreaksForGood(FlakyRelay):
    """A relay that takes no connection any more once one was cut."""

    def _is_reached(self, *arguments: Any) -> bool:
        reached = super()._is_reached(*arguments)
        if reached:
            self.refuse()
        return reached


@pytest.fixture(params=["disk", pytest.param("s3", marks=S3)])
def lent(request: pytest.FixtureRequest, tmp_path: Path) -> Lent:
    if request.param == "disk":
        return disk_archive(tmp_path / "longterm")
    server: S3Server = request.getfixturevalue("s3_server")
    return s3_archive(server)


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "package.tar"
    path.write_bytes(content)
    return path


def test_a_stored_object_is_listed_read_in_parts_and_has_its_checksum(lent: Lent, tmp_path: Path) -> None:
    archive, content = lent.archive, os.urandom(3000)
    archive.put(file_of(tmp_path, content), "2026/scan 1.tar")
    lent.put("2027/other", b"other")
    assert lent.content("2026/scan 1.tar") == content
    assert [(one.path, one.size_bytes) for one in archive.list("2026/")] == [("2026/scan 1.tar", 3000)]
    assert [one.path for one in archive.list("")] == ["2026/scan 1.tar", "2027/other"]
    assert b"".join(archive.read("2026/scan 1.tar")) == content
    assert b"".join(archive.read("2026/scan 1.tar", 1000, 50)) == content[1000:1050]
    assert b"".join(archive.read("2026/scan 1.tar", 2990)) == content[2990:]
    assert archive.checksum("2026/scan 1.tar") == sha256_of(content)
    versions = [next(archive.list("2026/")).version]
    archive.put(file_of(tmp_path, content[::-1]), "2026/scan 1.tar")
    versions.append(next(archive.list("2026/")).version)
    assert lent.content("2026/scan 1.tar") == content[::-1]
    assert len(set(versions)) == 2


def test_a_missing_object_is_reported_with_its_archive(lent: Lent) -> None:
    for ask in (lambda: list(lent.archive.read("none.tar")), lambda: [lent.archive.checksum("none.tar")]):
        with pytest.raises(NotInArchive, match=r"^(longterm|cologne): .*none\.tar: (no such file|not there)"):
            ask()
    assert issubclass(NotInArchive, StagingFailed)


def test_an_interrupted_copy_to_disk_is_continued(tmp_path: Path) -> None:
    lent, content = disk_archive(tmp_path / "longterm"), os.urandom(5000)
    source, part = file_of(tmp_path, content), tmp_path / "longterm" / "scan.tar.part"
    part.write_bytes(content[:2000])
    before = part.stat().st_ino
    lent.archive.put(source, "scan.tar")
    assert lent.content("scan.tar") == content
    assert (tmp_path / "longterm" / "scan.tar").stat().st_ino == before
    part.write_bytes(b"of another file")
    lent.archive.put(file_of(tmp_path, content[:4000]), "scan.tar")
    assert lent.content("scan.tar") == content[:4000]
    assert [one.path for one in lent.archive.list("")] == ["scan.tar"]
    assert not part.exists()


def test_copy_to_disk_waits_for_another_one_of_the_same_file(tmp_path: Path) -> None:
    lent, content = disk_archive(tmp_path / "longterm"), os.urandom(5000)
    source, part = file_of(tmp_path, content), tmp_path / "longterm" / "scan.tar.part"
    putting = threading.Thread(target=lent.archive.put, args=(source, "scan.tar"))
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(content[:2000])
        other.flush()
        putting.start()
        putting.join(0.3)
        assert putting.is_alive()
        assert part.read_bytes() == content[:2000]
        other.write(content[2000:])
        other.flush()
        part.rename(part.with_name("scan.tar"))
    putting.join()
    assert lent.content("scan.tar") == content
    assert [path.name for path in part.parent.iterdir()] == ["scan.tar"]


def test_disk_archive_stays_below_its_directory(tmp_path: Path) -> None:
    lent = disk_archive(tmp_path / "longterm")
    for path in ("../secret", "/etc/passwd", "a/../../b"):
        with pytest.raises(UnsafePath, match="is not below"):
            list(lent.archive.read(path))
    with pytest.raises(ArchiveUnavailable, match=r"gone: is it mounted\?"):
        list(DiskArchive("tape", tmp_path / "gone").list(""))


@pytest.mark.real
@pytest.mark.xdist_group("s3")
def test_an_interrupted_upload_is_continued(s3_server: S3Server, tmp_path: Path) -> None:
    content = os.urandom(3 * SMALLEST_PART_BYTES + 1000)
    source, whole = file_of(tmp_path, content), s3_archive(s3_server)
    with BreaksForGood(s3_server.port) as relay:
        broken = s3_archive(s3_server, endpoint=f"http://127.0.0.1:{relay.port}", bucket=whole.bucket)
        relay.drop_after(SMALLEST_PART_BYTES + SMALLEST_PART_BYTES // 2, "up")
        with pytest.raises(ArchiveUnavailable, match=r"cologne: http://127\.0\.0\.1:\d+/bucket-\d+/raw/scan\.tar"):
            broken.archive.put(source, "scan.tar")
        client = s3_server.client()
        (upload,) = client.list_multipart_uploads(Bucket=whole.bucket)["Uploads"]
        parts = client.list_parts(Bucket=whole.bucket, Key="raw/scan.tar", UploadId=upload["UploadId"])["Parts"]
        assert [part["PartNumber"] for part in parts] == [1]
        relay.flow()
        relay.drop_after(2 * SMALLEST_PART_BYTES + SMALLEST_PART_BYTES // 2, "up")  # enough for what is missing alone
        broken.archive.put(source, "scan.tar")
        assert "up" in relay._limits
    assert sha256_of(whole.content("scan.tar")) == sha256_of(content)
    assert client.list_multipart_uploads(Bucket=whole.bucket).get("Uploads", []) == []


@pytest.mark.real
@pytest.mark.xdist_group("s3")
def test_s3_says_what_to_mend(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.new_bucket()
    wrong = s3_archive(s3_server, keys=Keys("ARCHIVEKEY1", "a-wrong-secret"), bucket=bucket).archive
    stranger = s3_archive(s3_server, keys=Keys("NOBODY", "a-wrong-secret"), bucket=bucket).archive
    for archive, code in ((wrong, "SignatureDoesNotMatch"), (stranger, "InvalidAccessKeyId")):
        with pytest.raises(ArchiveRefused) as refused:
            archive.put(file_of(tmp_path, b"x"), "scan.tar")
        assert f"refused ({code}): check CCAT_S3_COLOGNE_ACCESS_KEY_ID and CCAT_S3_COLOGNE_SECRET_" in str(
            refused.value
        )
        assert "a-wrong-secret" not in repr(refused.value) + repr(vars(archive))
    without = s3_archive(s3_server, keys=None, bucket=bucket).archive
    with pytest.raises(ArchiveRefused, match="cologne: no credentials: set CCAT_S3_COLOGNE_ACCESS_KEY_ID and"):
        without.address("scan.tar")
    with pytest.raises(NotInArchive, match="NoSuchBucket"):
        s3_archive(s3_server, bucket="no-such-bucket").archive.put(file_of(tmp_path, b"x"), "scan.tar")
    gone: Archive = s3_archive(s3_server, endpoint=f"http://127.0.0.1:{free_port()}", bucket=bucket).archive
    with pytest.raises(ArchiveUnavailable, match="EndpointConnectionError"):
        list(gone.list(""))
    assert issubclass(ArchiveUnavailable, TransientError)
    assert not issubclass(WrongBytes, TransientError)
