"""Execute recorded attempts again, apart from all registered files, and compare the results with those."""

import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from ccat_models.contract.manifest import Manifest
from ccat_models.lineage.completed import CompletedRun, completed_runs
from ccat_models.run.briefing import RunBriefing, brief
from ccat_models.run.reproducing import Reproducing, processed_elsewhere
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, AttemptState, Purpose, RunStatus
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from resources.errors import OutputsUnusable, ResourceError, StagingFailed, TransientError
from resources.location import Cluster
from resources.product.comparison import FileFinding, compare_files, differing_fields
from resources.product.reproduction_report import Outcome, Reproduction, cannot, described, surroundings
from resources.product.scratch_attempts import Ended, ProgressCallback, ScratchAttempts
from resources.product.verification import Comparer, Finding, Registered, no_progress
from resources.run.batches import Prepared
from resources.run.executor import Executor
from resources.run.preparation import SoftwareCache
from resources.run.scratch import remove_scratch, scratch_of
from resources.run.staging import Software, attempt_plan, needs_of
from resources.workspace.plan import AttemptPlan, RenderedAttempt, render_job
from resources.workspace.store import Layout, Wanted

_RUNS_AT_A_TIME = 500
_LARGEST_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class _Case:
    """A run that is to be executed again, and the attempt that does it."""

    briefing: RunBriefing
    record: CompletedRun
    attempt: OpenAttempt
    plan: AttemptPlan
    rendered: RenderedAttempt
    changes: tuple[str, ...]

    @property
    def directory(self) -> Path:
        return self.plan.directory.path

    @property
    def wanted(self) -> Reproducing:
        key = self.attempt.submission_key
        return Reproducing(self.briefing.run.id, key, str(self.directory), self.attempt.resources)

    def prepared(self, attempt_id: AttemptId) -> Prepared:
        job = self.rendered.job
        return Prepared(replace(self.attempt, id=attempt_id), self.directory, job.runtime, job.command)


