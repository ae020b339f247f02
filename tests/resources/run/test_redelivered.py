"""Runs whose package is delivered again with other content before they have read it."""

from ccat_models.tables.execution import FailureClass
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld


def test_a_run_does_not_read_what_it_was_not_requested_for(bench: TickedWorld) -> None:
    bench.declare("early", "other", retries=NO_RETRIES)
    bench.works.request()
    bench.works.observatory.scan(0, "late")
    assert sorted(bench.until_ended()) == ["COMPLETED", "FAILED"]
    (failed,) = [attempt for attempt in bench.attempts() if attempt.failure_class is not None]
    message = "package scan-0: was delivered again with other content since the run was requested"
    assert failed.failure_class is FailureClass.STAGING
    assert message in (failed.failure_message or "")
    bench.works.request()
    bench.until_ended()
    assert bench.works.reasons("read") == {"scan-0": "up_to_date", "scan-1": "up_to_date"}
