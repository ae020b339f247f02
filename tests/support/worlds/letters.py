"""A small observatory whose pipeline leaves intermediate products, run for real on the local back end."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from ccat_models.gap.answer import gaps
from ccat_models.gap.reasons import Reason
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.request import request_rerun
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import ReductionStep, SubGroup
from ccat_models.tables.places import DataProductPhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.products import DataProduct
from ccat_models.tables.space import RunSpace, SpaceState
from resources.backend import Timing
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.request.attached import Attached, Outcome
from resources.request.ensure import RequestOptions, ensure_pipeline, refresh_and_evaluate
from resources.run.executor import Executor
from resources.space.purging import Freed, purge
from tests.support.faults.moments import watched
from tests.support.parts.clusters import local_cluster
from tests.support.programs.letters import pipeline_yaml, write_program
from tests.support.worlds.observatory import ObservatoryWorld

ALL = 10**12


@dataclass
class LettersWorld:
    """The observatory, its cluster, and what the programs did."""

    observatory: ObservatoryWorld
    cluster: Cluster

    @staticmethod
    def open(ops_db: OpsDb, base: Path) -> "LettersWorld":
        """Open the observatory below a directory."""
        observatory = ObservatoryWorld(ops_db, base)
        observatory.open()
        second = timedelta(seconds=1)
        timing = Timing(lost_after=second, resend_after=second, stuck_after=3 * second)
        cluster = local_cluster(ops_db, base / "workspace", slots=4, clock=observatory.clock, timing=timing)
        return LettersWorld(observatory, cluster)

    @property
    def calls(self) -> Path:
        """Return the file in which the program counts itself."""
        return self.observatory.base / "calls"

    def declare(self, *scans: int, **changes: str) -> None:
        """Let scans arrive, and declare the pipeline."""
        for number in scans:
            self.observatory.scan(number)
        text = pipeline_yaml(self.calls, **changes)
        self.observatory.declare(text, write_program(self.observatory.base / "code"))

    def run(
        self, *, step: str | None = None, keys: list[str] | None = None, options: RequestOptions | None = None
    ) -> Outcome:
        """Run what the pipeline, or a step, lacks; an hour passes before."""
        self.observatory.clock.pass_seconds(3600)
        attached = Attached(Executor(self.cluster), waiter="test", poll_seconds=0.1, sleep=self._sleep)
        asked = options or RequestOptions(by="test", patient=True)
        if step is not None:
            return attached.run_step("letters", step, keys, asked)
        return attached.run_pipeline("letters", asked)

    def work_for_ever(self) -> None:
        """Do what a run of the pipeline does, but clean nothing up on the way out."""
        executor = Executor(self.cluster)
        while True:
            ensure_pipeline(self.cluster, "letters", RequestOptions(by="test", patient=True), brief=True)
            executor.tick()
            self._sleep(0.1)

    def _sleep(self, seconds: float) -> None:
        time.sleep(0.02)
        self.observatory.clock.pass_seconds(seconds)

    def purge(self, wanted_bytes: int = ALL) -> Freed:
        """Purge all removable products, after an hour has passed."""
        self.observatory.clock.pass_seconds(3600)
        return purge(self.cluster, wanted_bytes, by="test", reason="test")

    def called(self) -> Counter[str]:
        """Return how often each step was executed on what since it was last asked."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return Counter(lines)

    def spaces(self) -> dict[str, list[str]]:
        """Return the states of the runs of each step and sub-group, oldest first, "-" for evidence only."""
        query = (
            sa.select(ReductionStep.name, SubGroup.key, RunSpace.state, RunSpace.removable_bytes)
            .join(RunSpace, RunSpace.step_id == ReductionStep.id)
            .join(SubGroup, SubGroup.id == RunSpace.sub_group_id)
            .order_by(RunSpace.run_id)
        )
        found: dict[str, list[str]] = {}
        with self.cluster.ops_db.read() as session:
            for step, key, state, size in session.execute(query).tuples():
                found.setdefault(f"{step} {key.partition('=')[2]}", []).append(state.value if size else "-")
        return found

    def state(self, step: str) -> list[SpaceState]:
        """Return the states of a step's runs that have something to remove, oldest first."""
        query = (
            sa.select(RunSpace.state)
            .join(ReductionStep, ReductionStep.id == RunSpace.step_id)
            .where(ReductionStep.name == step, RunSpace.removable_bytes > 0)
            .order_by(RunSpace.run_id)
        )
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(query))

    def reasons(self, step: str, *, force: bool = False) -> dict[str, Reason]:
        """Return what the sub-groups of a step are, as if a user had just forced them."""
        with self.cluster.ops_db.request() as session:
            pipeline = load_pipeline(session, "letters")
            wanted = pipeline.step(step)
            refresh_and_evaluate(session, self.cluster, pipeline, RequestOptions(by="test"))
            if force:
                groups = [gap.sub_group_id for gap in gaps(session, wanted)]
                request_rerun(session, wanted, groups, force=True, by="test", now=self.observatory.clock())
                refresh_and_evaluate(session, self.cluster, pipeline, RequestOptions(by="test"))
            found = {gap.key: gap.reason for gap in gaps(session, wanted)}
            session.rollback()
        return found

    def text(self, step: str, key: str) -> str:
        """Return what the newest run of a step that is a result has made of a sub-group."""
        query = (
            sa.select(DataProductPhysicalCopy.path)
            .join(DataProduct, DataProduct.id == DataProductPhysicalCopy.data_product_id)
            .join(Run, Run.id == DataProduct.run_id)
            .join(ReductionStep, ReductionStep.id == Run.step_id)
            .join(SubGroup, SubGroup.id == Run.sub_group_id)
            .where(
                ReductionStep.name == step, SubGroup.key == key, Run.is_result, DataProduct.path.endswith("text.txt")
            )
            .order_by(Run.id.desc())
        )
        with self.cluster.ops_db.read() as session:
            return (self.cluster.base / (session.scalars(query).first() or "")).read_text()

    def check_disk(self) -> None:
        """Compare the rows of products with the files on disk, and their sizes with the accounts."""
        with self.cluster.ops_db.read() as session:
            copies = (
                session.execute(
                    sa.select(
                        DataProductPhysicalCopy.path, DataProductPhysicalCopy.status, DataProduct.size_bytes
                    ).join(DataProduct, DataProduct.id == DataProductPhysicalCopy.data_product_id)
                )
                .tuples()
                .all()
            )
            accounted = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(RunSpace.size_bytes), 0)))
        there = {path for path, _, _ in copies if (self.cluster.base / path).is_file()}
        assert there == {path for path, status, _ in copies if status is PhysicalCopyStatus.PRESENT}
        assert accounted == sum(size for path, _, size in copies if path in there)

    def run_row(self, run_id: int) -> Run:
        """Return a run."""
        with self.cluster.ops_db.read() as session:
            return session.get_one(Run, RunId(run_id))

    def dying_at(self, border: str) -> "LettersWorld":
        """Return the same observatory, whose cluster dies at a border between two writes."""

        def passing(step: str) -> None:
            if step == border:
                raise Died(border)

        return LettersWorld(self.observatory, watched(self.cluster, passing))


class Died(BaseException):
    """The process ends here."""
