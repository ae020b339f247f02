"""`python -m benchmarks [--only ID,…]`: measure, print a table, write results.json; nothing passes or fails on time."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import arrival, checksum, closure, mirroring, plan, purge, slurm, standing, startup

BENCHMARKS: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
    "plan": plan.measure,
    "full_gap": standing.full_gap,
    "idle_tick": standing.idle_tick,
    "detect_to_submit": arrival.detect_to_submit,
    "closure": closure.closure,
    "checksum": checksum.checksum,
    "purge_decision": purge.purge_decision,
    "add_partitions": mirroring.add_partitions,
    "startup": startup.startup,
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
    for name in dict.fromkeys(result["id"] for result in results):
        rows = [result for result in results if result["id"] == name]
        metrics = list(dict.fromkeys(key for result in rows for key in result["metrics"]))
        table = Table(title=name, title_justify="left", box=None)
        for column in ("params", *metrics, "floor"):
            table.add_column(column, overflow="fold")
        for result in rows:
            shown = [str(result["metrics"].get(key, "")) for key in metrics]
            table.add_row(_line(result["params"]), *shown, _line(result["floor"]))
        Console(width=180).print(table, "")


def _line(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
