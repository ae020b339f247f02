"""Raw data that attempts read: find its directory, or stage it from an archive."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ccat_models.chunks import chunks
from ccat_models.raw import staging
from ccat_models.raw.locations import disk_of
from ccat_models.raw.staging import STAGED_DIRECTORY, ArchivedCopy, Progress
from ccat_models.run import staged_copies
from ccat_models.run.briefing import PackageBriefing, RunBriefing
from ccat_models.tables.base import PackageId
from ccat_models.tables.raw_data import PackageContent
from ccat_models.tables.staging import StagingJob
from resources.archive.stager import Answer, Arrived, NotBrought, OnItsWay, Stager, StagingRequest
from resources.errors import StagingFailed
from resources.location import Cluster
from resources.raw.let_go import remove

_AT_A_TIME = 1_000


@dataclass
class RawInputs:
    """The packages of one batch of attempts; each is looked up once."""

    directories: dict[PackageContent, str] = field(default_factory=dict)
    problems: dict[PackageContent, str] = field(default_factory=dict)
    being_staged: set[PackageContent] = field(default_factory=set)

    def of(self, briefing: RunBriefing) -> RunBriefing | None:
        """Return a briefing with every package's directory, None while one is being staged; raise StagingFailed."""
        for package in briefing.packages:
            if package.content in self.problems:
                raise StagingFailed(self.problems[package.content])
        if any(package.content in self.being_staged for package in briefing.packages):
            return None
        return replace(briefing, packages=tuple(self._placed(package) for package in briefing.packages))

    def _placed(self, package: PackageBriefing) -> PackageBriefing:
        return replace(package, directory=self.directories.get(package.content, package.directory))


def bring_inputs(cluster: Cluster, briefings: Iterable[RunBriefing]) -> RawInputs:
    """Find the packages that attempts read, and stage those that are in an archive only."""
    read = {package.content: package for briefing in briefings for package in briefing.packages}
    inputs = RawInputs(
        problems={content: _other_content(package) for content, package in read.items() if package.replaced}
    )
    current = [package for package in read.values() if not package.replaced]
    wanted = {package.content: package for package in current if package.directory is None}
    if cluster.stager is not None:
        for packages in chunks([package for package in current if _is_staged(cluster, package)], _AT_A_TIME):
            wanted |= {package.content: package for package in _lost(cluster, cluster.stager, packages, inputs)}
    for packages in chunks(wanted.values(), _AT_A_TIME):
        _bring(cluster, packages, inputs)
    return inputs


def _is_staged(cluster: Cluster, package: PackageBriefing) -> bool:
    return package.directory is not None and Path(package.directory).parent == cluster.base / STAGED_DIRECTORY


def _lost(
    cluster: Cluster, stager: Stager, packages: Sequence[PackageBriefing], inputs: RawInputs
) -> list[PackageBriefing]:
    """Return the packages whose staged copies are lost, and record that: they are staged again."""
    with cluster.ops_db.read() as session:
        copies = staged_copies.staged(session, cluster.location_id, [package.id for package in packages])
    known = {copy.job_id: copy for copy in copies if copy.job_id is not None}
    try:
        seen = stager.look({job: copy.path.rpartition("/")[2] for job, copy in known.items()})
    except StagingFailed:  # laying out the attempt looks for the same files, and reports them
        return []
    lost = [known[job] for job, answer in seen.items() if answer is None or isinstance(answer, NotBrought)]
    coming = {known[job].package_id for job, answer in seen.items() if isinstance(answer, OnItsWay)}
    inputs.being_staged |= {package.content for package in packages if package.id in coming}
    if lost:
        with cluster.ops_db.write() as session:
            staged_copies.record_lost(session, [copy.copy_id for copy in lost])
    gone = {copy.package_id for copy in lost}
    return [package for package in packages if package.id in gone]


def _bring(cluster: Cluster, packages: Sequence[PackageBriefing], inputs: RawInputs) -> None:
    _look(cluster, packages, inputs)
    missing = [package for package in packages if package.content not in inputs.directories]
    if cluster.stager is None:
        inputs.problems |= {package.content: _no_copy(package) for package in missing}
        return
    try:
        if _settle_leaving_copies(cluster, {package.id for package in missing}):
            _look(cluster, missing, inputs)
        _ask(cluster, cluster.stager, [one for one in missing if one.content not in inputs.directories], inputs)
    except StagingFailed as error:  # of the whole directory, not of one package
        _give_up(cluster, missing, str(error), inputs)


def _look(cluster: Cluster, packages: Sequence[PackageBriefing], inputs: RawInputs) -> None:
    """Note the packages that can be read where they are."""
    ids = [package.id for package in packages]
    with cluster.ops_db.read() as session:
        inputs.directories |= staging.readable_directories(session, ids, cluster.location_id)


def _no_copy(package: PackageBriefing) -> str:
    return (
        f"package {package.name}: no copy that can be read here, and none in a long-term archive to bring it from: "
        f"see `ccat locations`"
    )


def _other_content(package: PackageBriefing) -> str:
    return (
        f"package {package.name}: was delivered again with other content since the run was requested: request a new "
        f"run, which reads the new content"
    )


