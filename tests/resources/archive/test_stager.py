"""Packages downloaded over signed addresses of a real S3 server."""

import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ccat_models.raw.staging import ArchivedCopy
from ccat_models.tables.base import PackageId
from ccat_models.tables.places import S3DataLocation
from ccat_models.tables.raw_data import RawDataFile
from resources.archive.stager import Answer, Arrived, NotBrought, OnItsWay, Pace, Stager, StagingRequest, staged_name
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from tests.support.hands.attempts import PATIENCE_SECONDS
from tests.support.parts.archives import Lent, s3_archive, sha256_of, tar_of
from tests.support.parts.relay import FlakyRelay
from tests.support.parts.rgw import S3Server

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("s3")]

CHECKSUM = "c0ffee" * 8
FILES = {"scan 1+2.fits": b"counts" * 1000, "log/håndbok&more.txt": b"clear sky\n"}
PATIENT = Pace(retry_seconds=(0.05, 0.05))


def request_of(path: str, files: Mapping[str, bytes], job: int = 1) -> StagingRequest:
    registered = [
        RawDataFile(id=uuid.uuid4(), path=name, size_bytes=len(content), sha256=sha256_of(content))
        for name, content in files.items()
    ]
    location = S3DataLocation(name="cologne")
    return StagingRequest("scan/1", CHECKSUM, job, ArchivedCopy(PackageId(1), location, path), registered)


def stager_of(lent: Lent, base: Path) -> Stager:
    return Stager(RemoteProgram(LocalShell(), base, sys.executable), base, lambda _: lent.archive, PATIENT)


def bring(stager: Stager, request: StagingRequest) -> Answer:
    """Ask until the package is there or could not be brought."""
    end = time.monotonic() + PATIENCE_SECONDS
    while isinstance(answer := stager.ask([request])[request.job_id], OnItsWay):
        assert time.monotonic() < end, answer
        time.sleep(0.02)
    return answer


def shown(base: Path) -> dict[str, bytes]:
    root = base / ".staged" / staged_name("scan/1", CHECKSUM)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_package_below_a_key_prefix_is_brought_file_by_file(s3_server: S3Server, tmp_path: Path) -> None:
    lent = s3_archive(s3_server)
    for name, content in FILES.items():
        lent.put(f"2026/scan/{name}", content)
    stager = stager_of(lent, tmp_path)
    assert bring(stager, request_of("2026/scan", FILES)) == Arrived(sum(map(len, FILES.values())))
    assert shown(tmp_path) == FILES
    assert stager.let_go({staged_name("scan/1", CHECKSUM): 1}) == {"scan%2F1-c0ffeec0ffee"}
    assert shown(tmp_path) == {}


def test_a_download_continues_after_its_connection_broke(s3_server: S3Server, tmp_path: Path) -> None:
    content = {"scan.fits": os.urandom(1 << 20)}
    whole = s3_archive(s3_server)
    whole.put("scan.tar", tar_of(content))
    size = len(tar_of(content))
    with FlakyRelay(s3_server.port) as relay:
        lent = s3_archive(s3_server, endpoint=f"http://127.0.0.1:{relay.port}", bucket=whole.bucket)
        relay.drop_after(1 << 19, "down")
        assert bring(stager_of(lent, tmp_path), request_of("scan.tar", content)) == Arrived(size)
        assert relay.connections == 2
    assert shown(tmp_path) == content


def test_a_missing_object_is_reported_with_its_remedy(s3_server: S3Server, tmp_path: Path) -> None:
    answer = bring(stager_of(s3_archive(s3_server), tmp_path), request_of("none.tar", FILES))
    assert isinstance(answer, NotBrought)
    assert "package scan/1: from cologne: http://" in answer.message
    assert "/raw/none.tar: answered 404 NoSuchKey: the copy on record is not there: mend the archive" in answer.message


def test_an_unresponsive_archive_is_waited_for_and_logged_once(
    s3_server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = s3_archive(s3_server)
    whole.put("scan.tar", tar_of(FILES))
    with FlakyRelay(s3_server.port) as relay:
        lent = s3_archive(s3_server, endpoint=f"http://127.0.0.1:{relay.port}", bucket=whole.bucket)
        pace = replace(PATIENT, patience_seconds=60.0)
        stager = Stager(RemoteProgram(LocalShell(), tmp_path, sys.executable), tmp_path, lambda _: lent.archive, pace)
        request = request_of("scan.tar", FILES)
        relay.refuse()
        for _ in range(20):
            assert isinstance(stager.ask([request])[1], OnItsWay)
            time.sleep(0.05)
        relay.flow()
        assert isinstance(bring(stager, request), Arrived)
    logged = [record.message for record in caplog.records]
    assert len(logged) == 1
    assert logged[0].startswith("package scan/1: from cologne: http://127.0.0.1:")
    another = replace(request, copy=replace(request.copy, path="none", alone=False), name="scan/2", job_id=2)
    gone = Stager(RemoteProgram(LocalShell(), tmp_path, sys.executable), tmp_path, lambda _: lent.archive, pace)
    answer = bring(gone, another)
    assert isinstance(answer, NotBrought), "another archive has it"
    assert "the next attempt resumes there once the archive answers" in answer.message


def test_missing_credentials_are_reported_before_any_request(s3_server: S3Server, tmp_path: Path) -> None:
    lent = s3_archive(s3_server, keys=None, bucket="any")
    answer = bring(stager_of(lent, tmp_path), request_of("scan.tar", FILES))
    assert isinstance(answer, NotBrought)
    variables = "CCAT_S3_COLOGNE_ACCESS_KEY_ID and CCAT_S3_COLOGNE_SECRET_ACCESS_KEY"
    assert answer.message == f"package scan/1: cologne: no credentials: set {variables}"
