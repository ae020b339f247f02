"""Find what attempts need (software, raw data, products), and lay out their directories where they will run."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ccat_models.run import reproducing
from ccat_models.run.briefing import RunBriefing, brief
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.base import AttemptId
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from resources.container.sif_cache import Filling, Ready
from resources.errors import ResourceError, StagingFailed, TransientError
from resources.location import Cluster
from resources.raw.inputs import RawInputs, bring_inputs
from resources.run.batches import Prepared
from resources.run.staging import Software, attempt_plan, needs_of
from resources.workspace.plan import render_job
from resources.workspace.software import read_code
from resources.workspace.store import Layout


def prepare(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> tuple[list[Prepared], dict[AttemptId, str]]:
    """Lay out attempts; return those that can be sent, and for others the reason why they cannot.

    An attempt whose image or raw data is still being copied is in neither. Raises TransientError.
    """
    if not attempts:
        return [], {}
    with cluster.ops_db.read() as session:
        briefings = brief(session, [attempt.run_id for attempt in attempts], cluster.location_id)
    cluster.store.install_program()
    inputs = bring_inputs(cluster, briefings.values())
    software_cache, prepared, layouts = SoftwareCache(cluster), [], []
    problems: dict[AttemptId, str] = {}
    for attempt in attempts:
        try:
            laid_out = _lay_out(cluster, software_cache, inputs, briefings[attempt.run_id], attempt)
        except TransientError:
            raise
        except (ResourceError, OSError) as error:
            problems[attempt.id] = str(error)
            continue
        if laid_out is not None:
            layouts.append(laid_out[0])
            prepared.append(laid_out[1])
    bad = cluster.store.lay_out(layouts)
    problems |= {item.attempt.id: bad[item.directory] for item in prepared if item.directory in bad}
    return [item for item in prepared if item.attempt.id not in problems], problems


def _lay_out(
    cluster: Cluster, software_cache: "SoftwareCache", inputs: RawInputs, briefing: RunBriefing, attempt: OpenAttempt
) -> tuple[Layout, Prepared] | None:
    software, placed = software_cache.software(briefing.run.software_version), inputs.of(briefing)
    if software is None or placed is None:
        return None
    plan = attempt_plan(placed, attempt, cluster.base, software)
    node = cluster.backend.node
    marks = cluster.store.marks if node.leaves_marks else None
    plan = replace(plan, job_id_variable=node.job_id_variable, ended_directory=marks)
    rendered = render_job(plan, python=node.python, apptainer=node.apptainer or "apptainer")
    prepared = Prepared(attempt, plan.directory.path, rendered.job.runtime, rendered.job.command)
    return Layout(plan.directory, rendered, needs_of(plan)), prepared


def laid_out(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> list[Prepared]:
    """Return attempts that reproduce runs, ready to be sent: the process that waits for them has laid them out."""
    if not attempts:
        return []
    with cluster.ops_db.read() as session:
        commands = reproducing.commands(session, [attempt.id for attempt in attempts])
    return [Prepared(one, Path(one.directory or ""), *commands[one.id]) for one in attempts if one.id in commands]


@dataclass
class SoftwareCache:
    """The software versions of one batch of attempts; image and code of each are provided once."""

    cluster: Cluster
    _ready: dict[int, Software | StagingFailed | None] = field(default_factory=dict)

    def software(self, version: ReductionSoftwareVersion) -> Software | None:
        """Return a version that is ready to run, None while its image is being copied; raise StagingFailed."""
        if version.id not in self._ready:
            try:
                self._ready[version.id] = self._make_ready(version)
            except StagingFailed as failure:
                self._ready[version.id] = failure
        found = self._ready[version.id]
        if isinstance(found, StagingFailed):
            raise found
        return found

    def look_again(self) -> bool:
        """Forget which images were being copied, so that they are asked for again; say whether any were."""
        on_their_way = [version_id for version_id, found in self._ready.items() if found is None]
        for version_id in on_their_way:
            del self._ready[version_id]
        return bool(on_their_way)

    def _make_ready(self, version: ReductionSoftwareVersion) -> Software | None:
        image = None
        if version.image_reference is not None:
            image = self._image(version.image_reference, version.image_sha256 or "")
            if image is None:
                return None
        code = None
        if version.code_directory is not None and version.code_sha256 is not None:
            files = read_code(version)
            code = self.cluster.store.install_code(version.code_sha256, lambda: files)
        return Software(image, code)

    def _image(self, reference: str, sha256: str) -> Ready | None:
        if self.cluster.backend.node.apptainer is None:
            where = self.cluster.backend.name
            raise StagingFailed(f"{reference}: there is no apptainer to run it ({where} back end)")
        answer = self.cluster.images.ask(reference, sha256)
        return None if isinstance(answer, Filling) else answer
