import fcntl
import hashlib
import json
import os
import subprocess  # noqa: TID251 - tests start real programs
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resources.container.sif_cache import Filling, Ready, SifCache
from resources.errors import StagingFailed
from resources.node.image import reference as references
from resources.shell.local import LocalShell
from resources.shell.port import Shell
from resources.shell.remote_program import RemoteProgram, program_command, program_path
from tests.support.hands.attempts import PATIENCE_SECONDS, alive, eventually, node_program
from tests.support.parts.apptainer import Image
from tests.support.parts.docker_archive import busybox_image, write_docker_archive, write_oci_archive
from tests.support.parts.registry import Registry

FAKE_APPTAINER = """#!/bin/sh
# A fake: the "SIF" that it makes holds the name of what it was made from; ./then says what it does after that.
here=$(dirname "$0")
[ "$1" = --version ] && { echo "fake apptainer 0.0"; exit 0; }
echo "$@" >>"$here/calls"
while [ $# -gt 2 ]; do shift; done
printf 'fake image of %s' "$2" >"$1"
[ -e "$here/then" ] && . "$here/then"
exit 0
"""
# Runs the program, whose filler kills itself at its nth step that Python's audit events report.
KILLED_AT = """
import os, runpy, signal, sys
at, caller, steps = int(sys.argv[1]), os.getpid(), []
def hook(event, _):
    if os.getpid() != caller and event.partition(".")[0] not in ("import", "compile", "exec", "object", "marshal"):
        steps.append(event)
        if len(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.argv = sys.argv[2:]
sys.addaudithook(hook)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MANIFEST_SHA256 = "d4" * 32


class Fake:
    """A fake apptainer in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.path = directory / "fake-apptainer"
        self.path.write_text(FAKE_APPTAINER)
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()

    def then(self, script: str) -> None:
        (self.directory / "then").write_text(script)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "fake")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sif"


def sif_cache(
    directory: Path, apptainer: object = "no-apptainer", shell: Shell | None = None, **options: Any
) -> SifCache:
    program = RemoteProgram(shell or LocalShell(), directory, sys.executable)
    return SifCache(program, directory, str(apptainer), **options)


def fetch(cache: SifCache, reference: str, sha256: str) -> Ready:
    """Ask until the image is there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while isinstance(answer := cache.ask(reference, sha256), Filling):
        assert time.monotonic() < end, "not filled in time"
        time.sleep(0.01)
    return answer


def fails(cache: SifCache, reference: str, sha256: str) -> str:
    """Ask until filling has failed and return how."""
    with pytest.raises(StagingFailed) as caught:
        fetch(cache, reference, sha256)
    return str(caught.value)


def source(directory: Path, content: bytes = b"an image") -> tuple[Path, str]:
    path = directory / "source.sif"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".program")


def files_of(*digests: str) -> list[str]:
    return sorted(f"{digest}.{ending}" for digest in digests for ending in ("json", "lock", "sif"))


def start_program(directory: Path, apptainer: object, reference: str, sha256: str, at: int | None = None) -> str:
    """Ask once without the cache's own class, killing the filler at a step if one is given; return the answer."""
    interpreter = [sys.executable, "-I", "-S", *(["-c", KILLED_AT, str(at)] if at else [])]
    command = [*interpreter, str(node_program()), "image", str(directory), str(apptainer)]
    request = json.dumps({"reference": reference, "sha256": sha256})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["state"])


