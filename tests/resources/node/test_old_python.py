"""All sub-commands on the oldest Python that this machine has: 3.6 where that is installed."""

import contextlib
import hashlib
import io
import subprocess  # noqa: TID251 - tests start real programs
import tarfile
import time
from pathlib import Path

import pytest

from resources.container.sif_cache import Filling, SifCache
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from resources.workspace.store import AttemptStore, Expected
from tests.resources.node.test_package import MODULES
from tests.support.hands.attempts import (
    PATIENCE_SECONDS,
    alive,
    eventually,
    finish,
    node_program,
    python,
    result_of,
    start_wrapper,
    write_job,
)

pytestmark = pytest.mark.real


def test_every_module_can_be_imported(old_python: str) -> None:
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in MODULES]
    code = "import sys, importlib; sys.path.insert(0, sys.argv[1]); [importlib.import_module(n) for n in sys.argv[2:]]"
    modules = [f"resources.node.{name}" for name in names if name != "__init__"]
    assert len(modules) > 30
    subprocess.run([old_python, "-I", "-S", "-W", "error", "-c", code, node_program(), *modules], check=True)


def test_the_wrapper_runs_an_attempt(old_python: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("import os; os.mkdir('science'); open('science/f', 'w').write('x')"))
    assert finish(start_wrapper(job, interpreter=old_python)) == (0, "")
    result = result_of(job)
    assert (result.outcome, [output.path for output in result.outputs]) == ("completed", ["output/science/f"])
    assert result.outputs[0].sha256 == hashlib.sha256(b"x").hexdigest()
    failing = write_job(tmp_path / "b", python("import sys; sys.exit('no scan')"))
    assert finish(start_wrapper(failing, interpreter=old_python))[0] == 1
    assert result_of(failing).message == "exit code 1: no scan"


def test_the_wrapper_ends_its_program(old_python: str, tmp_path: Path) -> None:
    sleep = python("import os, time; open('../pid', 'w').write(str(os.getpid())); time.sleep(60)")
    late = write_job(tmp_path / "late", sleep, time_limit_seconds=0.3)
    finish(start_wrapper(late, interpreter=old_python))
    assert (result_of(late).outcome, alive(late / "pid")) == ("timeout", False)
    killed = write_job(tmp_path / "killed", sleep)
    wrapper = start_wrapper(killed, interpreter=old_python)
    eventually(lambda: (killed / "pid").exists() and (killed / "pid").read_text())
    wrapper.kill()
    finish(wrapper)
    eventually(lambda: not alive(killed / "pid"))


def test_the_store_answers(old_python: str, tmp_path: Path) -> None:
    store = AttemptStore.over(RemoteProgram(LocalShell(), tmp_path, old_python), tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_bytes(b"abc")
    assert [file.path for file in store.tree(limit=9, skip=r"^\.").files] == ["run/file"]
    assert store.sizes(["run/file", "run/none"]) == [3, None]
    assert store.claim([tmp_path / "run"]) == {tmp_path / "run"}
    assert store.look([tmp_path / "run"])[tmp_path / "run"].claimed
    expected = Expected(tmp_path, "run/file", 3)
    (now,) = store.checksum([expected], "me")
    assert now is not None
    assert now.sha256 == hashlib.sha256(b"abc").hexdigest()
    end = time.monotonic() + PATIENCE_SECONDS
    while (later := store.checksum([expected], "me", at_once_bytes=1)[0]) != now:
        assert time.monotonic() < end, later
    assert store.unlink(["run/file"]) == ({"run/file"}, {})
    assert store.remove(tmp_path, {"run"}) == {"run"}


def test_the_store_is_sent_where_it_cannot_be_written(old_python: str, small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "bulk").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    store = AttemptStore.over(RemoteProgram(LocalShell(), small_disk, old_python), small_disk)
    assert store.disk().free_bytes == 0
    assert not (small_disk / ".program" / node_program().name).exists()
    assert store.unlink(["bulk"]) == ({"bulk"}, {})


def test_a_package_is_staged_and_let_go(old_python: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("scan.fits")
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"counts"))
    (tmp_path / "scan.tar").write_bytes(packed.getvalue())
    files = [["scan.fits", 6, hashlib.sha256(b"counts").hexdigest()]]
    source = {"packed": True, "files": files, "from": [str(tmp_path / "scan.tar")]}
    program, words = RemoteProgram(LocalShell(), tmp_path, old_python), ["stage", str(tmp_path / "staged")]
    request = {"do": "ask", "packages": [{"name": "scan-1", "job": 1, "source": source}], "parallel": 1}
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := program.ask(words, request)["packages"]["scan-1"])["state"] == "fetching":
        assert time.monotonic() < end, found
    assert found == {"state": "ready", "bytes": 6, "transferred": len(packed.getvalue())}
    assert (tmp_path / "staged" / "scan-1" / "scan.fits").read_bytes() == b"counts"
    assert program.ask(words, {"do": "let_go", "packages": [["scan-1", 1]]}) == {"gone": ["scan-1"]}
    assert not (tmp_path / "staged" / "scan-1").exists()


def test_an_image_is_copied_into_the_cache(old_python: str, tmp_path: Path) -> None:
    (tmp_path / "image.sif").write_bytes(b"an image")
    sha256 = hashlib.sha256(b"an image").hexdigest()
    cache = SifCache(RemoteProgram(LocalShell(), tmp_path, old_python), tmp_path / "sif", "no-apptainer")
    end = time.monotonic() + PATIENCE_SECONDS
    while isinstance(answer := cache.ask(str(tmp_path / "image.sif"), sha256), Filling):
        assert time.monotonic() < end
    assert (answer.path, answer.sif_sha256) == (tmp_path / "sif" / f"{sha256}.sif", sha256)
    assert answer.path.read_bytes() == b"an image"
