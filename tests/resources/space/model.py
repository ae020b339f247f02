"""A pipeline whose runs are executed by the test, on a real disk, and everything that can happen to it."""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from ccat_models.pipeline.view import PipelineView, load_pipeline
from ccat_models.product.collect import register
from ccat_models.run import attempt as attempts_of
from ccat_models.run.briefing import brief
from ccat_models.run.regenerate import regenerate
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, FailureClass
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as PackageCopy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import ProductPin, RunSpace, SpaceState
from resources.location import Cluster
from resources.request.ensure import RequestOptions, ensure
from resources.request.standing import run_round
from resources.space.purging import Freed, finish, purge
from resources.workspace.store import AttemptStore
from tests.resources.space.model_program import Reading
from tests.support.faults.moments import watched
from tests.support.worlds.letters import ALL, Died
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, made_up, start, step

HERE, ELSEWHERE = 1, 2
BORDERS = ("purge marked", "half removed", "purged files removed", "purge confirmed")
RETENTIONS = ("always", "until_superseded", "while_needed", "days")
DAY_SECONDS = 86_400
GRAPHS: Mapping[str, Mapping[str, tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    "pair": {
        "read": ((), ("executed_obs_unit",), "any"),
        "join": (("read",), ("source",), "all"),
    },
    "line": {
        "read": ((), ("executed_obs_unit",), "any"),
        "clean": (("read",), ("executed_obs_unit",), "any"),
        "join": (("clean",), ("source",), "any"),
    },
    "net": {
        "read": ((), ("executed_obs_unit",), "any"),
        "join": (("read",), ("source",), "all"),
        "map": (("read", "join"), (), "any"),
    },
}
_FLYING = sa.select(Run.id).where(Run.status.in_(IN_FLIGHT)).order_by(Run.id)


class HalfStore(AttemptStore):
    """The real store, whose `unlink` removes half of the files: then the process dies, or the others are busy."""

    def __init__(self, store: AttemptStore, then: Callable[[], None]) -> None:
        super().__init__(store.base, store._ask)
        self._then = then

    def unlink(self, names: Collection[str]) -> tuple[set[str], dict[str, str]]:
        """Remove the first half, and report the others as busy unless the process dies."""
        half = sorted(names)[: len(names) // 2]
        gone, problems = super().unlink(half)
        self._then()
        return gone, problems | dict.fromkeys(set(names) - set(half), "busy")


@dataclass
class World:
    """The pipeline, its runs in flight, and what the programs have read so far."""

    works: ManualWorld
    graph: str
    cells: dict[str, int] = field(default_factory=dict)
    retentions: dict[str, str] = field(default_factory=dict)
    scans: set[int] = field(default_factory=set)
    read: dict[RunId, Reading] = field(default_factory=dict)  # by run in flight
    salt: int = 0

    @staticmethod
    def open(works: ManualWorld, graph: str) -> "World":
        """Begin with four scans and the pipeline declared."""
        shutil.rmtree(works.cluster.base, ignore_errors=True)
        world = World(works, graph)
        for number in range(4):
            world.scan(number, "counts")
        world.declare()
        return world

    @property
    def cluster(self) -> Cluster:
        """Return the cluster, whose back end is this world."""
        return self.works.cluster

    def declare(self) -> PipelineView:
        """Declare the pipeline as cells and retentions have it now."""
        steps = []
        for name, (upstreams, group_by, when) in GRAPHS[self.graph].items():
            keep = self.retentions.get(name)
            more: dict[str, Any] = {"depends_on": list(upstreams)} if upstreams else {}
            if keep is not None:
                more["retention"] = {"keep": keep} | ({"days": 2} if keep == "days" else {})
            parameters = {"cell": self.cells.get(name, 0)}
            retries = NO_RETRIES | {"infrastructure": 1}
            plain = {"when": when, "parameters": parameters, "retries": retries, "circuit_threshold": 1000}
            steps.append(step(name, group_by, **plain, **more))
        return self.works.declare(*steps, mode="standing", trigger={"type": "continuous"})

    def scan(self, number: int, content: str) -> None:
        """Let a scan arrive, or arrive changed."""
        self.works.observatory.scan(number, content)
        self.scans.add(number)

    def withdraw(self, number: int) -> None:
        """Take a scan that is there out of the archive."""
        self.works.observatory.withdraw(number)
        self.scans.discard(number)

    def have_raw(self, number: int, *, there: bool) -> None:
        """Let the only copy of a scan's package be lost, or found again."""
        named = sa.select(RawDataPackage.id).where(RawDataPackage.name == f"scan-{number}").scalar_subquery()
        status = PhysicalCopyStatus.STAGED if there else PhysicalCopyStatus.DELETED
        with self.cluster.ops_db.write() as session:
            changed = sa.update(PackageCopy).where(PackageCopy.raw_data_package_id == named).values(status=status)
            session.execute(changed.execution_options(synchronize_session=False))

    def flying(self) -> list[RunId]:
        """Return the runs in flight, oldest first."""
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(_FLYING))

    def begin(self, run: RunId) -> None:
        """Start a run, which reads all of its inputs: each exists, and is what its link says."""
        if run in self.read:
            return
        with self.cluster.ops_db.write() as session:
            start(session, run, self.cluster)
            self.read[run] = Reading(brief(session, [run], HERE)[run], self.cluster.base)

    def complete(self, run: RunId, how: str) -> None:
        """Let a run write its products, and register them; its inputs exist until then."""
        self.begin(run)
        reading = self.read.pop(run)
        reading.check()
        self.salt += 1
        outputs = reading.outputs(how, self.salt)
        with self.cluster.ops_db.write() as session:
            attempt = start(session, run, self.cluster)
            collected = made_up(session, attempt, outputs)
            for path, text in outputs.items():
                file = self.cluster.base / collected.location_path / "output" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            assert register(session, attempt, run, collected, self.cluster.clock())

    def fail(self, run: RunId, failure: FailureClass) -> None:
        """Let a run's attempt fail."""
        self.begin(run)
        self.read.pop(run)
        self.works.fail(run, failure=failure)

    def cancel(self, run: RunId, *, on_progress: bool) -> None:
        """Cancel a run; with `on_progress` a running one ends, else its wrapper does not know yet."""
        self.works.cancel(run)
        if on_progress and run in self.flying():
            with self.cluster.ops_db.write() as session:
                attempts_of.cancelled(session, start(session, run, self.cluster), run, self.cluster.clock())
        if on_progress:
            self.read.pop(run, None)

    def run_round(self) -> int:
        """Run one round of the pipeline; return how many runs were created."""
        found = run_round(self.cluster)
        return 0 if found is None else found.created.total()

    def ensure(self, name: str, **options: Any) -> None:
        """Request all sub-groups of a step."""
        ensure(self.cluster, "letters", name, None, RequestOptions("test", **options))

    def regenerate(self, run: RunId) -> list[RunId]:
        """Request the purged products of a run; return the runs that were created."""
        named = sa.select(RunSpace.run_id).where(RunSpace.run_id == run)
        asking: dict[str, Any] = {"backend": "local", "requested_by": "test", "now": self.cluster.clock()}
        with self.cluster.ops_db.request() as session:
            made = regenerate(session, load_pipeline(session, "letters"), named, **asking)
        return [again for runs in made.values() for again in runs]

    def runs_in(self, state: SpaceState) -> list[RunId]:
        """Return the runs with removable products in a state, oldest first."""
        query = sa.select(RunSpace.run_id).where(RunSpace.state == state, RunSpace.removable_bytes > 0)
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(query.order_by(RunSpace.run_id)))

    def pin(self, run: RunId) -> None:
        """Pin a product of a run, unless one is pinned."""
        with self.cluster.ops_db.write() as session:
            if not session.scalar(sa.select(_standing_pins(run).exists())):
                product = session.scalar(sa.select(sa.func.min(DataProduct.id)).where(DataProduct.run_id == run))
                said = {"reason": "mine", "pinned_by": "test", "pinned_at": self.cluster.clock()}
                session.add(ProductPin(data_product_id=product, run_id=run, **said))

    def unpin(self, run: RunId) -> None:
        """Unpin the pinned products of a run."""
        values = {"unpinned_by": "test", "unpinned_at": self.cluster.clock()}
        with self.cluster.ops_db.write() as session:
            standing = (ProductPin.run_id == run, ProductPin.unpinned_at.is_(None))
            session.execute(sa.update(ProductPin).where(*standing).values(values))

    def doubt(self, run: RunId, *, verified: bool) -> None:
        """Forget, or renew, that the checksum of a run's products was verified."""
        with self.cluster.ops_db.write() as session:
            when = self.cluster.clock() if verified else None
            copies = Copy.data_product_id.in_(_removable_of(run))
            changed = sa.update(Copy).where(copies, Copy.data_location_id == HERE).values(checksum_verified_at=when)
            session.execute(changed.execution_options(synchronize_session=False))

    def archive(self, run: RunId) -> None:
        """Let a run's products be copied to another location, where they are not yet."""
        plain = {"kind": "data_product", "data_location_id": ELSEWHERE, "status": PhysicalCopyStatus.PRESENT}
        with self.cluster.ops_db.write() as session:
            there = sa.select(Copy.data_product_id).where(Copy.data_location_id == ELSEWHERE)
            new = _removable_of(run).where(DataProduct.id.not_in(there.where(Copy.data_product_id.is_not(None))))
            rows = [
                plain | {"data_product_id": product, "path": f"product-{product}", "created_at": self.cluster.clock()}
                for product in session.scalars(new)
            ]
            if rows:
                session.execute(sa.insert(Copy), rows)

    def purge(self, wanted_bytes: int, passing: Callable[[str], None]) -> Freed:
        """Purge so much; `passing` is called at each border, and the store stops half-way where it asks for that."""
        return purge(watched(self.cluster, passing), wanted_bytes, by="test", reason="test")

    def purge_dying(self, border: str, passing: Callable[[str], None]) -> None:
        """Purge all that may go, in a process that dies at a border."""

        def die(at: str) -> None:
            passing(at)
            if at == border:
                raise Died(border)

        cluster = watched(self.cluster, die)
        if border == "half removed":
            cluster = replace(cluster, store=HalfStore(cluster.store, lambda: die(border)))
        try:
            purge(cluster, ALL, by="test", reason="test")
        except Died:
            return

    def purge_busy(self, passing: Callable[[str], None]) -> None:
        """Purge all that may go, of which half of the files cannot be removed now."""
        cluster = watched(self.cluster, passing)
        cluster = replace(cluster, store=HalfStore(cluster.store, lambda: None))
        purge(cluster, ALL, by="test", reason="test")

    def finish(self) -> None:
        """Remove what another process has marked."""
        finish(self.cluster)

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.works.observatory.clock.pass_seconds(seconds)


def _removable_of(run: RunId) -> sa.Select[Any]:
    return sa.select(DataProduct.id).where(DataProduct.run_id == run, DataProduct.type.in_(REMOVABLE_TYPES))


def _standing_pins(run: RunId) -> sa.Select[Any]:
    return sa.select(ProductPin.id).where(ProductPin.run_id == run, ProductPin.unpinned_at.is_(None))
