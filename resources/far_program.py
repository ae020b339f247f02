import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resources.errors import ShellDoubtful
from resources.shell import Shell

_TIMEOUT_SECONDS = 120.0


class FarProgram:
    """A stand-alone program of ours on the machine that a shell reaches, installed there under its checksum.

    It answers one JSON object with another. What it is asked must be safe to repeat: a broken line says nothing.
    """

    def __init__(self, shell: Shell, source: Path, directory: Path, python: str, arguments: Sequence[str] = ()) -> None:
        self._shell = shell
        self._text = source.read_bytes()
        self._path = directory / f"{source.stem}-{hashlib.sha256(self._text).hexdigest()[:12]}.py"
        self._command = [python, "-I", "-S", str(self._path), *arguments]
        self._installed = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the program's answer; raise ShellUnavailable or ShellDoubtful where there is none."""
        if not self._installed:
            self._shell.write(self._path, self._text)
            self._installed = True
        done = self._shell.run(self._command, stdin=json.dumps(request).encode(), timeout_seconds=_TIMEOUT_SECONDS)
        try:
            if done.exit_code == 0:
                return dict(json.loads(done.stdout))
        except ValueError:
            pass
        self._installed = False  # somebody may have cleaned up
        said = done.stderr.strip()[-300:] or f"{len(done.stdout)} characters that are no answer"
        raise ShellDoubtful(f"{self._shell.host}: {' '.join(self._command)}: exit code {done.exit_code}: {said}")
