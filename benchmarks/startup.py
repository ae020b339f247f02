"""`startup`: the CPU time of commands that are typed often, beside that of `import dagster` in the same place."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROUNDS = 7  # in each of which everybody starts once; of which the median is shown
AT_ONCE, READING = 0.15, 0.60  # of what Dagster takes, at most
_DAGSTER = (sys.executable, "-c", "import dagster")
_CCAT = str(Path(sys.executable).with_name("ccat"))
_QUESTION = {"COMP_WORDS": "ccat pi", "COMP_CWORD": "1", "_CCAT_COMPLETE": "complete_bash"}
_SCRIPT = {"_CCAT_COMPLETE": "source_bash"}

# what is started, with what in its environment, and how much it may take
COMMANDS: Mapping[str, tuple[Sequence[str], Mapping[str, str], float]] = {
    "ccat --help": ((_CCAT, "--help"), {}, AT_ONCE),
    "ccat --version": ((_CCAT, "--version"), {}, AT_ONCE),
    "completion": ((_CCAT,), _QUESTION, AT_ONCE),
    "completion's script": ((_CCAT,), _SCRIPT, AT_ONCE),
    "ccat runs": ((_CCAT, "runs"), {}, READING),
    "ccat why": ((_CCAT, "why", "letters"), {}, READING),
    "ccat products": ((_CCAT, "products"), {}, READING),
    "ccat lineage": ((_CCAT, "lineage", "letters/join/source=source-1"), {}, READING),
}


def startup() -> Iterable[dict[str, Any]]:
    """Yield the CPU seconds of each command, their ratio to Dagster's, and whether that keeps the limit."""
    with tempfile.TemporaryDirectory(prefix="ccat-startup-") as directory:
        environment = {**_small_world(Path(directory)), "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        seconds: dict[str, list[float]] = {name: [] for name in ("import dagster", *COMMANDS)}
        for number in range(ROUNDS + 1):  # the first of all compiles
            for name, times in seconds.items():
                words, more, _ = COMMANDS.get(name, (_DAGSTER, {}, 1.0))
                taken = _cpu_seconds(words, {**environment, **more})
                if number:
                    times.append(taken)
    dagster = statistics.median(seconds["import dagster"])
    yield {"params": {"what": "import dagster"}, "metrics": {"cpu_s": round(dagster, 3)}, "floor": {}}
    for name, (_, _, limit) in COMMANDS.items():
        taken = statistics.median(seconds[name])
        verdict = "kept" if taken <= limit * dagster else "exceeded"
        metrics = {"cpu_s": round(taken, 3), "ratio": round(taken / dagster, 3), "verdict": verdict}
        yield {"params": {"what": name}, "metrics": metrics, "floor": {"ratio at most": limit}}


def _small_world(directory: Path) -> dict[str, str]:
    """Run a pipeline on three scans; return the environment of who looks at it."""
    from tests.support.hands.cli import Terminal  # noqa: PLC0415 - only this benchmark needs it

    terminal = Terminal(directory)
    terminal.ok("init")
    said = terminal.work("a", "b", "c")
    if said.code:
        raise ValueError(said.err)
    kept = {name: value for name, value in os.environ.items() if "CCAT_" not in name}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as in anybody's installation
    return {**kept, **terminal.environment}


def _cpu_seconds(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the user and system seconds of a process and its children; it must end well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
