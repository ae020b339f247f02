"""What each class of failure means and what to do about it; the documentation prints this table."""

from collections.abc import Mapping
from dataclasses import dataclass

from ccat_models.tables.execution import FailureClass


@dataclass(frozen=True)
class Remedy:
    """What a class of failure means, and what to do once its retries are used up."""

    meaning: str
    remedy: str


REMEDIES: Mapping[FailureClass, Remedy] = {
    FailureClass.INFRASTRUCTURE: Remedy(
        "The machine failed, not the program: a node died, a job was preempted or ended from outside, it could not be "
        "started, or the program itself asked to be tried later (exit code 75).",
        "Correct what the message names; `ccat doctor` checks the back end. Then `ccat retry RUN`.",
    ),
    FailureClass.SCIENCE: Remedy(
        "The program ended with an exit code that is neither 0 nor one of sysexits, or by a signal, or it left a link "
        "that points out of its directory.",
        "Read the log of the run's asset in Dagit. Correct the program and release a version: that opens the gap "
        "again. Or `ccat retry RUN`, if the failure was due to chance.",
    ),
    FailureClass.TIMEOUT: Remedy(
        "The time limit of the step's resources was reached.",
        "Raise `time_hours`, or declare an `escalation`; apply the file, then `ccat retry RUN`.",
    ),
    FailureClass.OUT_OF_MEMORY: Remedy(
        "The memory of the step's resources was not enough.",
        "Raise `memory_gb`, or declare an `escalation`; apply the file, then `ccat retry RUN`.",
    ),
    FailureClass.COLLECTION: Remedy(
        "The program succeeded, but its files cannot be registered: a file is missing or has changed, "
        "`result.json` is malformed, `qa/*.json` holds something else than finite numbers.",
        "Try the program with `ccat container check`, which names the clause it breaks. Correct it and release a "
        "version; if a disk was the cause, `ccat retry RUN`.",
    ),
    FailureClass.STAGING: Remedy(
        "The job's files could not be prepared: an input file, the code or the image is missing, or differs from what "
        "was registered.",
        "Restore what the message names, or register the present files: `ccat ingest` for data, `ccat software "
        "release` for code and images. Then `ccat retry RUN`.",
    ),
    FailureClass.LOST: Remedy(
        "The job was in no queue, left no result and gave no sign of life for `lost_after_seconds`.",
        "Look in the cluster's own records for what happened to the job. Then `ccat retry RUN`: its old attempt can "
        "no longer start.",
    ),
    FailureClass.PERMANENT: Remedy(
        "The program reported that a retry is useless: an exit code of sysexits other than 75, e.g. 65 for bad data "
        "or 78 for a bad configuration.",
        "Correct the data, the parameters or the program; new inputs, a changed declaration or a release open the gap "
        "again by themselves. `ccat retry RUN` retries anyway.",
    ),
}
