"""The submission protocol: what may be done with an attempt that is not known to be accepted, and when.

    INTENDED ── SEND ──► SENDING ── reply: accepted ──────────► SENT
                            │ ├──── reply: refused ───────────► ENDED
                            │ └──── no reply, or a killed process: doubt, still SENDING
                            └ asked: the job is known, or its wrapper has claimed the attempt ──► SENT
                              asked: unknown for longer than `resend_after` ──► SEND again, under the same key

A second job with the same key finds the claim and runs nothing: sending again never runs a program twice. The back end
is asked first, so that second jobs are rare.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from ccat_models.tables.execution import AttemptState

MOST_SENDS = 20  # after so many sendings unknown to the back end, something is permanently broken


class Step(Enum):
    """What to do next with an attempt that is not known to be accepted."""

    SEND = "send"
    ACCEPT = "accept"
    WAIT = "wait"
    CANCEL = "cancel"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class SubmissionState:
    """What is known of an attempt that is not known to be accepted."""

    state: AttemptState
    cancel_requested: bool
    known: bool | None = None  # whether the back end has its job; None if it could not be asked
    claimed: bool = False  # its wrapper has begun, or has been prevented from beginning
    waited: timedelta = timedelta(0)  # since it was last sent
    sends: int = 0


def next_step(submission: SubmissionState, resend_after: timedelta) -> Step:
    """Return what to do next; raise ValueError for an attempt that is accepted or ended."""
    if submission.state is AttemptState.INTENDED:
        return Step.CANCEL if submission.cancel_requested else Step.SEND
    if submission.state is not AttemptState.SENDING:
        raise ValueError(f"an attempt that is {submission.state.value} is not to be sent")
    if submission.claimed or submission.known:
        return Step.ACCEPT
    if submission.known is None or submission.waited <= resend_after:
        return Step.WAIT
    if submission.cancel_requested:
        return Step.CANCEL
    return Step.GIVE_UP if submission.sends >= MOST_SENDS else Step.SEND
