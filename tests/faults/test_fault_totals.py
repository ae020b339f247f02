"""What the whole suite has to have shown."""

from benchmarks.faults import LEAST_FAULTS, complaints_about, merged

ROW = {"tried": 200, "attempts": 5, "executions": 5, "lost": 0, "duplicated": 0, "wrong": 0}


def test_a_suite_that_tried_enough_and_lost_nothing_is_in_order() -> None:
    assert LEAST_FAULTS == 300
    assert complaints_about(merged([{"a": ROW}, {"b": ROW}])["total"]) == []


def test_a_suite_that_tried_too_little_or_lost_anything_is_not() -> None:
    assert complaints_about(ROW) == ["200 faults were tried, of at least 300"]
    total = merged([{"a": ROW | {"lost": 1}}, {"a": ROW | {"wrong": 2}}])["total"]
    assert complaints_about(total) == ["1 lost", "2 wrong"]
