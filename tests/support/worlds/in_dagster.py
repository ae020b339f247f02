"""An observatory, the local back end with tiny programs, and a Dagster instance that shows what they do."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pydantic import SecretStr

from ccat_assets.dagit.batch import BatchConfig
from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import StepName, step_names
from ccat_assets.dagit.partitions import sync_partitions
from ccat_assets.dagit.publish import run_config
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import Settings
from ccat_models.pipeline.view import list_pipelines
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb
from resources.request.attached import Attached, Outcome
from resources.request.ensure import RequestOptions, refresh_and_evaluate
from tests.support.programs.tiny import pipeline_yaml, write_programs
from tests.support.worlds.observatory import ObservatoryWorld

QUIET: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class DagsterWorld:
    """Everything that a test of Dagster's side needs."""

    application: Application
    observatory: ObservatoryWorld
    instance: dg.DagsterInstance
    code: Path

    @staticmethod
    @contextmanager
    def at_home(ops_db: OpsDb, base: Path) -> Iterator["DagsterWorld"]:
        """Open the same with a Dagster instance that other processes can open, in `dagster` below the directory."""
        home = base / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield DagsterWorld.open(ops_db, instance, base)

    @staticmethod
    def open(ops_db: OpsDb, instance: dg.DagsterInstance, base: Path) -> "DagsterWorld":
        """Open the observatory below a directory."""
        observatory = ObservatoryWorld(ops_db, base)
        observatory.open()
        settings = Settings(
            home=base,
            database_url=SecretStr(ops_db.url.render_as_string(hide_password=False)),
            poll_seconds=0.05,
            local_slots=4,
            user="ada",
        )
        return DagsterWorld(Application(settings), observatory, instance, write_programs(base / "code"))

    @property
    def calls(self) -> Path:
        """Return the file in which the programs count themselves."""
        return self.observatory.base / "calls"

    def called(self) -> Counter[str]:
        """Return how often each step was executed on each sub-group, with the number of the attempt."""
        return Counter(self.calls.read_text().splitlines()) if self.calls.exists() else Counter()

    def declare(self, *contents: str, **changes: str) -> None:
        """Let one scan of each content arrive, and declare the pipeline `letters`."""
        for number, content in enumerate(contents):
            self.observatory.scan(number, content)
        self.observatory.declare(pipeline_yaml(self.calls, **changes), self.code)

    def run_without_dagster(self, pipeline: str = "letters") -> Outcome:
        """Run whatever the pipeline lacks, as the command line does."""
        attached = Attached(self.application.executor, self.application.executor.holder, 0.05)
        return attached.run_pipeline(pipeline, RequestOptions(by="ada", patient=True))

    def snapshot(self) -> Snapshot:
        """Return what ops-db holds."""
        with self.application.ops_db.read() as session:
            return read_snapshot(session)

    def name(self, step: str) -> StepName:
        """Return a step's names in Dagster."""
        return next(name for name in step_names(self.snapshot()) if name.step == step)

    def refresh(self) -> None:
        """Bring memberships up to date and let Dagster know of the partitions."""
        cluster = self.application.cluster
        with self.application.ops_db.request() as session:
            for pipeline in list_pipelines(session):
                refresh_and_evaluate(session, cluster, pipeline, RequestOptions(by="test"))
        with self.application.ops_db.read() as session:
            sync_partitions(self.instance, session)

    def materialize(
        self,
        *steps: str,
        keys: Sequence[str] | None = None,
        between: tuple[str, str] | None = None,
        tags: dict[str, str] | None = None,
        **config: Any,
    ) -> dg.ExecuteInProcessResult:
        """Run steps in one Dagster run, for a list of keys, or for a range of their partitions."""
        names = [self.name(step) for step in steps]
        batch = BatchConfig(keys=None if keys is None else list(keys), **config)
        places = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        return (
            build(self.snapshot(), self.application)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self.instance,
                asset_selection=[name.asset_key for name in names],
                partition_key=keys[0] if keys else None,
                run_config=run_config(names[0], batch) | QUIET,
                tags=(tags or {}) | dict(zip(places, between or (), strict=False)),
                raise_on_error=False,
            )
        )

    def failure(self, result: dg.ExecuteInProcessResult) -> str:
        """Return in which words a run failed."""
        assert not result.success
        failed = result.failure_data_for_node(result.get_step_failure_events()[0].step_key or "")
        assert failed is not None
        assert failed.error is not None
        return failed.error.message

    def unpublished(self) -> int:
        """Return how many runs have ended and are not marked as shown."""
        ended = (RunStatus.COMPLETED, RunStatus.FAILED)
        query = sa.select(sa.func.count()).select_from(Run).where(Run.status.in_(ended), Run.published_at.is_(None))
        with self.application.ops_db.read() as session:
            return session.scalar(query) or 0

    def materializations(self, step: str) -> list[dg.AssetMaterialization]:
        """Return the materializations of a step, the oldest first."""
        page = self.instance.fetch_materializations(self.name(step).asset_key, limit=1000, ascending=True)
        return [record.asset_materialization for record in page.records if record.asset_materialization is not None]

    def observations(self, step: str) -> list[dg.AssetObservation]:
        """Return the observations of a step, the oldest first."""
        page = self.instance.fetch_observations(self.name(step).asset_key, limit=1000, ascending=True)
        return [record.asset_observation for record in page.records if record.asset_observation is not None]

    def shown(self, step: str) -> Counter[str | None]:
        """Return how often each partition of a step was materialized."""
        return Counter(event.partition for event in self.materializations(step))

    def statuses(self, step: str) -> dict[str, str | None]:
        """Return what Dagit shows of each partition of a step: MATERIALIZED, FAILED, IN_PROGRESS or nothing."""
        name = self.name(step)
        definitions = build(self.snapshot(), self.application)
        partitions = definitions.resolve_asset_graph().get(name.asset_key).partitions_def
        assert partitions is not None
        keys = partitions.get_partition_keys(dynamic_partitions_store=self.instance)
        found = self.instance.get_status_by_partition(name.asset_key, keys, partitions) or {}
        return {key: status.value if status else None for key, status in found.items()}

    def count_queries(self, work: Callable[[], object]) -> int:
        """Return how many statements a piece of work sends to ops-db."""
        statements: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            statements.append(statement)

        engine = self.application.ops_db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            work()
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        return len(statements)
