"""Which attempts are sent together: new ones of the same shape; ones that may have been sent keep their batch."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccat_models.run.work import LeftBehind, OpenAttempt
from resources.backend import Batch, JobRequest, Sent, Shape


@dataclass(frozen=True)
class Prepared:
    """An attempt whose directory is laid out, and the command that its wrapper starts."""

    attempt: OpenAttempt
    directory: Path
    runtime: str
    command: Sequence[str]


def batches_of(prepared: Sequence[Prepared], largest: int) -> list[tuple[Batch, Sequence[Prepared]]]:
    """Return batches of one shape and at most `largest` jobs, least recently tried first.

    An attempt that may have been sent before keeps its batch's key and its index there, also if other attempts of
    that batch are not sent again.
    """
    again: dict[str, list[Prepared]] = defaultdict(list)
    new: dict[Shape, list[Prepared]] = defaultdict(list)
    for item in prepared:
        if item.attempt.batch_key is None:
            new[shape_of(item)].append(item)
        else:
            again[item.attempt.batch_key].append(item)
    batches: list[tuple[Batch, Sequence[Prepared]]] = [
        (_batch(key, chunk, [item.attempt.batch_index or 0 for item in chunk]), chunk)
        for key, items in again.items()
        for chunk in _chunks(items, largest)
    ]
    batches += [
        (_batch(uuid.uuid4().hex, chunk, range(len(chunk))), chunk)
        for items in new.values()
        for chunk in _chunks(items, largest)
    ]
    return sorted(batches, key=lambda batch: max(_tried_at(item) for item in batch[1]))


def shape_of(item: Prepared) -> Shape:
    """Return what an attempt needs of a node, from the resources of its step."""
    resources = item.attempt.resources
    return Shape(
        cpus=int(resources["cpus"]),
        memory_gb=float(resources["memory_gb"]),
        time_limit_seconds=float(resources["time_hours"]) * 3600,
        gpus=int(resources.get("gpus", 0)),
        options={str(name): str(value) for name, value in (resources.get("slurm") or {}).items()},
    )


def sent_as(attempt: OpenAttempt | LeftBehind) -> Sent:
    """Return the keys by which a back end finds an attempt's job."""
    return Sent(attempt.submission_key, attempt.batch_key or "", attempt.batch_index or 0, attempt.job_id)


def _chunks(items: Sequence[Prepared], largest: int) -> list[Sequence[Prepared]]:
    return [items[first : first + largest] for first in range(0, len(items), largest)]


def _tried_at(item: Prepared) -> float:
    """Return when an attempt was last about to be sent, in seconds since 1970; -inf for one that never was."""
    return item.attempt.sent_at.timestamp() if item.attempt.sent_at else float("-inf")


def _batch(key: str, items: Sequence[Prepared], indices: Sequence[int]) -> Batch:
    requests = [
        JobRequest(item.attempt.submission_key, item.directory, index)
        for item, index in zip(items, indices, strict=True)
    ]
    return Batch(key, shape_of(items[0]), requests)
