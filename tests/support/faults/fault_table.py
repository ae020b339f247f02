"""What faults did: collected over the whole fault suite, printed and written where it is asked for."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

COLUMNS = ("tried", "attempts", "executions", "lost", "duplicated", "wrong")


@dataclass
class FaultTable:
    """Counts by fault: how often it was tried, and what became of the attempts that it struck."""

    rows: dict[str, Counter[str]] = field(default_factory=dict)

    def add(
        self,
        fault: str,
        executions: Mapping[str, int],
        expected: Mapping[str, int],
        statuses: Sequence[str] | Mapping[str, int],
        expected_statuses: Sequence[str] | Mapping[str, int],
        tried: int = 1,
    ) -> None:
        """Add one history: executions by attempt, how the runs ended, and what both should have been."""
        row = self.rows.setdefault(fault, Counter(dict.fromkeys(COLUMNS, 0)))
        row["tried"] += tried
        row["attempts"] += len(expected)
        row["executions"] += sum(executions.values())
        row["lost"] += sum(executions.get(attempt, 0) < number for attempt, number in expected.items())
        row["duplicated"] += sum(number > expected.get(attempt, 0) for attempt, number in executions.items())
        row["wrong"] += statuses != expected_statuses

    def write(self, directory: Path, worker: str) -> None:
        """Leave the rows of this worker for the process that puts them together."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{worker}.json").write_text(json.dumps(self.rows, indent=1, sort_keys=True) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the directory into which each worker writes its part of the table."""
    parser.addoption("--fault-table", default=None, metavar="DIRECTORY", help="where to leave what faults did")


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> Iterator[FaultTable]:
    """Give the table of this session; with --fault-table DIRECTORY it is left there."""
    table = FaultTable()
    yield table
    directory = request.config.getoption("--fault-table")
    if directory:
        table.write(Path(directory), getattr(request.config, "workerinput", {}).get("workerid", "main"))
