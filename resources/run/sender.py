"""Send batches so that each attempt is executed at most once: commit the intent by a leased write, then submit."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ccat_models.run import attempt as attempts_of
from ccat_models.tables.execution import FailureClass
from resources.backend import Batch, Shape
from resources.errors import (
    ShellUnavailable,
    SubmissionDoubtful,
    SubmissionPostponed,
    SubmissionRefused,
    SubmissionTooLarge,
)
from resources.run import unsent
from resources.run.batches import Prepared, batches_of
from resources.run.leased_write import LeasedWrite

_LOG = logging.getLogger(__name__)
_MOST_DOUBTS = 3  # then sending stops: each waits for a time-out, and meanwhile no job is observed
Items = Sequence[Prepared]


def send(leased: LeasedWrite, prepared: Items) -> None:
    """Send attempts batch by batch; go on with the next batch where one is put off or in doubt."""
    if prepared:
        sending = _Sending(leased, deque(batches_of(prepared, leased.cluster.backend.largest_batch)))
        while sending.waiting and sending.doubts < _MOST_DOUBTS:
            sending.send_next()


@dataclass
class _Sending:
    leased: LeasedWrite
    waiting: deque[tuple[Batch, Items]]
    full: set[Shape] = field(default_factory=set)  # shapes of which the back end takes not even one more job now
    doubts: int = 0

    def send_next(self) -> None:
        """Send the next batch, and record the back end's reply; raise ShellUnavailable if it cannot be reached."""
        batch, items = self._committed(*self.waiting.popleft())
        if not items:
            return
        try:
            job_id = self.leased.cluster.backend.submit(batch)
        except SubmissionDoubtful as doubt:
            self._doubt(items, str(doubt))
        except SubmissionTooLarge as limit:
            self._put_off(items, str(limit))
            self._halve(batch, items)
        except SubmissionPostponed as reason:
            self._put_off(items, str(reason))
        except ShellUnavailable as error:
            self._put_off(items, str(error))
            raise
        except SubmissionRefused as refusal:
            unsent.fail(self.leased, FailureClass.INFRASTRUCTURE, [(item.attempt, str(refusal)) for item in items])
        else:
            self._record(batch, items, job_id)

    def _committed(self, batch: Batch, items: Items) -> tuple[Batch, Items]:
        """Commit the intent by a leased write; return the batch without attempts that must not be sent any more."""
        if batch.shape in self.full:
            return batch, []
        intents = [
            attempts_of.Intent(
                attempt_id=item.attempt.id,
                directory=str(item.directory),
                runtime=item.runtime,
                command=item.command,
                batch_key=batch.key,
                batch_index=request.index,
            )
            for item, request in zip(items, batch.requests, strict=True)
        ]
        with self.leased.write() as session:
            committed = attempts_of.sending(session, intents, self.leased.cluster.clock())
        kept = [pair for pair in zip(items, batch.requests, strict=True) if pair[0].attempt.id in committed]
        return replace(batch, requests=[request for _, request in kept]), [item for item, _ in kept]

    def _record(self, batch: Batch, items: Items, job_id: str | None) -> None:
        cluster = self.leased.cluster
        accepted = {
            (item.attempt.id, item.attempt.run_id): None if job_id is None else f"{job_id}_{request.index}"
            for item, request in zip(items, batch.requests, strict=True)
        }
        with self.leased.write() as session:
            attempts_of.sent(session, accepted, cluster.clock())

    def _doubt(self, items: Items, reason: str) -> None:
        """Record that the batch may have been accepted: the back end is asked for its key before it is sent again."""
        self.doubts += 1
        cluster = self.leased.cluster
        _LOG.warning("%s: %s: asking before it is sent again", cluster.name, reason)
        with self.leased.write() as session:
            attempts_of.doubted(session, [item.attempt.id for item in items], reason, cluster.clock())

    def _put_off(self, items: Items, reason: str) -> None:
        _LOG.warning("%s: %s: sending it later", self.leased.cluster.name, reason)
        with self.leased.write() as session:
            attempts_of.postponed(session, [item.attempt.id for item in items], reason)

    def _halve(self, batch: Batch, items: Items) -> None:
        """Try half as many jobs next; if not even one is accepted, send no more of that shape in this tick."""
        if len(items) == 1:
            self.full.add(batch.shape)
        else:
            self.waiting.extendleft(reversed(batches_of(items, (len(items) + 1) // 2)))
