"""The command line in this process: what people type, what they see, and a home of their own."""

import io
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from ccat_assets.cli import main
from ccat_models.tables import Base
from resources.ops_db import OpsDb
from tests.support.programs.tiny import pipeline_yaml, write_programs

SECONDS = {"POLL_SECONDS": "0.02", "LOST_AFTER_SECONDS": "1", "RESEND_AFTER_SECONDS": "0.5", "LOCAL_SLOTS": "4"}
NOON = "2026-04-01T12:00:00Z"
ANY_PIPELINE = "letters"


@dataclass(frozen=True)
class Said:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output as JSON."""
        return json.loads(self.out)


@dataclass
class Terminal:
    """A user at a terminal whose CCAT_HOME is a directory of this test."""

    base: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment |= {"CCAT_HOME": str(self.home), "CCAT_USER": "ada"}
        self.environment |= {f"CCAT_{name}": value for name, value in SECONDS.items()}

    @property
    def home(self) -> Path:
        """Return CCAT_HOME."""
        return self.base / "home"

    @property
    def archive(self) -> Path:
        """Return the folder that scans arrive in."""
        return self.base / "archive"

    @property
    def calls(self) -> Path:
        """Return the file in which the programs count themselves."""
        return self.base / "calls"

    @property
    def file(self) -> Path:
        """Return the pipeline's YAML."""
        return self.base / "code" / "letters.yaml"

    def ccat(self, *words: str | Path | int, **environment: str) -> Said:
        """Type a command; return its exit code and output."""
        out, err = io.StringIO(), io.StringIO()
        arguments = ["ccat", *map(str, words)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
        with _restored(), patch.dict(os.environ, {**kept, **self.environment, **environment}, clear=True):  # noqa: TID251
            with patch.object(sys, "argv", arguments), redirect_stdout(out), redirect_stderr(err):
                code = _exit_code()
        return Said(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str | Path | int, **environment: str) -> Said:
        """Type a command that must end well."""
        said = self.ccat(*words, **environment)
        assert said.code == 0, f"{words}: {said}"
        return said

    def json(self, *words: str | Path | int) -> Any:
        """Type a command that must end well and answer in JSON."""
        return self.ok(*words, "--json").json

    def refused(self, *words: str | Path | int, **environment: str) -> str:
        """Type a command that must be refused with a message and nothing changed; return the message."""
        before = self.dump()
        said = self.ccat(*words, **environment)
        assert (said.code, said.out) == (1, ""), f"{words}: {said}"
        assert said.err.startswith("error: "), said.err
        assert self.dump() == before
        return said.err.removeprefix("error: ").rstrip("\n")

    def dump(self) -> Mapping[str, Any]:
        """Return every row of every table."""
        database = OpsDb(f"sqlite:///{self.home / 'ops.sqlite'}")
        with database.read() as session:
            rows = {
                table.name: sorted((tuple(row) for row in session.execute(sa.select(table))), key=repr)
                for table in Base.metadata.sorted_tables
            }
        database.close()
        return rows

    def observe(self, *contents: str) -> Path:
        """Put a scan of each content into the archive with its catalogue; scan n observes source n modulo 2."""
        for number, content in enumerate(contents):
            path = self.archive / f"scan-{number}" / "scan.dat"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"scan-{number} {content}\n")
        self.write_catalogue(catalogue(len(contents)))
        return self.archive

    def write_catalogue(self, content: Any) -> None:
        """Write a catalogue of the archive."""
        self.archive.mkdir(exist_ok=True)
        (self.archive / "catalogue.json").write_text(json.dumps(content))

    def declare(self, **changes: str) -> Path:
        """Write the pipeline `letters` and apply it."""
        write_programs(self.file.parent)
        self.file.write_text(pipeline_yaml(self.calls, **changes))
        self.ok("pipeline", "apply", self.file)
        return self.file

    def work(self, *contents: str, **changes: str) -> Said:
        """Let scans arrive, declare the pipeline and run it."""
        self.ok("ingest", self.observe(*contents))
        self.declare(**changes)
        return self.ccat("run", ANY_PIPELINE, "--no-publish")

    def called(self) -> list[str]:
        """Return what the programs were called for, in order of names."""
        return sorted(self.calls.read_text().splitlines()) if self.calls.exists() else []


def open_terminal(base: Path, template: Path) -> Terminal:
    """Return the terminal of a user who has done `ccat init`; only the first call makes Dagster's databases."""
    terminal = Terminal(base)
    terminal.home.mkdir(parents=True)
    shutil.copyfile(template, terminal.home / "ops.sqlite")
    dagster, made = terminal.home / "dagster", template.with_name("dagster")
    if made.is_dir():
        shutil.copytree(made, dagster)
    terminal.ok("init")
    if not made.is_dir():
        shutil.copytree(dagster, made)
    return terminal


def catalogue(scans: int) -> dict[str, Any]:
    """Return a catalogue of two sources and so many scans, one package of one file each."""
    names = [f"scan-{number}" for number in range(scans)]
    unit = {"line": "CO43", "obs_mode": "OTF", "observing_program": "GEco"}
    return {
        "schema_version": 1,
        "observatory": {"name": "CCAT Observatory"},
        "telescope": {"name": "FYST", "altitude_m": 5612.0},
        "instruments": [{"name": "CHAI", "modules": [{"name": "CHAI"}]}],
        "observing_programs": [{"short_name": "GEco"}],
        "sources": [
            {"kind": "fixed_source", "name": f"source-{n}", "ra_deg": 10.0 * n, "dec_deg": 0.0} for n in (1, 2)
        ],
        "lines": [{"id": "CO43", "name": "CO(4-3)", "rest_frequency_ghz": 461.04}],
        "obs_modes": [{"name": "OTF"}],
        "obs_units": [{"name": f"unit-{n}", "source": f"source-{n}", **unit} for n in (1, 2)],
        "executed_obs_units": [
            {"name": name, "obs_unit": f"unit-{1 + number % 2}", "start_time": NOON, "end_time": NOON}
            for number, name in enumerate(names)
        ],
        "packages": [
            {"name": name, "executed_obs_unit": name, "instrument_module": "CHAI", "path": name, "created_at": NOON}
            for name in names
        ],
    }


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


@contextmanager
def _restored() -> Iterator[None]:
    """Give the process its signals and its logging back."""
    handler, handlers = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        logging.getLogger().handlers[:] = handlers