def _copies(
    cluster: Cluster, packages: Sequence[PackageBriefing], inputs: RawInputs
) -> dict[PackageContent, ArchivedCopy]:
    """Return the archived copies of packages; note a problem for each package without one."""
    with cluster.ops_db.read() as session:
        copies = staging.archived_copies(session, [package.id for package in packages], cluster.location_id)
    wanted = {package.content: package for package in packages}
    inputs.problems |= {content: _no_copy(package) for content, package in wanted.items() if content not in copies}
    return {content: copy for content, copy in copies.items() if content in wanted}


def _settle_leaving_copies(cluster: Cluster, ids: Collection[PackageId]) -> bool:
    """Finish the removal of copies that has begun, and keep those that are only marked; say whether any were marked."""
    with cluster.ops_db.read() as session:
        marked = [copy for copy in staged_copies.scheduled(session, cluster.location_id) if copy.package_id in ids]
        going = staged_copies.being_removed(session, cluster.location_id, ids)
    if marked:
        with cluster.ops_db.write() as session:
            staged_copies.take_back(session, cluster.location_id, [copy.package_id for copy in marked])
    remove(cluster, going)
    return bool(marked)


def _ask(cluster: Cluster, stager: Stager, packages: Sequence[PackageBriefing], inputs: RawInputs) -> None:
    """Ask for the progress of packages, and record what has changed."""
    copies = _copies(cluster, packages, inputs)
    if not copies:
        return
    base = _checked_base(cluster)
    jobs = _jobs(cluster, list(copies.values()))
    requests = {
        jobs[package.id].id: StagingRequest(
            package.name, package.checksum, jobs[package.id].id, copies[package.content], package.files
        )
        for package in packages
        if package.content in copies
    }
    answers = stager.ask(list(requests.values()))
    _record(cluster, jobs, answers, requests)
    for number, request in requests.items():
        content, answer = (request.copy.package_id, request.checksum), answers[number]
        if isinstance(answer, Arrived):
            inputs.directories[content] = str(base / STAGED_DIRECTORY / request.directory)
        elif isinstance(answer, NotBrought):
            inputs.problems[content] = answer.message
        else:
            inputs.being_staged.add(content)


def _give_up(cluster: Cluster, packages: Sequence[PackageBriefing], message: str, inputs: RawInputs) -> None:
    inputs.problems |= {package.content: message for package in packages if package.content not in inputs.directories}
    with cluster.ops_db.write() as session:
        jobs = staging.open_jobs(session, [package.id for package in packages], cluster.location_id)
        failures = {job.id: (message, job.bytes_transferred) for job in jobs.values()}
        staging.record_failed(session, failures, cluster.clock())


def _checked_base(cluster: Cluster) -> Path:
    """Return the directory of the copies; raise StagingFailed where the location's row and the settings differ."""
    with cluster.ops_db.read() as session:
        location = disk_of(session, cluster.location_id)
    if Path(location.path) != cluster.base:
        raise StagingFailed(
            f"data location {location.name!r} is in {location.path}, but pipeline_base_dir is {cluster.base}: "
            f"staged data would not be found again"
        )
    return cluster.base


def _jobs(cluster: Cluster, copies: Sequence[ArchivedCopy]) -> dict[PackageId, StagingJob]:
    """Return the open staging job of each package; create those that are missing."""
    ids = [copy.package_id for copy in copies]
    with cluster.ops_db.read() as session:
        jobs = staging.open_jobs(session, ids, cluster.location_id)
    new = [copy for copy in copies if copy.package_id not in jobs]
    if not new:
        return jobs
    with cluster.ops_db.write() as session:
        staging.request_jobs(session, new, cluster.location_id, cluster.clock())
        return staging.open_jobs(session, ids, cluster.location_id)


def _record(
    cluster: Cluster,
    jobs: dict[PackageId, StagingJob],
    answers: dict[int, Answer],
    requests: dict[int, StagingRequest],
) -> None:
    """Record in one transaction what has arrived, what failed, and the progress of the others."""
    arrived = {
        number: (f"{STAGED_DIRECTORY}/{requests[number].directory}", answer.transferred)
        for number, answer in answers.items()
        if isinstance(answer, Arrived)
    }
    failed = {
        number: (answer.message, answer.transferred)
        for number, answer in answers.items()
        if isinstance(answer, NotBrought)
    }
    moved = _moved({job.id: job for job in jobs.values()}, answers)
    if not (arrived or failed or moved):
        return
    with cluster.ops_db.write() as session:
        staging.record_staged(session, arrived, cluster.location_id, cluster.clock())
        staging.record_failed(session, failed, cluster.clock())
        if moved:
            staging.record_progress(session, moved, cluster.clock())


def _moved(jobs: dict[int, StagingJob], answers: dict[int, Answer]) -> dict[int, Progress]:
    """Return the progress of packages that differs from what their jobs have recorded."""
    return {
        number: Progress(answer.transferred, answer.total)
        for number, answer in answers.items()
        if isinstance(answer, OnItsWay) and answer.begun and _has_moved(jobs[number], answer)
    }


def _has_moved(job: StagingJob, answer: OnItsWay) -> bool:
    return job.started_at is None or job.bytes_transferred != answer.transferred or job.bytes_total != answer.total
