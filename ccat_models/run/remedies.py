"""What each class of failure means and what to do about it: one total table, shown by the documentation."""

from collections.abc import Mapping
from dataclasses import dataclass

from ccat_models.tables.execution import FailureClass


@dataclass(frozen=True)
class Remedy:
    """What a class of failure means, and what a person does once its retries are spent."""

    meaning: str
    remedy: str


REMEDIES: Mapping[FailureClass, Remedy] = {
    FailureClass.INFRASTRUCTURE: Remedy(
        "The machine failed, not the program: a node died, a job was preempted or ended from outside, it could not be "
        "started, or the program itself asked to be tried later (exit code 75).",
        "Mend what the message names; `ccat doctor` looks at the back end. Then `ccat retry RUN`.",
    ),
    FailureClass.SCIENCE: Remedy(
        "The program ended with an exit code that is neither 0 nor one of sysexits, or by a signal, or it left a link "
        "that points out of its directory.",
        "Read the log that the run's asset shows in Dagit. Mend the program and release a version: that opens the gap "
        "again. Or `ccat retry RUN`, where chance had a part in it.",
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
        "The program ended well, but what it left cannot be registered: a file is missing or has changed, "
        "`result.json` is garbage, `qa/*.json` holds something else than finite numbers.",
        "Try the program with `ccat container check`, which names the clause it breaks. Mend it and release a version; "
        "where a disk was to blame, `ccat retry RUN`.",
    ),
    FailureClass.STAGING: Remedy(
        "What the job needs could not be laid out: an input file, the code or the image is not there, or is not what "
        "was registered.",
        "Bring back what the message names, or register what is there: `ccat ingest` for data, `ccat software release` "
        "for code and images. Then `ccat retry RUN`.",
    ),
    FailureClass.LOST: Remedy(
        "The job was in no queue, left no result and gave no sign of life for `lost_after_seconds`.",
        "Look at the cluster's own records for what became of the job. Then `ccat retry RUN`: its old attempt can no "
        "longer start.",
    ),
    FailureClass.PERMANENT: Remedy(
        "The program said that another try is of no use: an exit code of sysexits other than 75, e.g. 65 for bad data "
        "or 78 for a bad configuration.",
        "Mend the data, the parameters or the program; new inputs, a changed declaration or a release open the gap "
        "again by themselves. `ccat retry RUN` insists.",
    ),
}
