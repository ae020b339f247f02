"""Real pipelines whose raw data is, packed, in an archive alone."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from ccat_assets.wiring.archives import archive_of
from ccat_assets.wiring.s3_credentials import S3Credentials, s3_variables
from ccat_assets.wiring.settings import Settings
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.request import request_rerun
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.places import LocationType, PhysicalCopyStatus, S3DataLocation
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.staging import StagingJob
from resources.archive.stager import Pace, Stager
from resources.location import Cluster
from resources.shell.port import Shell
from resources.shell.remote_program import RemoteProgram
from tests.support.faults.moments import Hook, unwatched, watched
from tests.support.parts.archives import tar_of
from tests.support.parts.rgw import ARCHIVIST, Keys, S3Server
from tests.support.worlds.on_slurm import RealWorld

STAGED = PhysicalCopyStatus.STAGED
LOCAL, ARCHIVE, COLOGNE = 1, 2, 3  # data locations
QUICK = Pace(retry_seconds=(0.05, 0.05))


@dataclass(frozen=True)
class Held:
    """A package's copy as ops-db knows it."""

    location_id: int
    path: str
    status: PhysicalCopyStatus
    verified: bool


@dataclass
class StagingWorld:
    """A lab of one step `read` per scan, with access to its staged copies."""

    lab: RealWorld
    shell: Shell

    def __post_init__(self) -> None:
        self.give_access(ARCHIVIST)

    @property
    def cluster(self) -> Cluster:
        """Return the cluster that all is run on."""
        return self.lab.cluster

    def change(self, **fields: object) -> None:
        """Give the cluster other parts."""
        self.lab.works.cluster = replace(self.cluster, **fields)  # type: ignore[arg-type]

    def watch(self, hook: Hook | None) -> None:
        """Call a hook at each moment between two writes, or none any more."""
        plain = unwatched(self.cluster)
        self.lab.works.cluster = plain if hook is None else watched(plain, hook)

    def give_access(self, keys: Keys | None, pace: Pace = QUICK) -> None:
        """Let the cluster fetch with these keys for Cologne."""
        given = {}
        if keys is not None:
            both = (SecretStr(keys.access_key_id), SecretStr(keys.secret_access_key))
            given = {s3_variables("cologne")[0]: S3Credentials(access_key_id=both[0], secret_access_key=both[1])}
        of = partial(archive_of, Settings(s3_credentials=given))
        program = RemoteProgram(self.shell, self.cluster.base, self.cluster.backend.node.python)
        self.change(stager=Stager(program, self.cluster.base, of, pace))

    def pack(self, number: int) -> Path:
        """Store a scan in the disk archive alone, as one tar; return its path."""
        name, root = f"scan-{number}", self.lab.works.observatory.base / "archive"
        path = root / f"{name}.tar"
        path.write_bytes(self._tar(number))
        shutil.rmtree(root / name)
        self._set_copy(name, path.name, ARCHIVE)
        return path

    def send(self, number: int, bucket: str, endpoint: str, server: S3Server) -> str:
        """Store a scan in an object store alone, as one tar; return its key."""
        name, root = f"scan-{number}", self.lab.works.observatory.base / "archive"
        key = f"{name}.tar"
        server.client().put_object(Bucket=bucket, Key=key, Body=self._tar(number))
        shutil.rmtree(root / name)
        self.reach(bucket, endpoint)
        self._set_copy(name, key, COLOGNE)
        return key

    def reach(self, bucket: str, endpoint: str) -> None:
        """Reach the object store at this address from now on."""
        with self.cluster.ops_db.write() as session:
            location = session.get(S3DataLocation, COLOGNE) or S3DataLocation(id=COLOGNE, site_id=1, name="cologne")
            location.location_type = LocationType.LONG_TERM_ARCHIVE
            location.endpoint_url, location.bucket = endpoint, bucket
            session.add(location)

    def copies(self, number: int) -> list[Held]:
        """Return the copies of a scan, by location."""
        query = sa.select(Copy).join(RawDataPackage, RawDataPackage.id == Copy.raw_data_package_id)
        query = query.where(RawDataPackage.name == f"scan-{number}").order_by(Copy.data_location_id)
        with self.cluster.ops_db.read() as session:
            return [
                Held(copy.data_location_id, copy.path, copy.status, copy.checksum_verified_at is not None)
                for copy in session.scalars(query)
            ]

    def jobs(self) -> list[StagingJob]:
        """Return all staging jobs, oldest first."""
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(sa.select(StagingJob).order_by(StagingJob.id)))

    def staged(self) -> list[str]:
        """Return the names of the staged packages on the cluster's disk."""
        return sorted(path.name for path in self.staged_root.glob("[!.]*"))

    @property
    def staged_root(self) -> Path:
        """Return the directory of all that is staged."""
        return self.cluster.base / ".staged"

    def products(self) -> Iterator[str]:
        """Yield what the completed runs have made, oldest first."""
        for attempt in self.lab.attempts():
            path = Path(str(attempt.directory)) / "output" / "science" / "text.txt"
            if attempt.directory and path.is_file():
                yield path.read_text()

    def retry(self) -> None:
        """Let what failed for good be tried again, and request it."""
        with self.cluster.ops_db.write() as session:
            step = load_pipeline(session, "letters").step("read")
            ids = [run.sub_group_id for run in self.failed_runs()]
            request_rerun(session, step, ids, force=False, by="test", now=self.cluster.clock())
        self.lab.works.request()

    def failed_runs(self) -> list[Run]:
        """Return the runs that failed for good."""
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(sa.select(Run).where(Run.status == RunStatus.FAILED)))

    def failures(self) -> list[tuple[str, str]]:
        """Return class and message of each failed attempt, oldest first."""
        found = [(attempt.failure_class, attempt.failure_message or "") for attempt in self.lab.attempts()]
        return [(failure.value, message) for failure, message in found if failure is not None]

    def pass_hours(self, hours: float) -> None:
        """Let time pass."""
        self.lab.works.observatory.clock.pass_seconds(timedelta(hours=hours).total_seconds())

    def _tar(self, number: int) -> bytes:
        content = (self.lab.works.observatory.base / "archive" / f"scan-{number}" / "scan.dat").read_bytes()
        return tar_of({"scan.dat": content})

    def _set_copy(self, name: str, path: str, location_id: int) -> None:
        package = sa.select(RawDataPackage.id).where(RawDataPackage.name == name).scalar_subquery()
        values = {"path": path, "data_location_id": location_id, "status": PhysicalCopyStatus.PRESENT}
        with self.cluster.ops_db.write() as session:
            session.execute(sa.update(Copy).where(Copy.raw_data_package_id == package).values(values))
