"""Random histories: after each event SQL and a plain reading of the rows agree, and asking twice asks for nothing."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from ccat_models.errors import NotFound, Refused
from ccat_models.fingerprint import Fingerprint, Lanes
from ccat_models.gap.answer import gaps
from ccat_models.gap.look import look
from ccat_models.gap.reasons import ACTIONABLE, Reason
from ccat_models.gap.table import gap_now, sub_group_gap
from ccat_models.lineage.taint import lift, taint
from ccat_models.pipeline.view import PipelineView, StepView, load_pipeline
from ccat_models.product.quality import waive
from ccat_models.sub_group.follow import follow_packages
from ccat_models.tables.base import PackageId
from ccat_models.tables.execution import IN_FLIGHT, FailureClass, RerunRequest, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import ReasonCount
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import ReductionSoftwareVersion, SubGroup, SubGroupMember
from ccat_models.tables.products import INPUT_TYPES, DataProduct
from ccat_models.tables.quality import QualityCheck, QualityWaiver
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.taints import PackageTaint
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, refresh_and_evaluate
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, release, step

pytestmark = pytest.mark.slow

COOLDOWN_SECONDS = 30
THRESHOLD = 3
QUIET = {"rms": 0.1}
SCANS = st.integers(0, 3)
EVENTS = st.one_of(
    st.tuples(st.just("scan"), SCANS, st.sampled_from("abc")),
    st.tuples(st.just("withdraw"), SCANS),
    st.tuples(st.sampled_from(["complete", "complete", "fail", "cancel", "complete with nothing"]), st.integers(0, 3)),
    st.tuples(st.just("release"), st.sampled_from(["plain", "cosmetic", "reprocess"])),
    st.tuples(st.just("configure"), st.integers(0, 1)),
    st.tuples(st.sampled_from(["force", "retry"]), st.sampled_from(["read", "join", "map"])),
    st.tuples(st.just("wait"), st.sampled_from([1, 31])),
    st.tuples(st.sampled_from(["taint", "lift"]), SCANS),
    st.tuples(st.just("complete loudly"), st.integers(0, 3)),
    st.tuples(st.just("waive"), st.integers(0, 3)),
    st.tuples(st.just("limit"), st.sampled_from([0.5, 2.0])),
)

Cell = tuple[int, int]  # step, sub-group


class Naive:
    """The gaps by reading all rows and looping, with nothing taken from the code under test but the words."""

    def __init__(self, session: Session, view: PipelineView, now: Any) -> None:
        self.now, self.view = now, view
        self.runs = list(session.scalars(sa.select(Run).order_by(Run.id)))
        self.requests = list(session.scalars(sa.select(RerunRequest)))
        self.versions = list(session.scalars(sa.select(ReductionSoftwareVersion)))
        self.packages = {package.id: package for package in session.scalars(sa.select(RawDataPackage))}
        self.members: dict[int, set[PackageId]] = defaultdict(set)
        self.cells: dict[int, set[int]] = defaultdict(set)
        self.sub_groups: dict[int, set[int]] = defaultdict(set)
        for sub_group in session.scalars(sa.select(SubGroup)):
            self.sub_groups[sub_group.partitioning_id].add(sub_group.id)
        for member in session.scalars(sa.select(SubGroupMember)):
            self.members[member.sub_group_id].add(member.raw_data_package_id)
            self.cells[member.partitioning_id].add(member.sub_group_id)
        self.products: dict[int, list[DataProduct]] = defaultdict(list)
        for product in session.scalars(sa.select(DataProduct).where(DataProduct.type.in_(INPUT_TYPES))):
            self.products[product.run_id].append(product)
        self.read_packages = {
            (link.run_id, link.raw_data_package_id, link.checksum)
            for link in session.scalars(sa.select(RunInputPackage))
        }
        self.read_runs = {(link.run_id, link.producer_run_id) for link in session.scalars(sa.select(RunInputProduct))}
        self.blocked = self._blocked(session)
        self.tainted = self._tainted(session)
        self.reasons: dict[Cell, Reason] = {}
        self.fingerprints: dict[Cell, Fingerprint] = {}
        self.current: dict[Cell, Run | None] = {}
        self.alive: dict[Cell, bool] = {}
        for one in view.steps:
            self._judge(one)

    @staticmethod
    def _blocked(session: Session) -> set[int]:
        waived = set(session.scalars(sa.select(QualityWaiver.quality_check_id)))
        checks = [check for check in session.scalars(sa.select(QualityCheck)) if check.superseded_at is None]
        return {check.run_id for check in checks if check.blocking and not check.passed and check.id not in waived}

    def _tainted(self, session: Session) -> set[int]:
        """Return the runs that have read a package with a standing taint, or a product of such a run."""
        taints = [taint for taint in session.scalars(sa.select(PackageTaint)) if taint.lifted_at is None]
        bad = {taint.raw_data_package_id for taint in taints}
        marked: set[int] = {run for run, package, _ in self.read_packages if package in bad}
        for run in self.runs:  # producers come before those that read from them
            if any((run.id, producer) in self.read_runs for producer in marked):
                marked.add(run.id)
        return marked

    def _judge(self, one: StepView) -> None:
        living = self.cells[one.partitioning_id]
        for sub_group in living:
            self._judge_living(one, sub_group)
        for sub_group in self.sub_groups[one.partitioning_id] - living:
            cell = (one.step_id, sub_group)
            flying = any(run.status in IN_FLIGHT for run in self._runs(cell))
            self.reasons[cell] = Reason.IN_FLIGHT if flying else Reason.INPUTS_WITHDRAWN
            self.fingerprints[cell], self.alive[cell] = Fingerprint(0, Lanes.none()), False

    def _judge_living(self, one: StepView, sub_group: int) -> None:
        cell = (one.step_id, sub_group)
        items = self._items(one, sub_group)
        total = sum((Lanes.of(*item) for item in items), Lanes.none())
        fingerprint = self.fingerprints[cell] = Fingerprint(len(items), total)
        self.alive[cell] = True
        target, good = self._versions(one)
        done = [run for run in self._runs(cell) if run.status is RunStatus.COMPLETED]
        same = [run for run in self._runs(cell) if run.fingerprint == fingerprint and run.config_id == one.config_id]
        usable = [run for run in done if run.id not in self.blocked | self.tainted]
        accepted = [run for run in usable if run in same and run.software_version_id in good]
        self.current[cell] = next(reversed(accepted or usable), None)
        self.reasons[cell] = self._reason(one, cell, same, accepted, done, target)

    def _reason(
        self, one: StepView, cell: Cell, same: list[Run], accepted: list[Run], done: list[Run], target: int
    ) -> Reason:
        runs = self._runs(cell)
        asked = [r for r in self.requests if (r.step_id, r.sub_group_id) == cell]
        latest = runs[-1].id if runs else 0
        forced = any(r.force and latest <= (r.last_run_id or 0) for r in asked)
        spent = [
            run.id
            for run in same
            if run.status in (RunStatus.FAILED, RunStatus.CANCELLED) and run.software_version_id == target
        ]
        blocked = [
            run.id
            for run in same
            if run.status is RunStatus.COMPLETED and run.id in self.blocked and run.software_version_id == target
        ]
        renewed = max((r.last_run_id or 0 for r in asked), default=-1)
        cool = runs and (self.now - runs[-1].created_at).total_seconds() < one.cooldown_seconds
        rules: list[tuple[Any, Reason]] = [
            (any(run.status in IN_FLIGHT for run in runs), Reason.IN_FLIGHT),
            (accepted and not forced, Reason.UP_TO_DATE),
            (not self._ready(one, cell[1]), Reason.WAITING_FOR_UPSTREAM),
            (self._failures(one) >= THRESHOLD, Reason.CIRCUIT_OPEN),
            (spent and max(spent) > renewed, Reason.RETRIES_EXHAUSTED),
            (blocked and max(blocked) > renewed, Reason.QUALITY_BLOCKED),
            (cool, Reason.COOLING_DOWN),
            (self._settling(one, cell[1]), Reason.SETTLING),
            (forced or blocked, Reason.FORCED),
            (not done, Reason.MISSING),
        ]
        return next((reason for holds, reason in rules if holds), None) or self._cause(one, cell, done[-1])

    def _settling(self, one: StepView, sub_group: int) -> bool:
        """Say whether an input came just now; here only a step with upstreams settles."""
        came = [run.status_changed_at for run in self._upstream_runs(one, sub_group)]
        return bool(came) and (self.now - max(came)).total_seconds() < one.settle_seconds

    def _cause(self, one: StepView, cell: Cell, last: Run) -> Reason:
        if last.fingerprint == self.fingerprints[cell]:
            return Reason.CONFIG_CHANGED if last.config_id != one.config_id else Reason.SOFTWARE_CHANGED
        if one.upstream_ids:
            now = {run.id for run in self._upstream_runs(one, cell[1]) if self.products[run.id]}
            new = any((last.id, run) not in self.read_runs for run in now)
        else:
            members = (self.packages[package] for package in self.members[cell[1]])
            new = any((last.id, package.id, package.checksum) not in self.read_packages for package in members)
        return Reason.NEW_INPUTS if new else Reason.INPUTS_WITHDRAWN

    def _items(self, one: StepView, sub_group: int) -> list[tuple[str, str, str]]:
        if not one.upstream_ids:
            packages = [self.packages[package] for package in self.members[sub_group]]
            return [("package", package.name, package.checksum or "") for package in packages]
        return [
            ("product", f"{run.id}/{product.path}", product.sha256)
            for run in self._upstream_runs(one, sub_group)
            for product in self.products[run.id]
        ]

    def _upstream_cells(self, one: StepView, sub_group: int) -> list[list[Cell]]:
        partitionings = {step.step_id: step.partitioning_id for step in self.view.steps}
        mine = self.members[sub_group]
        return [
            [(upstream, other) for other in self.cells[partitionings[upstream]] if self.members[other] & mine]
            for upstream in one.upstream_ids
        ]

    def _upstream_runs(self, one: StepView, sub_group: int) -> list[Run]:
        cells = [cell for cells in self._upstream_cells(one, sub_group) for cell in cells]
        return [run for run in (self.current[cell] for cell in cells) if run is not None]

    def _ready(self, one: StepView, sub_group: int) -> bool:
        for cells in self._upstream_cells(one, sub_group):
            if not any(self.current[cell] for cell in cells):
                return False
            if one.fan_in.value == "all" and any(self.reasons[cell] is not Reason.UP_TO_DATE for cell in cells):
                return False
        return True

    def _runs(self, cell: Cell) -> list[Run]:
        return [run for run in self.runs if (run.step_id, run.sub_group_id) == cell]

    def _failures(self, one: StepView) -> int:
        count = 0
        for run in self.runs:
            if run.step_id == one.step_id:
                bad = run.status is RunStatus.FAILED and run.failure_class is FailureClass.SCIENCE
                count = 0 if run.status is RunStatus.COMPLETED else count + bad
        return count

    def _versions(self, one: StepView) -> tuple[int, set[int]]:
        """Return target and acceptable versions under the policies used here: latest, and compatible."""
        target = max(self.versions, key=lambda version: version.rank)
        barrier = max((version.reprocess_from_rank or 0 for version in self.versions), default=0)
        if one.version_policy.value == "latest":
            barrier = max([barrier, *(version.rank for version in self.versions if not version.cosmetic)])
        return target.id, {version.id for version in self.versions if version.rank >= barrier}


def declare(works: ManualWorld, cell: int, most: float = 2.0) -> None:
    limit = {"metric": "rms", "maximum": most, "blocking": True}
    works.declare(
        step(
            "read",
            cooldown_seconds=COOLDOWN_SECONDS,
            parameters={"cell": cell},
            circuit_threshold=THRESHOLD,
            quality=[limit],
        ),
        step("join", ["source"], depends_on=["read"], version_policy="latest", circuit_threshold=THRESHOLD),
        step("map", [], depends_on=["join", "read"], when="any", circuit_threshold=THRESHOLD, settle_seconds=5),
    )


def happen(works: ManualWorld, event: tuple[Any, ...]) -> None:
    name, *values = event
    acts: dict[str, Callable[..., Any]] = {
        "scan": works.observatory.scan,
        "withdraw": lambda number: _withdraw(works, number),
        "complete": lambda number: _end(works, number, lambda run: works.complete(run, numbers=QUIET)),
        "complete with nothing": lambda number: _end(works, number, lambda run: works.complete(run, outputs={})),
        "fail": lambda number: _end(works, number, works.fail),
        "cancel": lambda number: _end(works, number, works.cancel),
        "release": lambda kind: _release(works, kind),
        "configure": lambda cell: declare(works, cell),
        "force": lambda name: works.ask(name, force=True),
        "retry": lambda name: works.ask(name, retry=True),
        "wait": works.observatory.clock.pass_seconds,
        "taint": lambda number: _mark(works, number, taint, reason="bad"),
        "lift": lambda number: _mark(works, number, lift),
        "complete loudly": lambda number: _end(works, number, lambda run: works.complete(run, numbers={"rms": 1.0})),
        "waive": lambda number: _waive(works, number),
        "limit": lambda most: declare(works, 0, most),
    }
    acts[name](*values)


def _withdraw(works: ManualWorld, number: int) -> None:
    with works.cluster.ops_db.read() as session:
        there = session.scalar(sa.select(RawDataPackage.id).where(RawDataPackage.name == f"scan-{number}"))
    if there:
        works.observatory.withdraw(number)


def _end(works: ManualWorld, number: int, how: Callable[..., None]) -> None:
    runs = works.in_flight()
    if runs:
        how(runs[number % len(runs)])


def _mark(works: ManualWorld, number: int, how: Callable[..., Any], **said: str) -> None:
    with contextlib.suppress(Refused, NotFound), works.cluster.ops_db.request() as session:
        how(session, [f"scan-{number}"], by="test", now=works.cluster.clock(), **said)


def _waive(works: ManualWorld, number: int) -> None:
    with works.cluster.ops_db.request() as session:
        runs = session.scalars(sa.select(QualityCheck.run_id).where(sa.not_(QualityCheck.passed))).all()
        if runs:
            with contextlib.suppress(Refused, NotFound):
                waive(session, runs[number % len(runs)], "rms", by="test", reason="fine", now=works.cluster.clock())


def _release(works: ManualWorld, kind: str) -> None:
    number = f"1.0.{len(works.releases)}"
    flags: dict[str, dict[str, Any]] = {"cosmetic": {"cosmetic": True}, "reprocess": {"reprocess_from": number}}
    works.releases.append(release(number, **flags.get(kind, {})))
    declare(works, 0)


def check_reasons(works: ManualWorld) -> None:
    with works.cluster.ops_db.request() as session:
        view = load_pipeline(session, "letters")
        refresh_and_evaluate(session, works.cluster, view, RequestOptions("test"))
        naive = Naive(session, view, works.cluster.clock())
        found = {(one.step_id, gap.sub_group_id): gap for one in view.steps for gap in gaps(session, one)}
        assert {cell: gap.reason for cell, gap in found.items()} == naive.reasons
        assert {cell: gap.fingerprint for cell, gap in found.items()} == naive.fingerprints
        assert {cell: gap.alive for cell, gap in found.items()} == naive.alive
        wanted = {cell for cell, reason in naive.reasons.items() if reason in ACTIONABLE and naive.alive[cell]}
        assert {cell for cell, gap in found.items() if gap.actionable} == wanted


def check_look(works: ManualWorld, many: int) -> None:
    """After a look at what was touched, every stored column is what an evaluation of everything finds."""
    with works.cluster.ops_db.request() as session:
        view = load_pipeline(session, "letters")
        now = works.cluster.clock()
        follow_packages(session, now, many=many)
        look(session, view, now, many=many)
        again = look(session, view, now)
        assert not again.judged, "nothing was touched since"
        noted = rows_of(session, sub_group_gap)
        refresh_and_evaluate(session, works.cluster, view, RequestOptions("test"))
        assert noted == rows_of(session, gap_now)
        counted = {
            one.step_id: Counter(row.reason for row in noted if row.step_id == one.step_id) for one in view.steps
        }
        assert last_counts(session) == {(step_id, *pair) for step_id in counted for pair in counted[step_id].items()}


def rows_of(session: Session, rows: sa.Table) -> list[sa.Row[Any]]:
    return list(session.execute(sa.select(rows).order_by(rows.c.step_id, rows.c.sub_group_id)))


def last_counts(session: Session) -> set[tuple[int, str, int]]:
    counts = {
        (row.step_id, row.reason): row.count for row in session.scalars(sa.select(ReasonCount).order_by(ReasonCount.id))
    }
    return {(*cell, count) for cell, count in counts.items() if count}


def check_runs(works: ManualWorld) -> None:
    with works.cluster.ops_db.read() as session:
        runs = list(session.scalars(sa.select(Run)))
        flying = [(run.step_id, run.sub_group_id) for run in runs if run.status in IN_FLIGHT]
        assert len(set(flying)) == len(flying)
        items: dict[int, list[Lanes]] = defaultdict(list)
        names = dict(session.execute(sa.select(RawDataPackage.id, RawDataPackage.name)).tuples().all())
        for package in session.scalars(sa.select(RunInputPackage)):
            items[package.run_id].append(Lanes.of("package", names[package.raw_data_package_id], package.checksum))
        read = sa.select(RunInputProduct, DataProduct.path).join(
            DataProduct, DataProduct.id == RunInputProduct.data_product_id
        )
        for link, path in session.execute(read).tuples():
            items[link.run_id].append(Lanes.of("product", f"{link.producer_run_id}/{path}", link.sha256))
        for run in runs:
            assert run.fingerprint == Fingerprint(len(items[run.id]), sum(items[run.id], Lanes.none()))


def test_random_histories(shared_ops_db: OpsDb, tmp_path: Path) -> None:
    @settings(
        max_examples=12 if shared_ops_db.is_sqlite else 6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # to shrink a history takes longer than to read it
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(
        st.lists(EVENTS, min_size=6, max_size=10),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from([1, 100]),
    )
    def check(events: list[tuple[Any, ...]], greedy: bool, begun: bool, looks_first: bool, many: int) -> None:
        empty(shared_ops_db)
        works = ManualWorld.open(shared_ops_db, tmp_path)
        for number in range(2):
            works.observatory.scan(number)
        declare(works, 0)
        if begun:
            works.run_all(QUIET)
            check_runs(works)
        for event in events:
            happen(works, event)
            if looks_first:
                check_look(works, many)
            check_reasons(works)
            check_look(works, many)
            if greedy or event[0] in ("wait", "complete"):
                works.request()
                assert not any(answer.created for answer in works.request().values()), "asked twice"
                check_runs(works)

    check()