@dataclass(frozen=True)
class Reproducer:
    """Executes runs again, by new attempts in a new directory, and compares; the runs themselves do not change.

    The executor sends and observes these attempts as all others: in this process, or in another that has the lease.
    """

    cluster: Cluster
    poll_seconds: float
    keep: bool = False
    verify_inputs: bool = True
    on_progress: ProgressCallback = no_progress
    sleep: Callable[[float], None] = time.sleep
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def scratch(self) -> Path:
        """Return the directory below which the new attempts run."""
        return scratch_of(self.cluster) / self.name

    def reproduce(self, run_ids: Sequence[RunId]) -> list[Reproduction]:
        """Return how the second execution of each run went; the files of an identical one are removed.

        An interruption or error first cancels the attempts and removes all files (unless `keep`). If this process is
        killed, the executor does both later. Raises TransientError.
        """
        found: list[Reproduction] = []
        attempts = ScratchAttempts(Executor(self.cluster), self.poll_seconds, self.sleep)
        try:
            for first in range(0, len(run_ids), _RUNS_AT_A_TIME):
                found += self._some(attempts, run_ids[first : first + _RUNS_AT_A_TIME], first)
        except BaseException:
            if attempts.abandon():
                self._leave(attempts)
            raise
        if all(one.kept is None for one in found):
            remove_scratch(self.cluster, [self.scratch])
        attempts.finish()
        return found

    def _leave(self, attempts: ScratchAttempts) -> None:
        with contextlib.suppress(TransientError):
            if self.keep or remove_scratch(self.cluster, [self.scratch]):
                attempts.finish()

    def _some(self, attempts: ScratchAttempts, run_ids: Sequence[RunId], before: int) -> list[Reproduction]:
        with self.cluster.ops_db.read() as session:
            briefings = brief(session, run_ids, self.cluster.location_id)
            records = completed_runs(session, run_ids)
            elsewhere = processed_elsewhere(session, run_ids, self.cluster.location_id)
        cases, problems = self._cases(briefings, records, elsewhere)
        problems |= self._changed_files(cases) if self.verify_inputs else {}
        added = attempts.add([case.wanted for run, case in cases.items() if run not in problems])
        bad = self._lay_out([cases[run] for run in added])
        problems |= {run: bad[cases[run].directory] for run in added if cases[run].directory in bad}
        attempts.start(
            [cases[run].prepared(attempt) for run, attempt in added.items() if run not in problems],
            {attempt: problems[run] for run, attempt in added.items() if run in problems},
        )
        found = {run: cannot(briefings[run], records.get(run), problem) for run, problem in problems.items()}
        ready = {run: attempt for run, attempt in added.items() if run not in problems}

        def on_progress(ended: int, running: int) -> None:
            self.on_progress(before + len(problems) + ended, running)

        ended = attempts.wait([cases[run].prepared(attempt) for run, attempt in ready.items()], on_progress)
        found |= {run: self._compare(cases[run], ended[attempt]) for run, attempt in ready.items()}
        attempts.keep_waiting()
        remove_scratch(self.cluster, [cases[run].directory.parent for run in ready if found[run].kept is None])
        return [found[run] for run in run_ids]

    def _cases(
        self,
        briefings: Mapping[RunId, RunBriefing],
        records: Mapping[RunId, CompletedRun],
        elsewhere: Mapping[RunId, str],
    ) -> tuple[dict[RunId, _Case], dict[RunId, str]]:
        """Return the runs as they were executed, and for others the reason why they cannot be executed again."""
        software_cache = self._software_cache([briefing.run.software_version for briefing in briefings.values()])
        cases: dict[RunId, _Case] = {}
        problems: dict[RunId, str] = {}
        for run, briefing in briefings.items():
            try:
                if run in elsewhere:
                    raise StagingFailed(f"pipeline {elsewhere[run]}: is run at another processing location")
                cases[run] = self._case(software_cache, briefing, records.get(run))
            except TransientError:
                raise
            except (ResourceError, OSError) as error:
                problems[run] = str(error)
        return self._with_recorded_manifests(cases), problems

    def _software_cache(self, versions: Sequence[ReductionSoftwareVersion]) -> SoftwareCache:
        """Return the software versions, once all their images have been copied or have failed."""
        software_cache = SoftwareCache(self.cluster)
        while True:
            for version in versions:
                with contextlib.suppress(StagingFailed):  # raised again for each run that needs it
                    software_cache.software(version)
            if not software_cache.look_again():
                return software_cache
            self.sleep(self.poll_seconds)

    def _case(self, software_cache: SoftwareCache, briefing: RunBriefing, record: CompletedRun | None) -> _Case:
        """Return a run as it was executed; raise StagingFailed if its inputs or software no longer exist."""
        if record is None:
            raise StagingFailed(f"run {briefing.run.id} has not completed: {briefing.run.status.value}")
        if record.changed_inputs:
            raise StagingFailed("; ".join(record.changed_inputs))
        attempt = _as_open(record.attempt)
        plan = attempt_plan(briefing, attempt, self.scratch, _ready(software_cache, briefing.run.software_version))
        node = self.cluster.backend.node
        marks = self.cluster.store.marks if node.leaves_marks else None
        plan = replace(plan, job_id_variable=node.job_id_variable, ended_directory=marks)
        rendered = render_job(plan, python=node.python, apptainer=node.apptainer or "apptainer")
        # The back end needs a new key for the job; the program sees the recorded one, as in the first execution.
        key = uuid.uuid4().hex
        job = rendered.job.model_copy(update={"submission_key": key})
        again = replace(attempt, submission_key=key)
        return _Case(briefing, record, again, plan, replace(rendered, job=job), ())

    def _with_recorded_manifests(self, cases: Mapping[RunId, _Case]) -> dict[RunId, _Case]:
        """Replace rendered manifests by the recorded ones where these still exist: ops-db may have changed since."""
        wanted = [
            Wanted(Path(case.record.attempt.directory or ""), "config/manifest.json", _LARGEST_MANIFEST_BYTES)
            for case in cases.values()
        ]
        texts: list[bytes | None] = []
        while len(texts) < len(cases):
            texts += [None if part is None else part.content for part in self.cluster.store.read(wanted[len(texts) :])]
        return {run: _as_recorded(case, text) for (run, case), text in zip(cases.items(), texts, strict=True)}

    def _lay_out(self, cases: Sequence[_Case]) -> dict[Path, str]:
        """Lay out attempts; return, by directory, the problems of those that could not be."""
        self.cluster.store.install_program()
        layouts = [Layout(case.plan.directory, case.rendered, needs_of(case.plan)) for case in cases]
        return self.cluster.store.lay_out(layouts)

    def _changed_files(self, cases: Mapping[RunId, _Case]) -> dict[RunId, str]:
        """Return, by run, which input files differ from those that it read; each file is read once."""
        inputs = {run: _input_files(case.plan) for run, case in cases.items()}
        files = list(dict.fromkeys(file for some in inputs.values() for file in some))
        compared = dict(zip(files, Comparer(self.cluster.store, sleep=self.sleep).compare(files), strict=True))
        problems: dict[RunId, list[str]] = defaultdict(list)
        for run, some in inputs.items():
            for file, name in some.items():
                comparison = compared[file]
                if comparison.finding is not Finding.OK:
                    problems[run].append(f"{name}: {file.path}: {comparison.finding.value} ({comparison.detail})")
        return {run: "; ".join(some) for run, some in problems.items()}

    def _compare(self, case: _Case, ended: Ended) -> Reproduction:
        found = described(case.briefing, case.record, Outcome.FAILED, case.changes)
        if ended.result is None or ended.found is None:
            return replace(found, message=ended.problem, kept=case.directory)
        found = replace(found, now=surroundings(ended.result))
        if ended.result.outcome != "completed":
            message = f"{ended.result.outcome}: {ended.result.message}"
            return replace(found, message=message, kept=case.directory)
        try:
            files = compare_files(case.record, ended.result, ended.found, case.directory)
        except OutputsUnusable as error:
            return replace(found, message=str(error), kept=case.directory)
        identical = all(file.finding is FileFinding.IDENTICAL for file in files)
        outcome = Outcome.IDENTICAL if identical else Outcome.DIFFERS
        kept = None if identical and not self.keep else case.directory
        return replace(found, outcome=outcome, files=files, kept=kept)


