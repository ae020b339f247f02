"""Replace one of Slurm's programs and misbehave on request: faulty_program.py DIRECTORY PROGRAM [ARGUMENTS]."""

import fcntl
import json
import re
import shutil
import subprocess  # noqa: TID251 - calls the real program
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOST = "Batch job submission failed: Socket timed out on send/recv operation"
DOWN = "Unable to contact slurm controller (connect failure)"
REFUSED = "Batch job submission failed: Invalid partition name specified"
POSTPONED = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)

Answer = tuple[int, str, str]


class Program:
    """One call of one program: the reply of the real one, and the reply given instead."""

    def __init__(self, directory: Path, name: str, arguments: list[str]) -> None:
        self._last_path = directory / f"last-{name}"
        self._name = name
        self._arguments = arguments
        self._real_path = (directory / "real-path").read_text()

    def honest(self) -> Answer:
        """Call the real program; keep a good answer for `stale`."""
        real = shutil.which(self._name, path=self._real_path)
        if real is None:
            return 127, "", f"{self._name}: command not found\n"
        done = subprocess.run([real, *self._arguments], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self._last_path.write_text(done.stdout)
        return done.returncode, done.stdout, done.stderr

    def lose_reply(self) -> Answer:
        """Do it, and say that the connection broke."""
        self.honest()
        return self._error(LOST)

    def hang_after(self) -> Answer:
        """Do it, and never say so."""
        self.honest()
        return self.hang()

    def hang(self) -> Answer:
        """Do nothing, for ever."""
        time.sleep(3600)
        return self._error(DOWN)

    def garble(self) -> Answer:
        """Do it and answer rubbish."""
        return self.honest()[0], "\x00\x7f||?!garbled\n", ""

    def truncate(self) -> Answer:
        """Do it and give half of the answer, as if all were well."""
        code, stdout, _ = self.honest()
        return code, stdout[: len(stdout) // 2], ""

    def stale(self) -> Answer:
        """Answer what the last call answered."""
        return (0, self._last_path.read_text(), "") if self._last_path.exists() else self.honest()

    def empty(self) -> Answer:
        """Do nothing and say nothing, as if all were well."""
        return 0, "", ""

    def refuse(self) -> Answer:
        """Say that the request is wrong."""
        return self._error(REFUSED)

    def postpone(self) -> Answer:
        """Say that a limit is reached."""
        return self._error(POSTPONED)

    def fail(self) -> Answer:
        """Say that the controller does not answer."""
        return self._error(DOWN)

    def slow(self) -> Answer:
        """Do it, late."""
        time.sleep(2)
        return self.honest()

    def other_cluster(self) -> Answer:
        """Answer as another cluster would, which has none of our jobs."""
        if self._name in ("squeue", "sacct"):
            return self.empty()
        code, stdout, stderr = self.honest()
        return code, re.sub(r"(?m)^(ClusterName\s*=\s*).*", r"\g<1>another", stdout), stderr

    def _error(self, message: str) -> Answer:
        return 1, "", f"{self._name}: error: {message}\n"


def fault_of_call(directory: Path, name: str, arguments: list[str]) -> str:
    """Write the call down and return which fault it has; "honest" is none."""
    with (directory / "calls").open("a+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0)
        number = 1 + sum(json.loads(line)["program"] == name for line in log)
        rules: list[dict[str, Any]] = json.loads((directory / "control.json").read_text())
        fault = next((rule["fault"] for rule in rules if _applies(rule, name, number)), "honest")
        line = {"program": name, "number": number, "fault": fault, "arguments": arguments}
        log.write(json.dumps(line) + "\n")
    return str(fault)


def _applies(rule: dict[str, Any], name: str, number: int) -> bool:
    if rule["program"] != name or number <= rule["since"]:
        return False
    ordinal = number - rule["since"]
    return ordinal in rule["calls"] or bool(rule["every"] and ordinal % rule["every"] == 0)


def main() -> int:
    """Answer one call."""
    directory, name, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    answer: Callable[[], Answer] = getattr(
        Program(directory, name, arguments), fault_of_call(directory, name, arguments)
    )
    code, stdout, stderr = answer()
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