def nobody_fills(directory: Path, sha256: str) -> bool:
    with (directory / f"{sha256}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_image_of_a_file_is_copied_and_stays(tmp_path: Path, directory: Path) -> None:
    path, sha256 = source(tmp_path)
    cache = sif_cache(directory)
    assert cache.ask(f"file://{path}", sha256) == Filling()
    ready = fetch(cache, f"file://{path}", sha256)
    assert ready == Ready(directory / f"{sha256}.sif", sha256)
    assert (ready.path.read_bytes(), ready.path.stat().st_mode & 0o777) == (b"an image", 0o644)
    assert names(directory) == files_of(sha256)
    written = json.loads((directory / f"{sha256}.json").read_text())
    assert written.pop("made_at").endswith("Z")
    assert written == {"reference": f"file://{path}", "source_sha256": sha256, "sif_sha256": sha256, "apptainer": None}
    content = path.read_bytes()
    path.unlink()
    assert cache.ask(str(path), sha256) == ready, "it does not need its source any more"
    ready.path.unlink()
    path.write_bytes(content)
    assert cache.ask(str(path), sha256) == Filling(), "what was removed from the cache is filled in again"
    assert fetch(cache, str(path), sha256) == ready


def test_the_manifests_digest_is_pulled_whatever_the_tag_and_the_sifs_own_is_returned(
    directory: Path, fake: Fake
) -> None:
    made = fetch(sif_cache(directory, fake.path), "docker://host:5000/lab/x:latest", MANIFEST_SHA256)
    pulled = f"docker://host:5000/lab/x@sha256:{MANIFEST_SHA256}"
    assert made.path == directory / f"{MANIFEST_SHA256}.sif"
    assert made.path.read_text() == f"fake image of {pulled}"
    assert made.sif_sha256 == sha256_of(made.path)
    written = json.loads((directory / f"{MANIFEST_SHA256}.json").read_text())
    assert (written["source_sha256"], written["sif_sha256"]) == (MANIFEST_SHA256, made.sif_sha256)
    assert (written["reference"], written["apptainer"]) == ("docker://host:5000/lab/x:latest", "fake apptainer 0.0")
    (call,) = fake.calls
    assert call.startswith(f"-q pull --disable-cache {directory}/.{MANIFEST_SHA256}.part-")
    assert names(directory) == files_of(MANIFEST_SHA256)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("alpine", "alpine"),
        ("alpine:3", "alpine"),
        ("host:5000/alpine", "host:5000/alpine"),
        ("host:5000/a/b:1", "host:5000/a/b"),
        (f"host/a:1@sha256:{MANIFEST_SHA256}", "host/a"),
    ],
)
def test_docker_image_is_named_by_its_manifest(name: str, asked: str) -> None:
    found = references.parse(f"docker://{name}", MANIFEST_SHA256)
    assert found == ("docker", f"{asked}@sha256:{MANIFEST_SHA256}")


def test_apptainer_works_in_the_cache_and_leaves_nothing(directory: Path, fake: Fake) -> None:
    fake.then(
        'echo "$APPTAINER_CACHEDIR $APPTAINER_TMPDIR $TMPDIR" >"$here/places"; mkdir -p "$TMPDIR/a/b"; chmod 0 "$TMPDIR/a"'
    )
    fetch(sif_cache(directory, fake.path), "docker://x", MANIFEST_SHA256)
    (place,) = set((fake.directory / "places").read_text().split())
    assert place.startswith(f"{directory}/.{MANIFEST_SHA256}.part-")
    assert names(directory) == files_of(MANIFEST_SHA256)


def test_tls_is_left_out_for_named_registries_alone(directory: Path, fake: Fake) -> None:
    cache = sif_cache(directory, fake.path, insecure_registries=("lab:5000",))
    for digest, registry in (("a1" * 32, "lab:5000"), ("a2" * 32, "lab"), ("a3" * 32, "lab:50001")):
        fetch(cache, f"docker://{registry}/x", digest)
    assert ["--no-https" in call.split() for call in fake.calls] == [True, False, False]


def test_of_many_simultaneous_callers_one_fills_the_cache(directory: Path, fake: Fake) -> None:
    fake.then("sleep 0.5")
    command = program_command(sys.executable, node_program(), "image", str(directory), str(fake.path))
    request = json.dumps({"reference": "docker://x", "sha256": MANIFEST_SHA256}).encode()
    callers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(20)]
    for caller in callers:  # all are up; now they are all asked
        assert caller.stdin is not None
        caller.stdin.write(request)
    answers = [json.loads(caller.communicate(timeout=PATIENCE_SECONDS)[0])["state"] for caller in callers]
    assert set(answers) <= {"filling", "ready"}
    fetch(sif_cache(directory, fake.path), "docker://x", MANIFEST_SHA256)
    assert len(fake.calls) == 1
    assert names(directory) == files_of(MANIFEST_SHA256)


def test_two_images_are_filled_side_by_side(directory: Path, fake: Fake) -> None:
    fake.then('until [ "$(wc -l <"$here/calls")" = 2 ]; do sleep 0.01; done')
    cache, digests = sif_cache(directory, fake.path), ("a1" * 32, "a2" * 32)
    assert [cache.ask(f"docker://{digest[:2]}", digest) for digest in digests] == [Filling(), Filling()]
    made = [fetch(cache, f"docker://{digest[:2]}", digest) for digest in digests]
    assert made[0].sif_sha256 != made[1].sif_sha256
    assert names(directory) == files_of(*digests)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "docker"])