def _ready(software_cache: SoftwareCache, version: ReductionSoftwareVersion) -> Software:
    software = software_cache.software(version)
    if software is None:
        raise StagingFailed(f"{version.image_reference}: its image is not there yet")
    return software


def _as_open(attempt: Attempt) -> OpenAttempt:
    """Return a recorded attempt as one that was not sent yet."""
    return OpenAttempt(
        id=attempt.id,
        run_id=attempt.run_id,
        number=attempt.number,
        submission_key=attempt.submission_key,
        state=AttemptState.INTENDED,
        run_status=RunStatus.STAGING_DATA,
        directory=None,
        sent_at=None,
        missing_since=None,
        cancel_requested_at=None,
        resources=attempt.resources,
        batch_key=None,
        batch_index=None,
        sends=0,
        job_id=None,
        evidence=None,
        purpose=Purpose.REPRODUCE,
    )


def _as_recorded(case: _Case, text: bytes | None) -> _Case:
    """Return a run with its recorded manifest, in which the new attempt's directory replaces the recorded one."""
    now = case.rendered.manifest
    first = str(case.record.attempt.directory)
    try:
        told = Manifest.model_validate_json((text or b"").replace(first.encode(), str(case.directory).encode()))
    except ValidationError:
        return case
    if told.run != now.run:
        return case
    changes = tuple(differing_fields(told.model_dump(mode="json"), now.model_dump(mode="json")))
    return replace(case, rendered=replace(case.rendered, manifest=told), changes=changes)


def _input_files(plan: AttemptPlan) -> Mapping[Registered, str]:
    """Return the files that an attempt reads, each with the name of the input that it belongs to."""
    files = {
        Registered(source.host_path, file.path, file.size_bytes, file.sha256): f"package {source.name}"
        for source in plan.inputs
        for file in source.files
    }
    return files | {
        Registered(source.host_path, product.path, product.size_bytes, product.sha256): (
            f"run {source.run_id} ({source.step} {source.sub_group_key})"
        )
        for source in plan.upstream
        for product in source.products
    }
