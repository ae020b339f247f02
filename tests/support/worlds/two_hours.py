"""Two hours of an observatory: data come, change and go, jobs end one way or another, people interfere."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.answer import gaps
from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.pipeline.view import PipelineView, list_pipelines, load_pipeline
from ccat_models.run.request import request_rerun
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import ReductionSoftwareVersion, ReductionStepConfig
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from resources.request.ensure import RequestOptions, ensure
from resources.request.standing import run_round
from tests.support.worlds.manual import ManualWorld, release, step

TICK_SECONDS = 30
SCANS = 24
RETRIES = {"science": 1, "infrastructure": 2, "lost": 1, "timeout": 1}
FAILURES = (
    FailureClass.SCIENCE,
    FailureClass.INFRASTRUCTURE,
    FailureClass.TIMEOUT,
    FailureClass.LOST,
    FailureClass.OUT_OF_MEMORY,
    FailureClass.COLLECTION,
)


@dataclass
class Life:
    """One history, the same for the same seed; every run makes a product that names what it was made of."""

    works: ManualWorld
    seed: int
    configuration: int = 0
    failing: float = 0.12
    storm_ticks: int = 0  # so long every job fails for its data
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def declare(self) -> None:
        """Declare two pipelines on all data: one continuous, one that makes its maps by the hour."""
        reading = step(
            "read",
            cooldown_seconds=120,
            retries=RETRIES,
            version_policy="latest",
            circuit_threshold=3,
            max_in_flight=6,
            parameters={"setting": self.configuration},
        )
        join = step(
            "join",
            ["source"],
            depends_on=["read"],
            when="any",
            retries=RETRIES,
            cooldown_seconds=300,
            settle_seconds=60,
        )
        standing: dict[str, Any] = {"mode": "standing", "trigger": {"type": "continuous"}, "priority": 5}
        self.works.declare(reading, join, max_in_flight=8, **standing)
        hourly = {"type": "cron", "expression": "0 * * * *", "time_zone": "America/Santiago"}
        grid = step("grid", retries=RETRIES, circuit_threshold=9)
        map_ = step("map", [], depends_on=["grid"], when="any", retries=RETRIES, circuit_threshold=9)
        self.works.declare(grid, map_, name="maps", mode="standing", trigger=hourly, data_grouping="all-data")

    def tick(self) -> None:
        """Let half a minute pass: something may happen, some jobs end, and the pipelines have a round."""
        self.works.observatory.clock.pass_seconds(TICK_SECONDS)
        self._something_happens()
        self.storm_ticks = max(0, self.storm_ticks - 1)
        for run in self.works.in_flight():
            if self.chance.random() < 0.4:
                self._end(run)
        found = run_round(self.works.cluster)
        if found is not None:
            self.seen.update({"rounds": 1, "runs": found.created.total()})

    def settle(self, ticks: int) -> None:
        """Let nothing more happen or fail, repair what is stuck, and end jobs, until no work is left."""
        self.failing = self.storm_ticks = 0
        for _ in range(ticks):
            self.works.observatory.clock.pass_seconds(10 * TICK_SECONDS)
            self._repair()
            for run in self.works.in_flight():
                self._end(run)
            run_round(self.works.cluster)

    def _something_happens(self) -> None:
        events: dict[str, tuple[int, Callable[[], None]]] = {
            "nothing": (40, lambda: None),
            "a scan arrives": (30, self._scan),
            "a scan arrives again, with other content": (6, lambda: self._scan(content=str(self.chance.random()))),
            "a scan comes late": (4, lambda: self._scan(state=PackageState.TRANSFERRING)),
            "a scan is withdrawn": (5, self._withdraw),
            "bad weather": (3, self._bad_weather),
            "software is released": (1, self._release),
            "the configuration changes": (1, self._configure),
            "a user cancels a backfill": (2, self._cancelled_backfill),
            "a circuit is reset": (2, self._reset_circuits),
        }
        (name,) = self.chance.choices(list(events), [weight for weight, _ in events.values()])
        self.seen[name] += 1
        events[name][1]()

    def _scan(self, content: str = "counts", state: PackageState = PackageState.ARCHIVED) -> None:
        self.works.observatory.scan(self.chance.randrange(SCANS), content, state)

    def _withdraw(self) -> None:
        with self.works.cluster.ops_db.read() as session:
            names = list(session.scalars(sa.select(RawDataPackage.name).order_by(RawDataPackage.id)))
        if names:
            self.works.observatory.withdraw(int(self.chance.choice(names).removeprefix("scan-")))

    def _bad_weather(self) -> None:
        self.storm_ticks = 10

    def _release(self) -> None:
        flags: dict[str, Any] = self.chance.choice([{}, {"cosmetic": True}])
        self.works.releases.append(release(f"1.{len(self.works.releases)}.0", **flags))
        self.declare()

    def _configure(self) -> None:
        self.configuration += 1
        self.declare()

    def _cancelled_backfill(self) -> None:
        with self.works.cluster.ops_db.read() as session:
            read = load_pipeline(session, "letters").step("read")
            keys = [gap.key for gap in gaps(session, read, known=sub_group_gap, limit=5)]
        answer = ensure(
            self.works.cluster, "letters", "read", keys, RequestOptions("backfill", force=True, ignore_cooldown=True)
        )
        pending = [run for run in answer.created.values() if self.chance.random() < 0.7]
        if pending:
            self.works.cancel(*pending)

    def _reset_circuits(self) -> None:
        with self.works.cluster.ops_db.read() as session:
            view = load_pipeline(session, "letters")
        self.works.reset_circuit(view, "read")

    def _end(self, run: RunId) -> None:
        if self.storm_ticks or self.chance.random() < self.failing:
            failure = FailureClass.PERMANENT if self.storm_ticks else self.chance.choice(FAILURES)
            self.seen[f"failed: {failure.value}"] += 1
            self.works.fail(run, failure=failure)
            return
        with self.works.cluster.ops_db.read() as session:
            text = content_of_run(session, run)
        self.works.complete(run, outputs={"science/text.txt": text})

    def _repair(self) -> None:
        with self.works.cluster.ops_db.request() as session:
            for view in list_pipelines(session):
                for one in view.steps:
                    stuck = [
                        gap.sub_group_id
                        for gap in gaps(session, one, known=sub_group_gap, reasons=[Reason.RETRIES_EXHAUSTED])
                    ]
                    request_rerun(session, one, stuck, force=False, by="repair", now=self.works.cluster.clock())
        with self.works.cluster.ops_db.read() as session:
            views = list_pipelines(session)
        for view in views:
            for one in view.steps:
                self.works.reset_circuit(view, one.name)


def content_of_run(session: Session, run_id: RunId) -> str:
    """Return what a run's program would make: its inputs' checksums, its version and its parameters, as a text."""
    run = session.get_one(Run, run_id)
    packages = session.scalars(sa.select(RunInputPackage.checksum).where(RunInputPackage.run_id == run_id))
    products = session.scalars(sa.select(RunInputProduct.sha256).where(RunInputProduct.run_id == run_id))
    return content([*packages, *products], run.software_version.version, run.config.parameters)


def content(inputs: list[str], version: str, parameters: Mapping[str, Any]) -> str:
    """Return what is made of these inputs, whatever their order."""
    return f"{version} {sorted(parameters.items())} {sorted(inputs)}"


@dataclass
class FromScratch:
    """What the products have to be, computed from packages, declarations and versions alone, in plain Python."""

    session: Session

    def __post_init__(self) -> None:
        packages = self.session.scalars(sa.select(RawDataPackage).where(RawDataPackage.state == PackageState.ARCHIVED))
        self.packages = {package.name: package.checksum or "" for package in packages}
        self.versions = list(
            self.session.scalars(sa.select(ReductionSoftwareVersion).order_by(ReductionSoftwareVersion.rank))
        )

    def sha256(self, view: PipelineView, name: str, key: str, made_by: Mapping[tuple[str, str], str]) -> str:
        """Return the product of one sub-group, each step's products being of the version in `made_by`."""
        one = view.step(name)
        parameters = self.session.get_one(ReductionStepConfig, one.config_id).parameters
        if one.upstream_ids:
            (upstream,) = (other for other in view.steps if other.step_id in one.upstream_ids)
            inputs = [self.sha256(view, upstream.name, inner, made_by) for inner in self.keys(upstream.name, key)]
        else:
            inputs = [checksum for package, checksum in self.packages.items() if key.endswith(f"={package}")]
        return hashlib.sha256(content(inputs, made_by[name, key], parameters).encode()).hexdigest()

    def keys(self, name: str, within: str = "all") -> list[str]:
        """Return the living sub-groups of a step, or those that fall into one of another step's."""
        names = [n for n in self.packages if within == "all" or source_of(n) == within]
        if name == "map":
            return ["all"] if names else []
        return sorted({source_of(n) for n in names} if name == "join" else {f"executed_obs_unit={n}" for n in names})

    def acceptable(self, policy: str) -> set[str]:
        """Return the versions whose products stay good: all of them, or those since the last that was not cosmetic."""
        if policy != "latest":
            return {version.version for version in self.versions}
        last = max(i for i, version in enumerate(self.versions) if not version.cosmetic)
        return {version.version for version in self.versions[last:]}


def source_of(package: str) -> str:
    """Return the sub-group by source that a package falls into."""
    return f"source=source-{1 + int(package.removeprefix('scan-')) % 2}"