def test_the_cache_recovers_from_a_filler_killed_at_any_step(tmp_path: Path, fake: Fake, kind: str) -> None:
    path, digest = source(tmp_path)
    reference, sha256 = (str(path), digest) if kind == "file" else ("docker://x", MANIFEST_SHA256)
    seen: set[tuple[str, ...]] = set()
    for at in range(1, 200):
        directory = tmp_path / f"{at}"
        assert start_program(directory, fake.path, reference, sha256, at) == "filling"
        eventually(lambda place=directory: nobody_fills(place, sha256))  # type: ignore[misc]
        left = names(directory)
        seen.add(tuple(name.replace(sha256, "").rstrip("0123456789") for name in left))
        if f"{sha256}.sif" in left:
            written = json.loads((directory / f"{sha256}.json").read_text())
            assert written["sif_sha256"] == sha256_of(directory / f"{sha256}.sif")
            if start_program(directory, fake.path, reference, sha256) == "ready" and left == files_of(sha256):
                break
        made = fetch(sif_cache(directory, fake.path), reference, sha256)
        assert made.sif_sha256 == sha256_of(made.path)
        eventually(lambda place=directory: nobody_fills(place, sha256))  # type: ignore[misc]
        assert [name for name in names(directory) if "part" in name] == []
    assert {(".lock",), ("..part-", ".lock"), ("..part-", ".json", ".lock"), (".json", ".lock", ".sif")} <= seen
    assert at > 10


def test_filler_killed_while_apptainer_works_takes_it_along(directory: Path, fake: Fake) -> None:
    fake.then('echo $$ >"$here/pid.tmp"; mv "$here/pid.tmp" "$here/pid"; exec sleep 60')
    cache, pid = sif_cache(directory, fake.path), fake.directory / "pid"
    assert cache.ask("docker://x", MANIFEST_SHA256) == Filling()
    eventually(pid.exists)
    (filler,) = (path.name.rpartition("-")[2] for path in directory.glob(".*.part-*") if path.suffix != ".work")
    assert cache.ask("docker://x", MANIFEST_SHA256) == Filling()
    os.kill(int(filler), 9)
    eventually(lambda: not alive(pid))
    fake.then("true")
    made = fetch(cache, "docker://x", MANIFEST_SHA256)
    assert made.sif_sha256 == sha256_of(made.path)
    assert names(directory) == files_of(MANIFEST_SHA256)


@pytest.mark.parametrize("scheme", ["", "file://", "docker-archive:", "docker-archive://", "oci-archive:"])
def test_wrong_checksum_names_both_once_and_is_tried_again(
    tmp_path: Path, directory: Path, fake: Fake, scheme: str
) -> None:
    path, sha256 = source(tmp_path, b"not the image")
    wanted = hashlib.sha256(b"an image").hexdigest()
    cache, reference = sif_cache(directory, fake.path), f"{scheme}{path}"
    assert fails(cache, reference, wanted).startswith(f"image {reference}: has sha256 {sha256}, not {wanted} (2")
    assert names(directory) == [f"{wanted}.lock"]
    path.write_bytes(b"an image")
    assert cache.ask(reference, wanted) == Filling(), "reported once"
    assert fetch(cache, reference, wanted).path.exists()
    assert not (fake.directory / "calls").exists() or len(fake.calls) == 1, "nothing unverified is built"


def test_pulled_sif_must_be_the_declared_one(directory: Path, fake: Fake) -> None:
    said = fails(sif_cache(directory, fake.path), "oras://host/x:1", MANIFEST_SHA256)
    found = hashlib.sha256(b"fake image of oras://host/x:1").hexdigest()
    assert said.startswith(f"image oras://host/x:1: has sha256 {found}, not {MANIFEST_SHA256} (2")
    assert names(directory) == [f"{MANIFEST_SHA256}.lock"]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("library://lab/x:1", f"must be {references.VALID}"),
        ("image.sif", f"must be {references.VALID}"),
        ("file://image.sif", f"must be {references.VALID}"),
        ("docker-archive:x.tar", f"must be {references.VALID}"),
        ("docker:x", f"must be {references.VALID}"),
        ("docker://x y", f"must be {references.VALID}"),
        ("oras://x$(y)", f"must be {references.VALID}"),
        ("", f"must be {references.VALID}"),
        ("docker-archive:/x:1.tar", "apptainer cannot read an archive with ':' in its path"),
        (f"docker://x@sha256:{'0' * 64}", f"names the manifest sha256:{'0' * 64}, not sha256:{MANIFEST_SHA256}"),
    ],
)
def test_reference_that_is_none_is_refused_at_once(directory: Path, reference: str, reason: str) -> None:
    with pytest.raises(StagingFailed) as caught:
        sif_cache(directory).ask(reference, MANIFEST_SHA256)
    assert str(caught.value) == f"image {reference}: {reason}"
    assert names(directory) == []


