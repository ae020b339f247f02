"""Limits on the numbers that programs give: how they are declared, and how they judge runs."""

from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from ccat_models.pipeline.values import QualityLimit
from ccat_models.product.quality import CheckRow, checks_of
from ccat_models.tables.base import RunId
from ccat_models.tables.quality import QualityCheck
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld
from tests.support.worlds.manual import step as works_step
from tests.support.worlds.pipeline import declared, step

Limit = dict[str, Any]
RMS: Limit = {"metric": "rms_k", "maximum": 0.5, "blocking": True}
FLAGGED: Limit = {"metric": "flagged fraction", "minimum": 0.0, "maximum": 0.25}


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Any) -> ManualWorld:
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    works.observatory.scan(0)
    return works


def declare(works: ManualWorld, *limits: Limit) -> None:
    works.declare(works_step("read", quality=list(limits)))


def completed(works: ManualWorld, **numbers: float) -> RunId:
    works.request()
    (run,) = works.in_flight()
    works.complete(run, numbers=numbers)
    return run


def checks(works: ManualWorld, run: RunId) -> dict[str, CheckRow]:
    with works.cluster.ops_db.read() as session:
        return {row.name: row for row in checks_of(session, [run])[run]}


def passed(works: ManualWorld, run: RunId) -> dict[str, bool]:
    return {name: row.passed for name, row in checks(works, run).items()}


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ([{"metric": "rms_k"}], r"steps\[0\].quality\[0\]: needs a minimum or a maximum: nothing is limited"),
        ([{"metric": "a", "minimum": 2, "maximum": 1}], "maximum: must not be below minimum 2; value 1.0"),
        ([RMS, RMS], r"quality\[1\].name: check 'rms_k' occurs here a second time"),
        ([{**RMS, "name": "not_tainted"}], "is a check that every step has; give another name"),
        ([{**RMS, "name": "a-b"}], "String should match pattern"),
        ([{**RMS, "maximum": float("nan")}], "finite number"),
    ],
)
def test_meaningless_limits_are_refused(limits: list[Limit], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        declared(steps=[step(quality=limits)])


def test_a_check_is_named_for_its_metric() -> None:
    assert QualityLimit(metric="rms T_A* [K]", maximum=1).check_name == "rms_T_A___K_"
    assert QualityLimit(metric="rms", name="quiet", maximum=1).check_name == "quiet"


@pytest.mark.parametrize(("value", "keeps"), [(0.0, True), (0.25, True), (0.2501, False), (-0.1, False)])
def test_both_limits_are_included(works: ManualWorld, value: float, keeps: bool) -> None:
    declare(works, FLAGGED)
    run = completed(works, **{"flagged fraction": value})
    assert passed(works, run) == {"flagged_fraction": keeps}


def test_a_number_that_is_missing_keeps_no_limit(works: ManualWorld) -> None:
    declare(works, RMS)
    (row,) = checks(works, completed(works, other=1.0)).values()
    assert (row.passed, row.value, row.blocks) == (False, None, True)
    assert row.finding == "the program gave no number rms_k"


def test_runs_are_judged_anew_when_limits_change(works: ManualWorld) -> None:
    declare(works, RMS, FLAGGED)
    run = completed(works, **{"rms_k": 0.4, "flagged fraction": 0.5})
    before = checks(works, run)
    assert {name: row.passed for name, row in before.items()} == {"rms_k": True, "flagged_fraction": False}
    works.observatory.clock.pass_seconds(60)
    declare(works, {**RMS, "maximum": 0.3}, FLAGGED, {"metric": "rms_k", "name": "loud", "minimum": 0.35})
    after = checks(works, run)
    assert {name: row.passed for name, row in after.items()} == {
        "rms_k": False,
        "flagged_fraction": False,
        "loud": True,
    }
    assert after["flagged_fraction"] == before["flagged_fraction"], "an unchanged limit says nothing new"
    assert after["rms_k"].judged_at > before["rms_k"].judged_at
    declare(works)
    assert not checks(works, run)
    with works.cluster.ops_db.read() as session:
        rows = sa.select(sa.func.count()).select_from(QualityCheck)
        assert session.scalar(rows) == 4, "what was said once stays on record"


def test_a_run_in_flight_is_judged_by_the_limits_in_force_when_it_completes(works: ManualWorld) -> None:
    declare(works, RMS)
    works.request()
    declare(works, {**RMS, "maximum": 0.1})
    (run,) = works.in_flight()
    works.complete(run, numbers={"rms_k": 0.4})
    assert passed(works, run) == {"rms_k": False}


def test_a_run_of_a_step_that_is_gone_is_judged_by_its_last_limits(works: ManualWorld) -> None:
    declare(works, RMS)
    works.request()
    works.declare(works_step("other"))
    (run,) = works.in_flight()
    works.complete(run, numbers={"rms_k": 0.4})
    assert passed(works, run) == {"rms_k": True}
