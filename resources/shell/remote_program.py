import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resources.errors import ResourceError, ShellDoubtful
from resources.shell.port import Completed, Shell

_TIMEOUT_SECONDS = 120.0


class RemoteProgram:
    """A stand-alone program of ours on the machine that a shell reaches, installed there under its checksum.

    It answers one JSON object with another. What it is asked must be safe to repeat: a broken line says nothing.
    """

    def __init__(self, shell: Shell, source: Path, directory: Path, python: str, arguments: Sequence[str] = ()) -> None:
        self._shell = shell
        self._text = source.read_bytes()
        self._path = directory / f"{source.stem}-{hashlib.sha256(self._text).hexdigest()[:12]}.py"
        self._command = [python, "-I", "-S", str(self._path), *arguments]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the program's answer; raise ShellUnavailable or ShellDoubtful where there is none.

        It is installed where it does not answer, and sent along where it cannot be: on a disk that is full it still
        has to answer whoever makes room.
        """
        asked = json.dumps(request).encode()
        done = self._run(self._command, asked)
        if _answer(done) is None:
            try:
                self._shell.write(self._path, self._text)
            except ResourceError:
                done = self._run(self._sent_along, self._text + asked)
            else:
                done = self._run(self._command, asked)
        answer = _answer(done)
        if answer is None:
            said = done.stderr.strip()[-300:] or f"{len(done.stdout)} characters that are no answer"
            raise ShellDoubtful(f"{self._shell.host}: {' '.join(self._command)}: exit code {done.exit_code}: {said}")
        return answer

    @property
    def _sent_along(self) -> list[str]:
        text = f"sys.stdin.buffer.read({len(self._text)})"
        names = {"__name__": "__main__", "__file__": str(self._path)}
        python, isolated, without_site, path, *arguments = self._command
        code = f"import sys; exec(compile({text}, {path!r}, 'exec'), {names!r})"
        return [python, isolated, without_site, "-c", code, *arguments]

    def _run(self, command: Sequence[str], stdin: bytes) -> Completed:
        return self._shell.run(command, stdin=stdin, timeout_seconds=_TIMEOUT_SECONDS)


def _answer(done: Completed) -> dict[str, Any] | None:
    """Return what a program answered, None where it did not."""
    with contextlib.suppress(ValueError):
        if done.exit_code == 0:
            return dict(json.loads(done.stdout))
    return None
