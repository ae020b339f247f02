import sys
from dataclasses import replace

import pytest

from resources.archive.stager import Stager
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from resources.space.room import make_room
from tests.support.parts.archives import disk_archive
from tests.support.worlds.letters import ALL, LettersWorld


def test_staging_directory_that_cannot_be_used_keeps_no_product(
    embedded: LettersWorld, caplog: pytest.LogCaptureFixture
) -> None:
    embedded.declare(0, 1)
    assert embedded.run().failed == []
    base, archive = embedded.cluster.base, disk_archive(embedded.observatory.base / "longterm").archive
    (base / ".staged").mkdir()
    (base / ".staged" / ".work").touch()
    stager = Stager(RemoteProgram(LocalShell(), base, sys.executable), base, lambda _: archive)
    freed = make_room(replace(embedded.cluster, stager=stager), ALL, by="test", reason="test")
    assert (freed.freed_runs, freed.problem) == (4, None)
    assert ".staged/.work: Not a directory" in caplog.text
    embedded.check_disk()
