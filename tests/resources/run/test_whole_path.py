from collections import Counter
from pathlib import Path

import pytest

from ccat_models.gap.reasons import Reason
from ccat_models.lineage.closure import lineage_of
from ccat_models.product.listing import find_run_of
from ccat_models.run.listing import history_of
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.observatory import ObservatoryWorld

pytestmark = pytest.mark.slow

OPTIONS = RequestOptions(by="test", patient=True)


def calls_of(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def test_from_archived_packages_to_products_with_lineage(
    observatory: ObservatoryWorld, attached: Attached, code: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    for number in range(4):
        observatory.scan(number)
    observatory.declare(pipeline_yaml(calls), code)
    outcome = attached.run_pipeline("letters", OPTIONS)
    assert outcome.created == {"read": 4, "clean": 4, "join": 2}
    assert outcome.failed == []
    assert calls_of(calls) == {
        f"{step} executed_obs_unit=scan-{n} 1": 1 for step in ("read", "clean") for n in range(4)
    } | {f"join source=source-{n} 1": 1 for n in (1, 2)}

    with observatory.ops_db.read() as session:
        run = find_run_of(session, "letters/join/source=source-1/science/text.txt")
        lineage = lineage_of(session, run)
        assert sorted(p.name for read in lineage.packages.values() for p in read) == ["scan-0", "scan-2"]
        assert len(lineage.runs) == 5
        assert [to for _, to, _ in history_of(session, run)] == [
            "PENDING",
            "STAGING_DATA",
            "SUBMITTED",
            *(["RUNNING"] if len(history_of(session, run)) == 6 else []),
            "COLLECTING_RESULTS",
            "COMPLETED",
        ]

    again = attached.run_pipeline("letters", OPTIONS)
    assert sum(again.created.values()) == 0
    assert all(not answer.held for answer in again.last.values())
    assert len(again.last["read"].up_to_date) == 4


def test_only_sub_groups_of_new_scans_are_run(
    observatory: ObservatoryWorld, attached: Attached, code: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    for number in range(4):
        observatory.scan(number)
    observatory.declare(pipeline_yaml(calls), code)
    attached.run_pipeline("letters", OPTIONS)
    calls.unlink()
    observatory.scan(4)
    outcome = attached.run_pipeline("letters", OPTIONS)
    assert outcome.created == {"read": 1, "clean": 1, "join": 1}
    assert set(calls_of(calls)) == {
        "read executed_obs_unit=scan-4 1",
        "clean executed_obs_unit=scan-4 1",
        "join source=source-1 1",
    }


def test_failures_are_retried_within_their_class_and_then_held(
    observatory: ObservatoryWorld, attached: Attached, code: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    observatory.scan(0, "exit 3 once")
    observatory.scan(1, "exit 65")
    observatory.scan(2, "exit 3")
    observatory.scan(3)
    observatory.declare(pipeline_yaml(calls), code)
    outcome = attached.run_pipeline("letters", OPTIONS)
    attempts = Counter(line.rsplit(" ", 1)[0] for line in calls.read_text().splitlines() if line.startswith("read"))
    assert attempts == {f"read executed_obs_unit=scan-{n}": c for n, c in enumerate([2, 1, 2, 1])}
    assert outcome.last["read"].held == {
        "executed_obs_unit=scan-1": Reason.RETRIES_EXHAUSTED,
        "executed_obs_unit=scan-2": Reason.RETRIES_EXHAUSTED,
    }
    assert outcome.last["join"].held == {
        "source=source-1": Reason.WAITING_FOR_UPSTREAM,
        "source=source-2": Reason.WAITING_FOR_UPSTREAM,
    }
