"""`python -m benchmarks [--only ID,…]`: measure, print a table, write results.json; nothing passes or fails on time."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import plan, slurm

BENCHMARKS: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
    "plan": plan.measure,
    "dag21": slurm.dag21,
    "trivial50": slurm.trivial50,
    "submit": slurm.submit,
    "scheduler_calls": slurm.scheduler_calls,
}
RESULTS = Path(__file__).with_name("results.json")


def main(arguments: list[str]) -> int:
    """Run the benchmarks that are named, separated by commas, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default="", help=f"separated by commas: {', '.join(BENCHMARKS)}")
    wanted = [name for name in parser.parse_args(arguments).only.split(",") if name] or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; choose from: {', '.join(BENCHMARKS)}\n")
        return 2
    results = []
    for name in wanted:
        for result in BENCHMARKS[name]():
            results.append({"id": name, **result})
            sys.stderr.write(f"{name} {result['params']}: {result['metrics']}\n")
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [result for result in before if result["id"] not in wanted]
    RESULTS.write_text(json.dumps(kept + results, indent=1) + "\n")
    _print(results)
    return 0


def _print(results: list[dict[str, Any]]) -> None:
    metrics = list(dict.fromkeys(key for result in results for key in result["metrics"]))
    table = Table(title="Benchmarks", box=None)
    for column in ("id", "params", *metrics, "floor"):
        table.add_column(column, overflow="fold")
    for result in results:
        params = ", ".join(f"{key}={value}" for key, value in result["params"].items())
        floor = ", ".join(f"{key}={value}" for key, value in result["floor"].items())
        shown = [str(result["metrics"].get(key, "")) for key in metrics]
        table.add_row(result["id"], params, *shown, floor)
    Console(width=180).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
