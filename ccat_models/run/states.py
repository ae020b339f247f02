"""The legal changes of a run's status: one table, kept by code and by a trigger of the database.

Published edges: workflow manager documentation, "execution flow". Ours: a staging or submission error
(STAGING_DATA → FAILED), a job that was over before anybody saw it run (SUBMITTED → COLLECTING_RESULTS, FAILED),
cancellation while staging, and cancellation of a failed run's retry (it is PENDING again).
"""

from ccat_models.tables.execution import RunStatus

LEGAL_TRANSITIONS: frozenset[tuple[RunStatus, RunStatus]] = frozenset(
    {
        (RunStatus.PENDING, RunStatus.STAGING_DATA),
        (RunStatus.PENDING, RunStatus.CANCELLED),
        (RunStatus.STAGING_DATA, RunStatus.SUBMITTED),
        (RunStatus.STAGING_DATA, RunStatus.FAILED),
        (RunStatus.STAGING_DATA, RunStatus.CANCELLED),
        (RunStatus.SUBMITTED, RunStatus.RUNNING),
        (RunStatus.SUBMITTED, RunStatus.COLLECTING_RESULTS),
        (RunStatus.SUBMITTED, RunStatus.FAILED),
        (RunStatus.SUBMITTED, RunStatus.CANCELLED),
        (RunStatus.RUNNING, RunStatus.COLLECTING_RESULTS),
        (RunStatus.RUNNING, RunStatus.FAILED),
        (RunStatus.RUNNING, RunStatus.CANCELLED),
        (RunStatus.COLLECTING_RESULTS, RunStatus.COMPLETED),
        (RunStatus.COLLECTING_RESULTS, RunStatus.FAILED),
        (RunStatus.FAILED, RunStatus.PENDING),
    }
)