@pytest.mark.parametrize("sha256", ["", "ab", "../" + "a" * 61, "A" * 64, "a" * 64 + "\n"])
def test_checksum_that_is_none_is_refused_at_once(directory: Path, sha256: str) -> None:
    with pytest.raises(StagingFailed, match="is not a sha256"):
        sif_cache(directory).ask("/x.sif", sha256)
    assert names(directory) == []


@pytest.mark.parametrize("reference", ["docker://ada:hunter2@host/x", "oras://hunter2@host/x", "docker://a:hunter2@x"])
def test_reference_with_credentials_is_refused_without_showing_them(directory: Path, reference: str) -> None:
    with pytest.raises(StagingFailed, match="credentials belong into apptainer's own configuration") as caught:
        sif_cache(directory).ask(reference, MANIFEST_SHA256)
    assert "hunter2" not in str(caught.value)


def test_apptainers_last_words_are_reported_without_credentials(directory: Path, fake: Fake) -> None:
    fake.then(
        "printf 'INFO: one\\n\\nGET https://ada:hunter2@host/x?token=hunter2&page=1\\nAuthorization: Bearer hunter2\\n"
        "FATAL:  \\033no such manifest for geheim\\n' >&2; exit 255"
    )
    shell = LocalShell({"PATH": os.defpath, "APPTAINER_DOCKER_PASSWORD": "geheim"})
    said = fails(sif_cache(directory, fake.path, shell), "docker://x", MANIFEST_SHA256)
    assert said.partition(" (2")[0] == (
        f"image docker://x: {fake.path} -q pull: exit code 255: GET https://…@host/x?token=…&page=1 / "
        "Authorization: Bearer… / FATAL:  no such manifest for …"
    )
    assert names(directory) == [f"{MANIFEST_SHA256}.lock"]


def test_missing_apptainer_and_missing_source_are_named(tmp_path: Path, directory: Path) -> None:
    cache = sif_cache(directory, "/opt/none/apptainer")
    said = fails(cache, "docker://x", MANIFEST_SHA256)
    assert said.startswith("image docker://x: cannot start /opt/none/apptainer: No such file or directory (2")
    said = fails(cache, f"{tmp_path}/none.sif", MANIFEST_SHA256)
    assert said.startswith(f"image {tmp_path}/none.sif: {tmp_path}/none.sif: No such file or directory (2")


def test_filling_has_a_time_limit(directory: Path, fake: Fake) -> None:
    fake.then('echo $$ >"$here/pid"; exec sleep 60')
    said = fails(sif_cache(directory, fake.path, fill_seconds=0.5), "docker://x", MANIFEST_SHA256)
    assert said.startswith("image docker://x: not there after 0.5 s (2")
    assert not alive(fake.directory / "pid")
    assert names(directory) == [f"{MANIFEST_SHA256}.lock"]


def test_a_full_disk_is_reported_and_recovered_from(tmp_path: Path, small_disk: Path) -> None:
    path, sha256 = source(tmp_path, b"x" * 900_000)
    cache, rest = sif_cache(small_disk), small_disk / "rest"
    cache.ask("/none.sif", "0" * 64)  # the program is installed, the disk is not full yet
    rest.write_bytes(b"y" * 500_000)
    assert "No space left on device" in fails(cache, str(path), sha256)
    assert [name for name in names(small_disk) if sha256 in name] == [f"{sha256}.lock"]
    rest.rename(small_disk / f".{sha256}.part-1")  # what a dead filler left makes room
    assert sha256_of(fetch(cache, str(path), sha256).path) == sha256


def test_a_cache_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = program_command(sys.executable, node_program(), "image", str(tmp_path / "file" / "sif"), "apptainer")
    request = json.dumps({"reference": "/x.sif", "sha256": MANIFEST_SHA256})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    message = f"{tmp_path}/file/sif: Not a directory"
    assert json.loads(done.stdout) == {"state": "failed", "message": message}


def test_a_lost_sidecar_is_written_again(tmp_path: Path, directory: Path) -> None:
    path, sha256 = source(tmp_path)
    fetch(sif_cache(directory), str(path), sha256)
    for content in (None, "", "{}", "[]"):
        sidecar = directory / f"{sha256}.json"
        sidecar.unlink() if content is None else sidecar.write_text(content)
        assert sif_cache(directory).ask(str(path), sha256) == Filling()
        assert fetch(sif_cache(directory), str(path), sha256).sif_sha256 == sha256


