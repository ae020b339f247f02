"""`python -m benchmarks.faults [OPTIONS]`: run the fault suite, print what each fault did, write faults.json.

The options are those of pytest, whose exit code this ends with; where it was content but less than `LEAST_FAULTS` were
tried, lost or duplicated anything, or ended wrongly, it ends with 1.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.faults.fault_table import COLUMNS

RESULTS = Path(__file__).with_name("faults.json")
ROOT = Path(__file__).parents[1]
LEAST_FAULTS = 300
Rows = Mapping[str, Mapping[str, int]]


def main(arguments: list[str]) -> int:
    """Run the suite and show its table; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="ccat-faults-") as directory:
        command = [sys.executable, "-m", "pytest", "tests/faults", "-n", "2", "--fault-table", directory, *arguments]
        exit_code = subprocess.run(command, cwd=ROOT, check=False).returncode
        rows = merged(json.loads(path.read_text()) for path in sorted(Path(directory).glob("*.json")))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=140).print(table(rows))
    complaints = [] if arguments else complaints_about(rows["total"])  # with options, it may be a part of the suite
    Console(width=140, stderr=True).print(*complaints, sep="\n")
    return exit_code or int(bool(complaints))


def complaints_about(total: Mapping[str, int]) -> list[str]:
    """Return why the whole suite has not shown what it is there to show."""
    few = [f"{total['tried']} faults were tried, of at least {LEAST_FAULTS}"] if total["tried"] < LEAST_FAULTS else []
    return few + [f"{total[bad]} {bad}" for bad in ("lost", "duplicated", "wrong") if total[bad]]


def merged(parts: Iterable[Rows]) -> dict[str, dict[str, int]]:
    """Return the sum of the tables that the workers left, a line for each fault and the total at the end."""
    sums: dict[str, Counter[str]] = {}
    for part in parts:
        for fault, row in part.items():
            sums.setdefault(fault, Counter()).update(row)
    sums = dict(sorted(sums.items()))
    sums["total"] = sum(sums.values(), Counter())
    return {fault: {column: row[column] for column in COLUMNS} for fault, row in sums.items()}


def table(rows: Rows) -> Table:
    """Return what is shown."""
    shown = Table(title="Faults", box=None)
    shown.add_column("fault")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    for fault, row in rows.items():
        shown.add_row(fault, *(str(row[column]) for column in COLUMNS), style="bold" if fault == "total" else None)
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
