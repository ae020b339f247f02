from collections import Counter
from collections.abc import Sequence

from resources.shell.port import Completed, Shell

# Slurm's commands read filters and options from the environment (SQUEUE_PARTITION, SBATCH_TIMELIMIT, SLURM_CLUSTERS,
# etc.). These override a script's own lines and silently shorten lists, so the environment is emptied. `timeout` ends
# a command on the machine where it runs, also after our connection to that is lost.
_ALL_BUT_EMPTY = (
    'exec env -i PATH="$PATH" HOME="${HOME-/}" USER="${USER-}" ${SLURM_CONF+"SLURM_CONF=$SLURM_CONF"}'
    ' SLURM_BITSTR_LEN=0 SLURM_TIME_FORMAT=standard timeout -k 5 "$@"'
)
_LINE_SECONDS = 15.0


class Commands:
    """Runs Slurm's programs on the machine that a shell reaches, and counts the calls."""

    def __init__(self, shell: Shell, timeout_seconds: int) -> None:
        self._shell = shell
        self._timeout_seconds = timeout_seconds
        self.calls: Counter[str] = Counter()

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> Completed:
        """Run a program and return its output and exit code; 124 means that `timeout` ended it."""
        self.calls[program] += 1
        words: Sequence[str] = ["/bin/sh", "-c", _ALL_BUT_EMPTY, "sh", str(self._timeout_seconds), program, *arguments]
        return self._shell.run(words, stdin=stdin, timeout_seconds=self._timeout_seconds + _LINE_SECONDS)
