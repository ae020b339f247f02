import contextlib
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from resources.errors import ResourceError, ShellDoubtful
from resources.node import zipapp
from resources.shell.port import Completed, Shell

PROGRAM_DIRECTORY = ".program"  # below a workspace's base
_TIMEOUT_SECONDS = 120.0


@cache
def program_name() -> str:
    """Return the file name of the remote program (`resources.node`); it has the checksum of the content."""
    return f"node-{hashlib.sha256(zipapp.content()).hexdigest()[:12]}.pyz"


def program_path(base: Path) -> Path:
    """Return where the program is installed below a workspace's base; other versions have other names there."""
    return base / PROGRAM_DIRECTORY / program_name()


def program_command(python: str, program: Path, *words: str) -> list[str]:
    """Return the command that runs the sub-command in `words` of an installed program."""
    return [python, "-I", "-S", str(program), *words]


class RemoteProgram:
    """The program on the machine that a shell reaches, installed there below a workspace's base.

    Its sub-commands answer a JSON object with another. Requests must be safe to repeat: if the connection breaks, it is
    unknown whether they were carried out.
    """

    def __init__(self, shell: Shell, base: Path, python: str) -> None:
        self._shell = shell
        self._path = program_path(base)
        self._python = python

    def ask(self, words: Sequence[str], request: dict[str, Any]) -> dict[str, Any]:
        """Return a sub-command's answer; raise ShellUnavailable or ShellDoubtful where there is none.

        If the program does not answer, it is installed first. If that fails, it is sent along on stdin: on a full disk,
        requests that free space must still work.
        """
        command, asked = program_command(self._python, self._path, *words), json.dumps(request).encode()
        done = self._run(command, asked)
        if _answer(done) is None:
            try:
                self._shell.write(self._path, zipapp.content())
            except ResourceError:
                sent, program = zipapp.sent_command(self._python, list(words))
                done = self._run(sent, program + asked)
            else:
                done = self._run(command, asked)
        answer = _answer(done)
        if answer is None:
            detail = done.stderr.strip()[-300:] or f"{len(done.stdout)} characters that are no answer"
            raise ShellDoubtful(f"{self._shell.host}: {' '.join(command)}: exit code {done.exit_code}: {detail}")
        return answer

    def _run(self, command: Sequence[str], stdin: bytes) -> Completed:
        return self._shell.run(command, stdin=stdin, timeout_seconds=_TIMEOUT_SECONDS)


def _answer(done: Completed) -> dict[str, Any] | None:
    """Return a program's answer, None if it failed or its output is not a JSON object."""
    with contextlib.suppress(ValueError):
        if done.exit_code == 0:
            return dict(json.loads(done.stdout))
    return None