def test_program_is_installed_under_its_content_and_again_where_it_is_lost(tmp_path: Path, directory: Path) -> None:
    path, sha256 = source(tmp_path)
    cache = sif_cache(directory)
    cache.ask(str(path), sha256)
    (program,) = (directory / ".program").iterdir()
    assert program == program_path(directory)
    assert program.name == f"node-{sha256_of(program)[:12]}.pyz"
    content = program.read_bytes()
    program.unlink()
    fetch(cache, str(path), sha256)
    assert program.read_bytes() == content


def mark_in(made: Ready, apptainer: str) -> str:
    """Check that the SIF is the one that was returned, and return its /mark as a container sees it."""
    assert sha256_of(made.path) == made.sif_sha256
    command: Sequence[str] = [apptainer, "-q", "exec", "--containall", str(made.path), "/bin/cat", "/mark"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.real
def test_real_image_of_a_file_runs(directory: Path, apptainer_image: Image) -> None:
    made = fetch(sif_cache(directory, apptainer_image.apptainer), str(apptainer_image.path), apptainer_image.sha256)
    command = [apptainer_image.apptainer, "-q", "exec", "--containall", str(made.path), "python3", "-c", "print(6 * 7)"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "42\n"


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["docker-archive:", "docker-archive://", "oci-archive:", "oci-archive://"])
def test_real_archive_becomes_a_sif_that_runs(
    tmp_path: Path, directory: Path, apptainer_image: Image, scheme: str
) -> None:
    path, write = tmp_path / "x.tar", write_docker_archive if scheme.startswith("docker") else write_oci_archive
    sha256 = write(busybox_image(scheme), path)
    made = fetch(sif_cache(directory, apptainer_image.apptainer), f"{scheme}{path}", sha256)
    assert mark_in(made, apptainer_image.apptainer) == scheme
    assert names(directory) == files_of(sha256)
    path.write_bytes(b"no archive")
    said = fails(sif_cache(directory, apptainer_image.apptainer), f"{scheme}{path}", sha256_of(path))
    assert "-q build: exit code 255: FATAL:" in said


@pytest.mark.real
def test_real_registrys_image_is_pulled_by_its_manifest(
    directory: Path, apptainer_image: Image, registry: Registry
) -> None:
    old, new = busybox_image("old"), busybox_image("new")
    registry.push(old, "lab/busybox", "1")
    registry.push(new, "lab/busybox", "1")
    cache = sif_cache(directory, apptainer_image.apptainer, insecure_registries=(registry.host,))
    for reference in ("lab/busybox:1", f"lab/busybox@sha256:{old.sha256}"):
        made = fetch(cache, f"docker://{registry.host}/{reference}", old.sha256)
        assert mark_in(made, apptainer_image.apptainer) == "old"
    assert names(directory) == files_of(old.sha256)
    said = fails(cache, f"docker://{registry.host}/lab/busybox:1", MANIFEST_SHA256)
    assert "manifest unknown" in said


@pytest.mark.real
def test_real_sif_in_a_registry_is_pulled_and_verified(
    directory: Path, apptainer_image: Image, registry: Registry
) -> None:
    reference = f"oras://{registry.host}/lab/python:1"
    push = [apptainer_image.apptainer, "-q", "push", "--no-https", "--allow-unsigned"]
    subprocess.run([*push, str(apptainer_image.path), reference], check=True, capture_output=True)
    cache = sif_cache(directory, apptainer_image.apptainer, insecure_registries=(registry.host,))
    assert fetch(cache, reference, apptainer_image.sha256).sif_sha256 == apptainer_image.sha256
    said = fails(cache, reference, MANIFEST_SHA256)
    assert f"has sha256 {apptainer_image.sha256}, not {MANIFEST_SHA256}" in said
    assert "MANIFEST_UNKNOWN" in fails(cache, f"oras://{registry.host}/lab/none:1", MANIFEST_SHA256)


@pytest.mark.real
def test_real_registry_without_tls_must_be_named(directory: Path, apptainer_image: Image, registry: Registry) -> None:
    image = busybox_image("plain")
    registry.push(image, "lab/plain", "1")
    cache = sif_cache(directory, apptainer_image.apptainer)
    said = fails(cache, f"docker://{registry.host}/lab/plain:1", image.sha256)
    assert "server gave HTTP response to HTTPS client" in said
    assert names(directory) == [f"{image.sha256}.lock"]
