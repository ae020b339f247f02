from collections import Counter
from dataclasses import replace

import pytest

from ccat_models.tables.execution import FailureClass
from ccat_models.tables.space import SpaceState
from resources.watermarks import Amount, Watermarks
from tests.space.tiny import Tiny

MB = 1_000_000


def limited(tiny: Tiny, limit_bytes: int) -> list[int]:
    """Limit the location's room; return a list of what lies there whenever the holder of the lease passes a border."""
    seen: list[int] = []

    def passing(border: str) -> None:
        if border != "lease taken":
            files = tiny.cluster.base.glob("letters/*/*/run-*/attempt-*/workspace/*/bulk.dat")
            seen.append(sum(path.stat().st_size for path in files))

    tiny.cluster = replace(tiny.cluster, watermarks=Watermarks(limit_bytes), passing=passing)
    return seen


def test_more_is_made_than_there_is_room_for(embedded: Tiny) -> None:
    embedded.declare(*range(8), join="", bulk=f"read: {MB}")
    seen = limited(embedded, 3 * MB)
    outcome = embedded.run()
    assert outcome.failed == []
    assert MB <= max(seen) <= 3 * MB
    assert embedded.called() == Counter([f"{s} scan-{n}" for s in ("read", "clean") for n in range(8)] + ["join "])
    assert embedded.state("read").count(SpaceState.PURGED) >= 5
    assert embedded.text("join", "all").count("counts") == 8
    embedded.check_disk()


def test_a_run_that_nothing_makes_room_for_fails_and_says_so(embedded: Tiny) -> None:
    embedded.declare(0, 1, bulk=f"read: {MB}")
    limited(embedded, 3 * MB)
    embedded.run()
    embedded.declare(2, bulk=f"read: {MB}, clean: {4 * MB}")
    limited(embedded, MB // 2)
    failed = embedded.run().failed
    assert failed
    run = embedded.run_row(failed[0])
    assert run.failure_class is FailureClass.STAGING
    assert run.failure_message is not None
    assert run.failure_message.startswith("no room: ")
    assert f"of {MB // 2} are free" in run.failure_message


@pytest.mark.parametrize(
    ("text", "whole", "found"),
    [("200 MB", 0, 200 * MB), ("1.5 GiB", 0, 3 * 2**29), ("90%", 1000, 900), ("0 B", 5, 0), ("100 %", 7, 7)],
)
def test_amounts(text: str, whole: int, found: int) -> None:
    assert Amount.parse(text).of(whole) == found
