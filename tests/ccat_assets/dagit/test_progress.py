from ccat_assets.dagit.progress import Progress
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import RunStatus

FIRST, SECOND, THIRD = (RunId(number) for number in (1, 2, 3))


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_line_is_written_when_something_changed_and_not_more_often_than_every_ten_seconds() -> None:
    lines: list[str] = []
    clock = _Clock()
    progress = Progress(lines.append, clock)
    progress({})
    assert lines == []
    progress({FIRST: RunStatus.RUNNING, SECOND: RunStatus.PENDING})
    assert lines == ["0 of 2 runs have ended: 1 PENDING, 1 RUNNING"]
    clock.seconds = 9.9
    progress({FIRST: RunStatus.COMPLETED})
    assert len(lines) == 1
    clock.seconds = 10.1
    progress({SECOND: RunStatus.FAILED, THIRD: RunStatus.RUNNING})
    assert lines[1:] == ["2 of 3 runs have ended: 1 RUNNING, 1 COMPLETED, 1 FAILED"]
    clock.seconds = 60
    progress({THIRD: RunStatus.RUNNING})
    assert len(lines) == 2
