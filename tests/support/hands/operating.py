"""A user who types commands, each in a process of its own."""

import json
import os
import subprocess  # noqa: TID251 - tests start real programs
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ccat_models.tables.execution import Attempt
from resources.ops_db import OpsDb
from tests.support.hands.provenance_checks import assert_products_answer

CCAT = Path(sys.executable).with_name("ccat")
COMPARED = ("science", "qa_metric", "statistics", "plot")
IMPATIENT = {
    "POLL_SECONDS": "0.2",
    "OBSERVE_SECONDS": "0.5",
    "LOST_AFTER_SECONDS": "5",
    "RESEND_AFTER_SECONDS": "2",
    "ALIVE_SECONDS": "5",
    "LOCAL_SLOTS": "2",
}


@dataclass(frozen=True)
class Observation:
    """Raw data of one example, and the command that ingests them."""

    pipeline: str
    example: str
    ingest: tuple[str | Path, ...]
    created: Mapping[str, int]


@dataclass(frozen=True)
class Operator:
    """A user who types commands, with a CCAT_HOME and settings of their own."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def ccat(self, *words: str | Path) -> Any:
        """Type a command that must succeed; return its output, parsed as JSON."""
        return json.loads(self.say(*words, "--json"))

    def say(self, *words: str | Path) -> str:
        """Type a command that must succeed; return what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
        chosen = {f"CCAT_{name}": value for name, value in {**IMPATIENT, **self.settings}.items()}
        done = subprocess.run(
            [CCAT, *words],
            env={**kept, **chosen, "CCAT_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answer_for_products(self, pipeline: str, scratch: Path) -> None:
        """Export the provenance of every product of the pipeline, and reproduce each."""

        def ccat(*words: str | Path) -> Any:
            said = self.say(*words)
            return json.loads(said) if "--json" in words else said

        assert_products_answer(ccat, self.home / "ops.sqlite", pipeline, scratch)

    def work(self, observed: Observation, declaration: Path) -> Any:
        """Let the data arrive, declare the pipeline and run all of it."""
        self.ccat("init")
        self.ccat("ingest", *observed.ingest)
        self.ccat("pipeline", "apply", declaration)
        return self.ccat("run", observed.pipeline, "--no-publish")

    def products(self, pipeline: str) -> dict[tuple[str, str, str], str]:
        """Return the checksums of the products by step, sub-group and path."""
        rows = self.ccat("products", pipeline, "--limit", "1000")
        return {(row["step"], row["sub_group"], row["path"]): row["sha256"] for row in rows if row["type"] in COMPARED}

    def attempts(self) -> list[Attempt]:
        """Return all attempts that ops-db knows."""
        database = OpsDb(f"sqlite:///{self.home / 'ops.sqlite'}")
        with database.read() as session:
            found = list(session.scalars(sa.select(Attempt).order_by(Attempt.id)))
        database.close()
        return found
