"""The report on the second execution of a run."""

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ccat_models.contract.result import Result
from ccat_models.lineage.completed import CompletedRun
from ccat_models.run.briefing import RunBriefing
from ccat_models.tables.base import RunId
from resources.product.comparison import FileComparison


class Outcome(Enum):
    """How the second execution of a run went."""

    IDENTICAL = "identical"
    DIFFERS = "differs"
    FAILED = "failed"  # it did not complete
    CANNOT = "cannot be reproduced"


@dataclass(frozen=True)
class Surroundings:
    """Where and how an attempt was executed, by its result."""

    host: str | None
    runtime: str | None
    image_sha256: str | None
    wall_seconds: float | None
    command: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """A run, and the result of its second execution; `kept` is the directory of that, None once it was removed."""

    run_id: RunId
    pipeline: str
    step: str
    sub_group: str
    attempt: int
    outcome: Outcome
    message: str = ""
    files: tuple[FileComparison, ...] = ()
    not_in_ops_db: tuple[str, ...] = ()  # fields of the recorded manifest that differ in ops-db today
    recorded: Surroundings | None = None
    now: Surroundings | None = None
    kept: Path | None = None


def cannot(briefing: RunBriefing, record: CompletedRun | None, message: str) -> Reproduction:
    """Return the report of a run that cannot be executed again; `message` says why."""
    return replace(described(briefing, record, Outcome.CANNOT), message=message)


def described(
    briefing: RunBriefing, record: CompletedRun | None, outcome: Outcome, changes: tuple[str, ...] = ()
) -> Reproduction:
    """Return a report with the run and what is recorded of its first execution."""
    attempt = None if record is None else record.attempt
    return Reproduction(
        run_id=briefing.run.id,
        pipeline=briefing.pipeline,
        step=briefing.run.step.name,
        sub_group=briefing.run.sub_group.key,
        attempt=0 if attempt is None else attempt.number,
        outcome=outcome,
        not_in_ops_db=changes,
        recorded=None
        if attempt is None
        else Surroundings(
            attempt.host, attempt.runtime, attempt.image_sha256, attempt.wall_seconds, tuple(attempt.command or ())
        ),
    )


def surroundings(result: Result) -> Surroundings:
    """Return where and how an attempt was executed, as its result says."""
    return Surroundings(result.host, result.runtime, result.image_sha256, result.wall_seconds, result.command)
