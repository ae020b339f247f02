"""An observatory whose runs are ended by hand: no program is started, every row is made by the project's own code."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.contract.result import Output, Result
from ccat_models.gap.answer import Gap, gaps
from ccat_models.gap.reasons import Reason
from ccat_models.pipeline.view import PipelineView, load_pipeline
from ccat_models.product.collect import Collected, Metric, register
from ccat_models.product.disk_rows import newest_copies
from ccat_models.run import attempt as attempts_of
from ccat_models.run.cancel import request_cancel
from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, CircuitReset, FailureClass, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.request.ensure import Ensured, RequestOptions, ensure, ensure_pipeline, refresh_and_evaluate
from resources.request.regeneration import request_again
from resources.space.purging import purge
from tests.support.parts.clusters import local_cluster
from tests.support.programs.tiny import write_programs
from tests.support.worlds.observatory import ObservatoryWorld

ONE_PRODUCT = {"science/text.txt": "text"}
NUMBERS = "qa/numbers.json"
NO_RETRIES = dict.fromkeys(
    ("science", "infrastructure", "timeout", "out_of_memory", "collection", "staging", "lost"), 0
)
TYPES = {"science": "science", "plots": "plot", "qa": "qa_metric"}


def step(name: str, group_by: Sequence[str] = ("executed_obs_unit",), **fields: Any) -> dict[str, Any]:
    """Return a step's declaration; a failure ends its run for good unless `retries` say otherwise."""
    plain = {"software": "letters", "version": "1.0.0", "when": "all", "retries": NO_RETRIES}
    return {"name": name, "group_by": list(group_by), **plain, **fields}


def release(number: str, **fields: Any) -> dict[str, Any]:
    """Return a software version's declaration."""
    return {"version": number, "command": ["{python}", "reduce.py"], "code": ["reduce.py"], **fields}


@dataclass
class ManualWorld:
    """One pipeline named `letters` on a small observatory."""

    observatory: ObservatoryWorld
    cluster: Cluster
    code: Path
    releases: list[dict[str, Any]] = field(default_factory=lambda: [release("1.0.0")])

    @staticmethod
    def open(ops_db: OpsDb, base: Path) -> "ManualWorld":
        """Open the observatory below a directory."""
        observatory = ObservatoryWorld(ops_db, base)
        observatory.open()
        cluster = local_cluster(ops_db, base / "workspace", slots=1, clock=observatory.clock)
        return ManualWorld(observatory, cluster, write_programs(base / "code"))

    def declare(self, *steps: dict[str, Any], **fields: Any) -> PipelineView:
        """Declare the pipeline with these steps and all releases known so far; `fields` are its own."""
        return self.observatory.declare(self.document(*steps, **fields), self.code)

    def document(self, *steps: dict[str, Any], **fields: Any) -> str:
        """Return the pipeline's YAML with these steps and all releases known so far; `fields` are its own."""
        rule = {"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"}
        document = {
            "schema_version": 1,
            "name": "letters",
            "mode": "ad_hoc",
            "processing_location": "local",
            "data_grouping": {"name": "all-data", "rules": [rule]},
            "software": [{"name": "letters", "versions": self.releases}],
            "steps": list(steps),
            **fields,
        }
        return json.dumps(document)

    def gaps(self, step_name: str, **options: Any) -> dict[str, Gap]:
        """Return the step's gaps by the value of their key, changing nothing."""
        with self.cluster.ops_db.request() as session:
            pipeline = load_pipeline(session, "letters")
            refresh_and_evaluate(session, self.cluster, pipeline, RequestOptions("test", **options))
            return {short(gap.key): gap for gap in gaps(session, pipeline.step(step_name))}

    def reasons(self, step_name: str, **options: Any) -> dict[str, str]:
        """Return the reason of each of the step's sub-groups."""
        return {key: gap.reason.value for key, gap in self.gaps(step_name, **options).items()}

    def request(self, **options: Any) -> dict[str, Ensured]:
        """Create every run that the pipeline can have now."""
        return ensure_pipeline(self.cluster, "letters", RequestOptions("test", **options))

    def ask(self, step_name: str, *keys: str, **options: Any) -> Ensured:
        """Ensure sub-groups of one step by the values of their keys, all for none."""
        long = [gap.key for gap in self.gaps(step_name).values() if short(gap.key) in keys]
        return ensure(self.cluster, "letters", step_name, long if keys else None, RequestOptions("test", **options))

    def in_flight(self) -> list[RunId]:
        """Return the runs on their way, oldest first."""
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(sa.select(Run.id).where(Run.status.in_(IN_FLIGHT)).order_by(Run.id)))

    def run_of(self, step_name: str, key: str) -> RunId:
        """Return the latest run of a sub-group by the value of its key."""
        run = self.gaps(step_name)[key].latest_run_id
        assert run is not None
        return run

    def complete(
        self, *runs: RunId, outputs: Mapping[str, str] = ONE_PRODUCT, numbers: Mapping[str, float] | None = None
    ) -> None:
        """Let runs complete with these products, path → content, and numbers; all that are on their way for none."""
        outputs = {**outputs, **({NUMBERS: json.dumps(dict(numbers))} if numbers else {})}
        for run in runs or self.in_flight():
            with self.cluster.ops_db.write() as session:
                attempt = start(session, run, self.cluster)
                collected = made_up(session, attempt, outputs, numbers or {})
                assert register(session, attempt, run, collected, self.cluster.clock())

    def fail(self, *runs: RunId, failure: FailureClass = FailureClass.SCIENCE) -> None:
        """Let runs fail; all that are on their way for none."""
        for run in runs or self.in_flight():
            with self.cluster.ops_db.write() as session:
                attempt = start(session, run, self.cluster)
                attempts_of.failed(session, attempt, failure, "made up", self.cluster.clock())

    def cancel(self, *runs: RunId) -> None:
        """Cancel runs that no executor has taken up; all of them if none is named."""
        with self.cluster.ops_db.write() as session:
            request_cancel(session, list(runs or self.in_flight()), by="test", now=self.cluster.clock())

    def run_all(self, numbers: Mapping[str, float] | None = None, **options: bool) -> None:
        """Let everything that can be run complete with these numbers, upstreams first."""
        self.request(**options)
        while self.in_flight():
            self.complete(numbers=numbers)
            self.request(**options)

    def purge(self) -> int:
        """Remove all products that may go, an hour later; return of how many runs."""
        self.observatory.clock.pass_seconds(3600)
        self._write_newest()
        return purge(self.cluster, 10**12, by="test", reason="test").freed_runs

    def _write_newest(self) -> None:
        """Write the newest product to disk: where none exists, the disk counts as not mounted."""
        with self.cluster.ops_db.read() as session:
            for path in newest_copies(session, self.cluster.location_id, 1):
                (self.cluster.base / path).parent.mkdir(parents=True, exist_ok=True)
                (self.cluster.base / path).touch()

    def regenerate_and_complete(
        self, *runs: RunId, outputs: Mapping[str, str] = ONE_PRODUCT, numbers: Mapping[str, float] | None = None
    ) -> None:
        """Regenerate the products of runs, and their inputs: these products with these numbers."""
        while self.regenerate(*runs):
            self.complete(outputs=outputs, numbers=numbers)

    def regenerate(self, *runs: RunId) -> list[RunId]:
        """Request to regenerate the products of runs; return the runs in flight for that."""
        answers = request_again(self.cluster, "letters", runs, RequestOptions("test"))
        return [run for answer in answers.values() for run in answer.inputs]

    def set_enabled(self, *, enabled: bool) -> None:
        """Enable or disable the pipeline."""
        with self.cluster.ops_db.write() as session:
            session.execute(sa.update(Pipeline).values(enabled=enabled))

    def reset_circuit(self, view: PipelineView, step_name: str) -> None:
        """Close a step's circuit."""
        with self.cluster.ops_db.write() as session:
            last = session.scalar(sa.select(sa.func.max(Run.id)))
            reset = {"reset_at": self.cluster.clock(), "reset_by": "test", "last_run_id": last}
            session.add(CircuitReset(step_id=view.step(step_name).step_id, **reset))


