"""A plan is what then happens, and planning leaves every table as it was."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import NotFound, Refused
from ccat_models.gap.answer import counts
from ccat_models.pipeline.apply import apply
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.release import suppose
from ccat_models.pipeline.view import load_pipeline
from ccat_models.pipeline.yaml_source import parse
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import PackageChange, SubGroupChange
from resources.errors import BackEndUnavailable
from resources.local.backend import LocalBackEnd
from resources.request.ensure import RequestOptions, refresh_and_evaluate
from resources.request.plan_ahead import Plan, foresee
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.pipeline import dump

OPTIONS = RequestOptions("test", patient=True)
# Only `read` follows releases; what is downstream changes because its inputs will.
CHAIN = (
    step("read", when="any"),
    step("clean", depends_on=["read"], version_policy="pinned", when="any"),
    step("join", ["source"], depends_on=["clean"], version_policy="pinned", when="any"),
)
Planned = Mapping[str, tuple[Mapping[str, int], int, int]]


def nothing(_: Session) -> None:
    """Suppose no change."""


def planned(plan: Plan) -> Planned:
    """Return by step the sub-groups by reason, the runs now and those afterwards."""
    found = {step.name: plan.counts[step.step_id] for step in plan.pipeline.steps if step.step_id in plan.counts}
    return {
        name: ({r.value: n for r, n in one.reasons.items()}, one.now, one.afterwards) for name, one in found.items()
    }


def look(
    works: ManualWorld, change: Callable[[Session], object] = nothing, name: str = "letters", **options: Any
) -> Plan:
    """Look ahead; whatever is found, every table is as it was."""
    before = dump(works.cluster.ops_db)
    plan, _ = foresee(options.pop("cluster", works.cluster), name, OPTIONS, suppose=change, **options)
    assert dump(works.cluster.ops_db) == before
    return plan


def released(works: ManualWorld, version: str, **flags: Any) -> Callable[[Session], object]:
    return lambda session: suppose(session, "letters", {"version": version, **flags}, works.cluster.clock())


def applied(works: ManualWorld, text: str) -> Callable[[Session], object]:
    declaration = parse(text, file="test.yaml")
    digests = {("letters", "1.0.0"): CodeDigest(str(works.code), "c" * 64)}
    return lambda session: apply(
        session, declaration, code_digests=digests, applied_by="test", now=works.cluster.clock()
    )


def pipeline_text(name: str, *steps: dict[str, Any], grouping: Any) -> str:
    document = {
        "schema_version": 1,
        "name": name,
        "mode": "ad_hoc",
        "processing_location": "local",
        "data_grouping": grouping,
        "software": [],
        "steps": list(steps),
    }
    return json.dumps(document)


def chain(works: ManualWorld, scans: int = 4) -> None:
    for number in range(scans):
        works.observatory.scan(number)
    works.declare(*CHAIN)


def test_unprocessed_changes_of_packages_are_planned_for_and_stay_unprocessed(works: ManualWorld) -> None:
    chain(works)
    with works.cluster.ops_db.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(PackageChange))
        assert session.scalar(sa.select(sa.func.count()).select_from(SubGroupChange))
    assert planned(look(works)) == {
        "read": ({"missing": 4}, 4, 0),
        "clean": ({"waiting_for_upstream": 4}, 0, 4),
        "join": ({"waiting_for_upstream": 2}, 0, 2),
    }


def test_a_release_makes_runs_downstream_of_those_that_it_makes(works: ManualWorld) -> None:
    chain(works)
    works.run_all()
    plan = look(works, released(works, "1.1.0", reprocess_from="1.1.0"))
    assert planned(plan) == {
        "read": ({"software_changed": 4}, 4, 0),
        "clean": ({"up_to_date": 4}, 0, 4),
        "join": ({"up_to_date": 2}, 0, 2),
    }
    assert plan.cost.runs == 10


@pytest.mark.slow
@pytest.mark.parametrize("fan_in", ["any", "all"])
def test_what_is_planned_for_a_release_is_what_then_happens(works: ManualWorld, fan_in: str) -> None:
    for number in range(4):
        works.observatory.scan(number)
    works.declare(*({**one, "when": fan_in} for one in CHAIN))
    works.run_all()
    works.observatory.scan(5)
    change = released(works, "1.1.0", reprocess_from="1.1.0")
    plan = look(works, change)
    with works.cluster.ops_db.request() as session:
        change(session)
        pipeline = load_pipeline(session, "letters")
        refresh_and_evaluate(session, works.cluster, pipeline, OPTIONS)
        assert counts(session) == plan.counts
        before = session.scalar(sa.select(sa.func.count()).select_from(Run)) or 0
    works.run_all(patient=True)
    with works.cluster.ops_db.read() as session:
        assert (session.scalar(sa.select(sa.func.count()).select_from(Run)) or 0) - before == plan.cost.runs == 12


@pytest.mark.parametrize("flags", [{"cosmetic": True}, {}])
def test_a_release_that_makes_nothing_stale_costs_nothing(works: ManualWorld, flags: dict[str, Any]) -> None:
    chain(works)
    works.run_all()
    plan = look(works, released(works, "1.1.0", **flags))
    assert [now + afterwards for _, now, afterwards in planned(plan).values()] == [0, 0, 0]
    assert (plan.cost.runs, plan.cost.wall_seconds) == (0, 0.0)


def test_a_declaration_is_planned(works: ManualWorld) -> None:
    chain(works)
    works.run_all()
    rule = {"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"}
    text = pipeline_text(
        "letters", {**CHAIN[0], "parameters": {"cell": 7}}, *CHAIN[1:], grouping={"name": "all-data", "rules": [rule]}
    )
    plan = look(works, applied(works, text))
    assert (plan.pipeline.revision, load(works).revision) == (2, 1)
    assert {name: reasons for name, (reasons, _, _) in planned(plan).items()} == {
        "read": {"config_changed": 4},
        "clean": {"up_to_date": 4},
        "join": {"up_to_date": 2},
    }
    assert plan.cost.runs == 10


@pytest.mark.parametrize("known_grouping", [True, False])
def test_a_pipeline_that_does_not_exist_yet_is_planned(works: ManualWorld, known_grouping: bool) -> None:
    chain(works)
    rule = {"table": "ExecutedObsUnit", "column": "name", "operator": "in", "value": ["scan-0", "scan-2"]}
    grouping = "all-data" if known_grouping else {"name": "two-scans", "rules": [rule]}
    text = pipeline_text("new", step("read"), step("join", [], depends_on=["read"]), grouping=grouping)
    plan = look(works, applied(works, text), "new")
    scans = 4 if known_grouping else 2
    assert planned(plan) == {
        "read": ({"missing": scans}, scans, 0),
        "join": ({"waiting_for_upstream": 1}, 0, 1),
    }
    with works.cluster.ops_db.read() as session, pytest.raises(NotFound):
        load_pipeline(session, "new")


def test_sub_groups_are_listed_as_they_would_be(works: ManualWorld) -> None:
    chain(works)
    assert look(works).listed == {}
    listed = look(works, limit=3).listed
    assert [(gap.key, gap.reason.value) for gap in listed["read"]] == [
        (f"executed_obs_unit=scan-{number}", "missing") for number in range(3)
    ]
    assert [len(gaps) for gaps in listed.values()] == [3, 3, 2]


def test_the_result_of_the_supposed_change_is_returned(works: ManualWorld) -> None:
    chain(works)
    assert foresee(works.cluster, "letters", OPTIONS, suppose=lambda _: "supposed")[1] == "supposed"


def test_a_refused_change_changes_nothing(works: ManualWorld) -> None:
    chain(works)
    before = dump(works.cluster.ops_db)
    with pytest.raises(Refused, match="cosmetic: false → true"):
        foresee(works.cluster, "letters", OPTIONS, suppose=released(works, "1.0.0", cosmetic=True))
    with pytest.raises(NotFound, match="no pipeline 'lettres'; known: letters"):
        foresee(works.cluster, "lettres", OPTIONS, suppose=nothing)
    assert dump(works.cluster.ops_db) == before


def test_the_location_caps_what_it_runs(works: ManualWorld) -> None:
    chain(works)
    plan = look(works)
    read = plan.cost.steps["read"]
    assert (plan.capacity, plan.capacity_unknown, read.cap, read.capped_by) == (1, None, 1, "location")
    elsewhere = look(works, cluster=replace(works.cluster, location_id=2))
    assert elsewhere.capacity is None
    assert elsewhere.capacity_unknown == "it is run at processing location 1, not from here"


@pytest.mark.parametrize(("most", "cap"), [(2, 2), (80, 50), (None, 50)])
def test_so_many_runs_at_a_time_as_the_location_allows(works: ManualWorld, most: int | None, cap: int) -> None:
    chain(works)
    roomy = LocalBackEnd(works.cluster.base, 50, works.cluster.backend.node.python)
    plan = look(works, cluster=replace(works.cluster, backend=roomy, max_in_flight=most))
    assert plan.capacity == 50
    assert (plan.cost.steps["read"].cap, plan.cost.steps["read"].capped_by) == (cap, "location")


class Silent(LocalBackEnd):
    """A back end whose queue cannot be read."""

    def capacity(self) -> int:
        """Raise BackEndUnavailable."""
        raise BackEndUnavailable("squeue: no answer")


def test_a_back_end_that_does_not_answer_leaves_its_cap_out(works: ManualWorld) -> None:
    chain(works)
    silent = replace(works.cluster, backend=Silent(works.cluster.base, 1, works.cluster.backend.node.python))
    plan = look(works, cluster=silent)
    assert (plan.capacity, plan.capacity_unknown, plan.cost.steps["read"].cap) == (None, "squeue: no answer", None)


def load(works: ManualWorld) -> Any:
    with works.cluster.ops_db.read() as session:
        return load_pipeline(session, "letters")
