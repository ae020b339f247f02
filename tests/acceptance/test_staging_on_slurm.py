"""Raw data in an object store alone, jobs on a real Slurm: what can go wrong in between, repaired and retried."""

import subprocess  # noqa: TID251 - tests start real programs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.staging import Status
from resources.archive.stager import Pace
from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from tests.support.parts.not_run import not_run
from tests.support.parts.rgw import ARCHIVIST, Keys, S3Server
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.on_slurm import SlurmWorld
from tests.support.worlds.staging import COLOGNE, LOCAL, STAGED, Held, StagingWorld

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm")]

CONTENT = "counts " * 300_000  # 2 MB
CONTENTS = [CONTENT * 7, CONTENT, CONTENT, CONTENT]  # the first one is larger than what the kernel holds of a line
SLOW = Pace(mb_per_second=4.0, retry_seconds=(0.05, 0.05))
BY_SRUN = Pace(mover=("srun", "--ntasks=1", "--job-name=staging"), retry_seconds=(0.05, 0.05))
GONE, WRONG, REFUSED, FULL = range(4)  # scans, by what happens to them


@dataclass
class Observatory:
    """An archive that is an object store, and a cluster that reads from it."""

    staging: StagingWorld
    server: S3Server
    bucket: str

    def store(self, number: int) -> bytes:
        """Store a scan in the object store alone; return its tar."""
        key = self.staging.send(number, self.bucket, self.server.endpoint, self.server)
        return self.server.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, number: int, tar: bytes) -> None:
        """Let a scan's tar be another one."""
        self.server.client().put_object(Bucket=self.bucket, Key=key_of(number), Body=tar)

    def fails(self, number: int, meanwhile: Callable[[], object] = lambda: None) -> str:
        """Let a scan's run fail; return how, once it is sure that nothing is registered and nothing in place."""
        staging, before = self.staging, len(self.staging.failures())
        staging.lab.works.ask("read", f"scan-{number}")
        meanwhile()
        staging.lab.until(lambda: len(staging.failures()) == before + 1)
        failure, message = staging.failures()[-1]
        job = staging.jobs()[-1]
        assert (failure, job.status, job.failure_message) == ("staging", Status.FAILED, message)
        assert staging.copies(number) == [archived(number)]
        assert staging.staged() == []
        assert "X-Amz" not in message
        return message

    def kill_on_the_way(self) -> None:
        """Kill the server once a part of the package has come."""
        lab, root = self.staging.lab, self.staging.staged_root
        lab.until(lambda: any(part.stat().st_size > len(CONTENT) // 4 for part in root.glob(".work/scan-*/part")))
        self.server.kill_gateway()


def key_of(number: int) -> str:
    return f"scan-{number}.tar"


def archived(number: int) -> Held:
    return Held(COLOGNE, key_of(number), PhysicalCopyStatus.PRESENT, verified=False)


@pytest.fixture
def observatory(slurm_cluster: SlurmCluster, s3_server: S3Server, sqlite_ops_db: OpsDb, tmp_path: Path) -> Observatory:
    shell = LocalShell(slurm_cluster.environment)
    lab = SlurmWorld.open(sqlite_ops_db, tmp_path / "lab", shell)
    return Observatory(StagingWorld(lab, shell), s3_server, s3_server.new_bucket())


@pytest.fixture
def small_disk(observatory: Observatory) -> Iterator[Path]:
    """Give a disk of 1 MB that holds all that is staged."""
    root = observatory.staging.staged_root
    root.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=False, capture_output=True)
    if done.returncode:
        not_run("a small disk", "root that may mount", installable=False)
    yield root
    subprocess.run(["umount", "-l", root], check=True)


def test_a_failed_staging_names_its_remedy_and_completes_once_that_is_applied(
    observatory: Observatory, small_disk: Path, slurm_cluster: SlurmCluster
) -> None:
    staging = observatory.staging
    staging.lab.declare(*CONTENTS)
    tars = [observatory.store(number) for number in range(4)]

    said = observatory.fails(FULL)
    assert f"{len(tars[FULL]) + len('scan-3 ' + CONTENT) + 1} more bytes are needed, " in said
    assert said.endswith("make room with `ccat purge`, or give the disk more, then retry")
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)

    observatory.put(WRONG, tars[WRONG].replace(b"counts", b"COUNTS", 1))
    assert "from cologne: scan.dat has sha256 " in observatory.fails(WRONG)
    observatory.put(WRONG, tars[WRONG])

    staging.give_access(Keys(ARCHIVIST.access_key_id, "another-secret"))
    said = observatory.fails(REFUSED)
    assert f"/{key_of(REFUSED)}: answered 403 SignatureDoesNotMatch: the archive refuses to be read: check " in said
    assert said.endswith("check CCAT_S3_COLOGNE_ACCESS_KEY_ID and CCAT_S3_COLOGNE_SECRET_ACCESS_KEY")

    staging.give_access(ARCHIVIST, SLOW)
    said = observatory.fails(GONE, meanwhile=observatory.kill_on_the_way)
    assert said.endswith("what came so far is kept: the next attempt resumes there once the archive answers")
    observatory.server.start_gateway()

    staging.give_access(ARCHIVIST, BY_SRUN)
    staging.retry()
    assert staging.lab.until_ended() == {"FAILED": 4, "COMPLETED": 4}
    assert sorted(staging.products()) == [f"scan-{number} {text}\n" for number, text in enumerate(CONTENTS)]
    for number in range(4):
        (name,) = [name for name in staging.staged() if name.startswith(f"scan-{number}-")]
        assert staging.copies(number) == [Held(LOCAL, f".staged/{name}", STAGED, verified=True), archived(number)]
    moved = slurm_cluster.run("squeue", "-h", "--states=all", "--name=staging", "-o", "%T").stdout.split()
    assert moved == ["COMPLETED"] * 4, "each was brought by a job"
    came = [job.bytes_transferred for job in staging.jobs() if job.raw_data_package_id == GONE + 1]
    assert len(came) == 2
    assert came[0] > len(CONTENT) // 4
    assert sum(came) == len(tars[GONE]), "nothing came twice"
