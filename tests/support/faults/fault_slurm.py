import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.support.faults.faulty_program import Program

PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
_PROGRAM = Path(__file__).with_name("faulty_program.py")


class Fault(Enum):
    """How a call misbehaves; named as the method of `Program` that does it."""

    LOSE_REPLY = Program.lose_reply.__name__
    HANG_AFTER = Program.hang_after.__name__
    HANG = Program.hang.__name__
    GARBLE = Program.garble.__name__
    TRUNCATE = Program.truncate.__name__
    STALE = Program.stale.__name__
    EMPTY = Program.empty.__name__
    REFUSE = Program.refuse.__name__
    POSTPONE = Program.postpone.__name__
    FAIL = Program.fail.__name__
    SLOW = Program.slow.__name__
    OTHER_CLUSTER = Program.other_cluster.__name__


@dataclass(frozen=True)
class Call:
    """One call that was made: the how-many-th of its program, and what befell it."""

    program: str
    number: int
    fault: Fault | None
    arguments: Sequence[str]


class FaultyCommands:
    """A directory to be first on PATH, whose Slurm programs call the real ones, misbehave on request and count."""

    def __init__(self, directory: Path, real_path: str) -> None:
        self._state = directory / "state"
        self._programs = directory / "bin"
        self._state.mkdir(parents=True)
        self._programs.mkdir()
        (self._state / "real-path").write_text(real_path)
        (self._state / "calls").touch()
        self._rules: list[dict[str, object]] = []
        self.path = f"{self._programs}:{real_path}"
        self.clear()
        for program in PROGRAMS:
            command = shlex.join([sys.executable, "-I", "-S", str(_PROGRAM), str(self._state), program])
            script = self._programs / program
            script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            script.chmod(0o755)

    def inject(self, program: str, fault: Fault, *, calls: Sequence[int] = (), every: int = 0) -> None:
        """Let calls of a program from now on misbehave: the first, third, … (`calls`), or every so many-th."""
        since = self.count()[program]
        rule = {"program": program, "fault": fault.value, "since": since, "calls": list(calls), "every": every}
        self._rules.append(rule)
        self._write()

    def clear(self) -> None:
        """Let all programs behave."""
        self._rules.clear()
        self._write()

    def calls(self) -> list[Call]:
        """Return all calls since the beginning, in their order."""
        lines = map(json.loads, (self._state / "calls").read_text().splitlines())
        return [
            Call(
                line["program"],
                line["number"],
                None if line["fault"] == "honest" else Fault(line["fault"]),
                line["arguments"],
            )
            for line in lines
        ]

    def count(self) -> Counter[str]:
        """Return how often each program was called."""
        return Counter(call.program for call in self.calls())

    def _write(self) -> None:
        control = self._state / "control.json"
        new = control.with_suffix(".new")
        new.write_text(json.dumps(self._rules))
        new.rename(control)
