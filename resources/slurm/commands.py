from collections import Counter
from collections.abc import Sequence

from resources.shell.port import Completed, Shell

# Slurm's commands take filters and options from the environment (SQUEUE_PARTITION, SBATCH_TIMELIMIT, SLURM_CLUSTERS,
# etc.), which outrank a script's own lines and would silently shorten a list: none gets through. `timeout` ends a
# command on the machine where it runs, so that none is still at work when its line is long given up.
_ALL_BUT_EMPTY = (
    'exec env -i PATH="$PATH" HOME="${HOME-/}" USER="${USER-}" ${SLURM_CONF+"SLURM_CONF=$SLURM_CONF"}'
    ' SLURM_BITSTR_LEN=0 SLURM_TIME_FORMAT=standard timeout -k 5 "$@"'
)
_LINE_SECONDS = 15.0


class Commands:
    """Runs Slurm's programs on a machine that has them, and counts the calls."""

    def __init__(self, shell: Shell, timeout_seconds: int) -> None:
        self._shell = shell
        self._timeout_seconds = timeout_seconds
        self.calls: Counter[str] = Counter()

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> Completed:
        """Run a program to its end; exit code 124 where `timeout` ended it."""
        self.calls[program] += 1
        words: Sequence[str] = ["/bin/sh", "-c", _ALL_BUT_EMPTY, "sh", str(self._timeout_seconds), program, *arguments]
        return self._shell.run(words, stdin=stdin, timeout_seconds=self._timeout_seconds + _LINE_SECONDS)
