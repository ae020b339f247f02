"""Record how an attempt ended: register its products in one transaction, or the class of its failure.

For an attempt that reproduces its run only the end is recorded; its products are not registered.
"""

from pathlib import Path
from typing import Any

from ccat_models.contract.result import Result
from ccat_models.product.collect import Collected, register
from ccat_models.run import attempt as attempts_of
from ccat_models.run.retry import classify
from ccat_models.run.work import OpenAttempt
from ccat_models.tables.execution import FailureClass, Purpose
from resources.backend import Ending
from resources.errors import OutputsUnusable, ResultUnreadable
from resources.location import Cluster
from resources.ops_db import DataError
from resources.workspace.outputs import check_paths, read_metrics
from resources.workspace.store import Found


def needs_explanation(attempt: OpenAttempt, found: Found) -> bool:
    """Say whether an attempt was stopped from outside, not by us: only the back end can say why."""
    try:
        result = found.result(Path(attempt.directory or ""), attempt.submission_key)
    except (ResultUnreadable, OutputsUnusable):
        return False
    return result is not None and not attempt.cancel_requested and _was_stopped(result)


def collect(cluster: Cluster, attempt: OpenAttempt, found: Found, ending: Ending | None) -> None:
    """Record how an attempt ended, and register its products.

    `found` is what its directory holds, `ending` what the back end says of its job, None where it was not asked. An
    attempt whose files cannot be used has failed with `FailureClass.COLLECTION`; nothing is raised for that.
    """
    directory = Path(attempt.directory or "")
    try:
        result = found.result(directory, attempt.submission_key)
        if result is None:
            return
        if result.outcome == "completed":
            _register(cluster, attempt, directory, found, result)
        else:
            _ended_badly(cluster, attempt, result, ending)
    except (DataError, OverflowError) as error:
        fail(cluster, attempt, FailureClass.COLLECTION, f"{directory}: ops-db cannot hold what it left: {error!s:.300}")
    except (ResultUnreadable, OutputsUnusable) as error:  # one attempt's bad files must not delay the others
        fail(cluster, attempt, FailureClass.COLLECTION, str(error))


def fail(
    cluster: Cluster,
    attempt: OpenAttempt,
    failure: FailureClass,
    message: str,
    result: Result | None = None,
    evidence: dict[str, Any] | None = None,
) -> None:
    """Record that an attempt has failed, with its result and the back end's evidence if there are any."""
    with cluster.ops_db.write() as session:
        attempts_of.failed(session, attempt.id, failure, message, cluster.clock(), result=result, evidence=evidence)


def _register(cluster: Cluster, attempt: OpenAttempt, directory: Path, found: Found, result: Result) -> None:
    check_paths(directory, result)
    if attempt.purpose is Purpose.REPRODUCE:
        with cluster.ops_db.write() as session:
            attempts_of.ended_well(session, attempt.id, result)
        return
    output_directory = found.output_directory or ""
    collected = Collected(
        result=result,
        output_directory=output_directory,
        location_id=cluster.location_id,
        location_path=directory.relative_to(cluster.base).as_posix(),
        metrics=read_metrics(directory, output_directory, found.numbers),
    )
    with cluster.ops_db.write() as session:
        register(session, attempt.id, attempt.run_id, collected, cluster.clock())


def _ended_badly(cluster: Cluster, attempt: OpenAttempt, result: Result, ending: Ending | None) -> None:
    if attempt.cancel_requested:
        with cluster.ops_db.write() as session:
            attempts_of.cancelled(session, attempt.id, attempt.run_id, cluster.clock(), result)
        return
    failure = classify(result)
    if failure is None:
        return
    evidence: dict[str, Any] = {"outcome": result.outcome, "signal": result.signal, "host": result.host}
    if ending is not None:
        evidence |= ending.evidence
        if _explains_better(ending, result):
            failure = ending.failure, f"{ending.message}; {failure[1]}"
    fail(cluster, attempt, *failure, result=result, evidence=evidence)


def _explains_better(ending: Ending, result: Result) -> bool:
    """Say whether the back end's explanation is better than the wrapper's, which sees a signal but not its reason."""
    if ending.failure is FailureClass.OUT_OF_MEMORY:
        return True
    return ending.failure is not FailureClass.LOST and _was_stopped(result)


def _was_stopped(result: Result) -> bool:
    return result.outcome == "cancelled" or (result.outcome == "failed" and result.signal is not None)
