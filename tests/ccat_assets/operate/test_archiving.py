import uuid
from pathlib import Path

import pytest

from ccat_assets.operate.archiving import pack
from ccat_models.errors import Refused
from ccat_models.tables.raw_data import RawDataFile
from tests.support.parts.archives import sha256_of

CONTENT = b"counts" * 10_000


def registered(path: str) -> RawDataFile:
    return RawDataFile(id=uuid.uuid4(), path=path, size_bytes=len(CONTENT), sha256=sha256_of(CONTENT))


def test_a_full_disk_is_reported_with_the_path_of_that_disk(tmp_path: Path) -> None:
    (tmp_path / "scan.dat").write_bytes(CONTENT)
    with pytest.raises(Refused, match=r"^/dev/full: No space left on device: packing needs as much space there"):
        pack(tmp_path, [registered("scan.dat")], Path("/dev/full"))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"^{tmp_path}/scan.dat: No such file or directory$"):
        pack(tmp_path, [registered("scan.dat")], tmp_path / "package.tar")
