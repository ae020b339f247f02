"""A blocking check that fails: its run is no result and no input until a user waives it."""

from pathlib import Path

import pytest

from ccat_models.errors import CcatError, InvalidDeclaration, NotFound, Refused
from ccat_models.product.quality import find_failing, waive
from ccat_models.run.listing import RunRow, list_runs
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, release, step

QUIET = {"metric": "rms_k", "maximum": 0.5, "blocking": True}
KNOWN = {"metric": "gain", "minimum": 1.0}


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give a scan whose first step completed with a number that is too large."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    works.observatory.scan(0)
    declare(works)
    works.request()
    works.complete(numbers={"rms_k": 0.7, "gain": 0.5})
    return works


def declare(works: ManualWorld, maximum: float = 0.5) -> None:
    works.declare(step("read", quality=[{**QUIET, "maximum": maximum}, KNOWN]), step("map", [], depends_on=["read"]))


def reasons(works: ManualWorld) -> tuple[str, str]:
    return works.reasons("read")["scan-0"], works.reasons("map")["all"]


def let_pass(works: ManualWorld, name: str = "rms_k", reason: str = "the line is strong", run: int = 1) -> None:
    with works.cluster.ops_db.request() as session:
        waive(session, RunId(run), name, by="ada", reason=reason, now=works.cluster.clock())


def test_a_failing_blocking_check_holds_everything_back(works: ManualWorld) -> None:
    assert reasons(works) == ("quality_blocked", "waiting_for_upstream")
    gap = works.gaps("read")["scan-0"]
    assert (gap.acceptable_run_id, gap.current_run_id, gap.latest_run_id) == (None, None, 1)
    assert not any(answer.created for answer in works.request().values()), "the same again gives the same"


def test_an_older_good_product_stays_the_input_of_later_steps(works: ManualWorld) -> None:
    let_pass(works)
    works.run_all()
    works.observatory.scan(0, "other")
    works.request()
    works.complete(numbers={"rms_k": 0.8})
    assert reasons(works)[0] == "quality_blocked"
    assert works.gaps("read")["scan-0"].current_run_id == 1


def test_a_path_means_the_newest_run_that_fails_the_check_and_is_not_waived(works: ManualWorld) -> None:
    let_pass(works)
    for content, rms_k in (("second", 0.8), ("third", 0.4)):
        works.observatory.scan(0, content)
        works.request()
        works.complete(works.in_flight()[0], numbers={"rms_k": rms_k, "gain": 0.5})
    runs = [row.id for row in reversed(listed(works)) if row.step == "read"]
    where = "letters/read/executed_obs_unit=scan-0"
    assert meant(works, where) == runs[1], "the third passes, the first is waived"
    assert meant(works, f"{where}/science/text.txt") == runs[1]
    assert meant(works, where, "gain") == runs[2], "all fail it"
    assert meant(works, f"run:{runs[0]}") == runs[0]
    let_pass(works, run=runs[1])
    assert meant(works, where) == runs[2], "none fails it any more: the current one"


def meant(works: ManualWorld, text: str, name: str = "rms_k") -> RunId:
    with works.cluster.ops_db.read() as session:
        return find_failing(session, text, name)


def listed(works: ManualWorld) -> list[RunRow]:
    with works.cluster.ops_db.read() as session:
        return list_runs(session)


def test_a_waiver_makes_it_a_result(works: ManualWorld) -> None:
    let_pass(works)
    assert reasons(works) == ("up_to_date", "missing")
    works.run_all()
    assert reasons(works) == ("up_to_date", "up_to_date")


def test_a_retry_runs_it_again(works: ManualWorld) -> None:
    (run,) = works.ask("read", retry=True).created.values()
    works.complete(run, numbers={"rms_k": 0.4, "gain": 2.0})
    assert reasons(works) == ("up_to_date", "missing")


def test_a_retry_that_is_as_bad_is_blocked_again(works: ManualWorld) -> None:
    works.ask("read", retry=True)
    works.complete(numbers={"rms_k": 0.6})
    assert reasons(works)[0] == "quality_blocked"


def test_a_release_is_tried(works: ManualWorld) -> None:
    works.releases.append(release("1.0.1"))
    declare(works)
    assert reasons(works)[0] == "software_changed"


def test_wider_limits_let_it_pass_and_narrower_ones_block_what_counted(works: ManualWorld) -> None:
    declare(works, 0.9)
    assert reasons(works) == ("up_to_date", "missing")
    declare(works, 0.6)
    assert reasons(works) == ("quality_blocked", "waiting_for_upstream")


def test_a_waiver_is_of_one_limit(works: ManualWorld) -> None:
    let_pass(works)
    declare(works, 0.6)
    assert reasons(works)[0] == "quality_blocked", "it was not taken by this limit"


@pytest.mark.parametrize(
    ("name", "reason", "error", "text"),
    [
        ("rms", "fine", NotFound, "no quality check of run 1 'rms'; known: gain, rms_k"),
        ("rms_k", " ", InvalidDeclaration, "reason: must say why the products are good enough"),
    ],
)
def test_what_cannot_be_waived(works: ManualWorld, name: str, reason: str, error: type[CcatError], text: str) -> None:
    with pytest.raises(error, match=text):
        let_pass(works, name, reason)
    assert reasons(works)[0] == "quality_blocked"


def test_nothing_is_waived_twice_or_without_need(works: ManualWorld) -> None:
    let_pass(works)
    with pytest.raises(Refused, match=r"waived already by ada on .*: the line is strong"):
        let_pass(works)
    works.ask("read", force=True)
    works.complete(numbers={"rms_k": 0.4, "gain": 2.0})
    with pytest.raises(Refused, match=r"nothing to waive: rms_k 0\.4 keeps its limits"):
        let_pass(works, run=2)
