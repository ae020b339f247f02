"""The submission protocol by itself: every standing has one next step, and no fault makes it run twice."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccat_models.run.submission import MOST_SENDS, Step, SubmissionState, next_step
from ccat_models.tables.execution import AttemptState

PATIENCE = timedelta(seconds=5)
LONG, SHORT = timedelta(seconds=6), timedelta(seconds=5)
N, S = AttemptState.INTENDED, AttemptState.SENDING
T, F = True, False

TABLE = [
    # state, cancel, known, claimed, waited, sends → step
    (N, F, None, F, SHORT, 0, Step.SEND),
    (N, F, None, T, LONG, 0, Step.SEND),
    (N, T, None, F, SHORT, 0, Step.CANCEL),
    (S, F, True, F, SHORT, 1, Step.ACCEPT),
    (S, T, True, F, LONG, 1, Step.ACCEPT),  # cancelled like any other job that is on its way
    (S, F, None, T, SHORT, 1, Step.ACCEPT),
    (S, F, False, T, LONG, MOST_SENDS, Step.ACCEPT),
    (S, F, None, F, LONG, 1, Step.WAIT),  # no answer is not "no"
    (S, T, None, F, LONG, 1, Step.WAIT),
    (S, F, None, F, LONG, MOST_SENDS, Step.WAIT),
    (S, F, False, F, SHORT, 1, Step.WAIT),
    (S, T, False, F, SHORT, 1, Step.WAIT),
    (S, F, False, F, LONG, 1, Step.SEND),
    (S, T, False, F, LONG, 1, Step.CANCEL),
    (S, F, False, F, LONG, MOST_SENDS, Step.GIVE_UP),
    (S, T, False, F, LONG, MOST_SENDS, Step.CANCEL),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].value}-{row[-1].value}")
def test_each_submission_state_has_its_next_step(
    row: tuple[AttemptState, bool, bool | None, bool, timedelta, int, Step],
) -> None:
    state, cancel, known, claimed, waited, sends, step = row
    assert next_step(SubmissionState(state, cancel, known, claimed, waited, sends), PATIENCE) is step


def test_nothing_in_doubt_is_sent_before_the_back_end_denied_it() -> None:
    for cancel, known, claimed, waited, sends in product(
        (T, F), (None, T, F), (T, F), (timedelta(0), SHORT, LONG), (0, 1, MOST_SENDS)
    ):
        step = next_step(SubmissionState(S, cancel, known, claimed, waited, sends), PATIENCE)
        if step is Step.SEND:
            assert (known, claimed) == (False, False)
            assert waited > PATIENCE


@pytest.mark.parametrize("state", [AttemptState.SENT, AttemptState.RUNNING, AttemptState.ENDED])
def test_no_next_step_exists_for_an_attempt_that_was_sent(state: AttemptState) -> None:
    with pytest.raises(ValueError, match=state.value):
        next_step(SubmissionState(state, cancel_requested=False), PATIENCE)


@dataclass
class FakeWorld:
    """One attempt, a scheduler that loses replies and delays jobs, and a node that honours the claim."""

    state: AttemptState = N
    sends: int = 0
    waited: timedelta = timedelta(0)
    cancel: bool = False
    claimed: bool = False
    queue: int = 0  # jobs of this attempt that are visible in the queue
    travelling: int = 0  # jobs whose submission is still under way
    events: Counter[str] = field(default_factory=Counter)

    def start_job(self) -> None:
        """Let one job start: it runs the program only if no other job has the claim."""
        if self.queue:
            self.queue -= 1
            self.events["executed"] += not self.claimed
            self.claimed = True

    def tick(self, reply: str, *, answers: bool) -> None:
        """Let the holder of the lease act once."""
        if self.state not in (N, S):
            return
        known = self.queue > 0 if answers else None
        claimed = self.claimed if answers and not known else False
        step = next_step(SubmissionState(self.state, self.cancel, known, claimed, self.waited, self.sends), PATIENCE)
        if step is Step.ACCEPT:
            self.state = AttemptState.SENT
        elif step in (Step.CANCEL, Step.GIVE_UP):
            self.claimed = True
            self.state = AttemptState.ENDED
        elif step is Step.SEND:
            self.send(reply)

    def send(self, reply: str) -> None:
        """Commit the intent, then send; the reply may be lost before or after the job was accepted."""
        self.state, self.sends, self.waited = S, self.sends + 1, timedelta(0)
        if reply == "killed before":
            return
        self.queue += reply in ("accepted", "lost")
        self.travelling += reply == "late"
        if reply == "accepted":
            self.state = AttemptState.SENT


ACTION = st.one_of(
    st.tuples(
        st.just("tick"), st.sampled_from(["accepted", "lost", "late", "killed before", "never arrives"]), st.booleans()
    ),
    st.tuples(st.sampled_from(["wait", "arrive", "start", "cancel"]), st.just(""), st.booleans()),
)


@settings(max_examples=500)
@given(st.lists(ACTION, max_size=40))
def test_no_history_executes_an_attempt_twice_or_leaves_it_in_doubt_for_ever(
    actions: list[tuple[str, str, bool]],
) -> None:
    world = FakeWorld()
    for action, reply, answers in actions:
        if action == "tick":
            world.tick(reply, answers=answers)
        elif action == "wait":
            world.waited += LONG
        elif action == "arrive" and world.travelling:
            world.travelling, world.queue = world.travelling - 1, world.queue + 1
        elif action == "start":
            world.start_job()
        elif action == "cancel":
            world.cancel = True
    for _ in range(3):  # the faults are over
        world.waited += LONG
        world.tick("accepted", answers=True)
    assert world.state in (AttemptState.SENT, AttemptState.ENDED)
    world.queue += world.travelling
    while world.queue:
        world.start_job()
    assert world.events["executed"] <= 1
    if world.state is AttemptState.SENT:
        assert world.claimed, "what counts as sent was executed, or it is certain that it never will be"