def short(key: str) -> str:
    """Return a key without its dimension."""
    return key.rpartition("=")[2]


def reasons_of(gaps_now: Mapping[str, Gap]) -> set[Reason]:
    """Return the reasons there are."""
    return {gap.reason for gap in gaps_now.values()}


def start(session: Session, run: RunId, cluster: Cluster) -> AttemptId:
    """Move a run on to RUNNING as far as it is not there yet and return its open attempt."""
    now = cluster.clock()
    query = sa.select(Attempt).where(Attempt.run_id == run, Attempt.state != AttemptState.ENDED)
    attempt = session.scalars(query).one()
    if attempt.directory is None:
        directory = str(cluster.base / f"run-{run}" / f"attempt-{attempt.number}")
        move(session, [run], RunStatus.STAGING_DATA, now)
        intent = attempts_of.Intent(attempt.id, directory, "process", ["reduce"], "b" * 32, 0)
        attempts_of.sending(session, [intent], now)
        attempts_of.sent(session, {(attempt.id, run): None}, now)
        attempts_of.running(session, {(attempt.id, run): "1"}, now)
    return attempt.id


def made_up(
    session: Session, attempt_id: AttemptId, outputs: Mapping[str, str], numbers: Mapping[str, float] | None = None
) -> Collected:
    """Return what an attempt would have left behind."""
    attempt = session.get_one(Attempt, attempt_id)
    moment = attempt.created_at
    result = Result(
        schema_version=1,
        submission_key=attempt.submission_key,
        run_id=attempt.run_id,
        attempt=attempt.number,
        outcome="completed",
        exit_code=0,
        signal=None,
        started_at=moment,
        finished_at=moment,
        wall_seconds=0.0,
        cpu_seconds=0.0,
        peak_memory_bytes=None,
        host="here",
        job_id=None,
        image_sha256=None,
        runtime="process",
        command=("reduce",),
        outputs=tuple(_output(path, content) for path, content in outputs.items()),
        warnings=(),
        message="",
    )
    metrics = {NUMBERS: [Metric(name, value) for name, value in numbers.items()]} if numbers else {}
    return Collected(result, "output", 1, f"run-{attempt.run_id}/attempt-{attempt.number}", metrics)


def _output(path: str, content: str) -> Output:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    kind = TYPES.get(path.partition("/")[0], "intermediate")
    return Output.model_validate({"path": f"output/{path}", "type": kind, "size_bytes": len(content), "sha256": sha256})
