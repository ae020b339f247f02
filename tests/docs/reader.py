"""A reader that executes what the pages say, in a directory that is laid out like a checkout."""

import os
import re
import shlex
import subprocess  # noqa: TID251 - types commands as people do
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path

from ccat_assets.wiring.settings import load
from tests.docs.fragments import check_json, check_yaml
from tests.docs.pages import ROOT, Block
from tests.support.hands.cli import Said, Terminal
from tests.support.parts.tree import PROGRAMS

_SHELL = re.compile(r"[|&;<>$`*(]")  # a command without these means the same without a shell
ELLIPSIS = "…"


class Differs(AssertionError):
    """Raise where a page says something else than what happens."""


class Reader:
    """Reads pages from the top and does what their blocks say; files are made where they say so."""

    def __init__(self, base: Path) -> None:
        self.terminal = Terminal(base)
        # these programs take seconds: to look more often only takes time from them
        self.terminal.environment["CCAT_POLL_SECONDS"] = "0.2"
        self.directory = base
        self.terminal.home.mkdir(parents=True)
        (base / ".ccat").symlink_to(self.terminal.home)
        (base / "examples").symlink_to(ROOT / "examples")

    def read(self, block: Block) -> None:
        """Do what a block says; raise Differs, naming its place, where it does not hold."""
        if block.marker == "not run":
            return
        if block.marker == "file":
            (self.directory / block.value).write_text(block.text, encoding="utf-8")
            return
        kinds: Mapping[str, Callable[[Block], None]] = {
            "console": self._session,
            "sh": self._script,
            "python": self._python,
            "yaml": lambda block: check_yaml(block.text, block.place),
            "json": lambda block: check_json(block.text, block.place),
            "toml": self._settings,
            "text": _nothing,
            "{toctree}": _nothing,
        }
        if block.language not in kinds:
            raise Differs(f"{block.place}: unknown language {block.language!r}; say text, or why it is not run")
        kinds[block.language](block)

    def _python(self, block: Block) -> None:
        self._check(block, self._typed([sys.executable, "-c", block.text]), "")

    def _settings(self, block: Block) -> None:
        file = self.directory / "settings.toml"
        file.write_text(block.text, encoding="utf-8")
        load({"CCAT_SETTINGS_FILE": str(file)})

    def _script(self, block: Block) -> None:
        for command in _joined(block.text):
            self._check(block, self._do(command), "")

    def _session(self, block: Block) -> None:
        for command, claim in sessions(block.text):
            self._check(block, self._do(command), claim, f"$ {command}\n")

    def _do(self, command: str) -> Said:
        words = shlex.split(command, comments=True)
        if words[0] == "cd":
            self.directory = (self.directory / words[1]).resolve()
            return Said(0, "", "")
        if words[0] == "ccat" and not _SHELL.search(command):
            with chdir(self.directory):
                return self.terminal.ccat(*words[1:])
        return self._typed(["bash", "-euo", "pipefail", "-c", command])

    def _typed(self, command: list[str]) -> Said:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
        environment = kept | self.terminal.environment | {"PYTHONPATH": str(ROOT)}
        environment["PATH"] = f"{PROGRAMS}:{kept['PATH']}"
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def _check(self, block: Block, said: Said, claim: str, what: str = "") -> None:
        expected = int(block.value) if block.marker == "exit code" else 0
        if said.code != expected:
            raise Differs(f"{block.place}: {what}exit code {said.code}, not {expected}\n{said.out}{said.err}")
        shown = said.out if said.out.strip() else said.err
        if claim and not agrees(claim, shown):
            raise Differs(f"{block.place}: {what}--- the page says\n{claim}\n--- but it says\n{shown}")


def sessions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a terminal session with the output that is claimed."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, claim = part.replace("\\\n", " ").partition("\n")
        yield command, claim.strip("\n")


def agrees(claim: str, output: str) -> bool:
    """Say whether an output is what was claimed: `…` matches anything, alone on a line for any lines."""
    pattern = ""
    for line in _tidy(claim):
        if line == ELLIPSIS:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.split(ELLIPSIS)) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _tidy(output))) is not None


def _tidy(text: str) -> list[str]:
    """Return the lines with something on them, blanks between words made one."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _nothing(block: Block) -> None:
    """Do nothing: a block of text has nothing to execute."""


def _joined(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
