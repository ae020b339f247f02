"""Comparing the origins of two products: inputs, software, parameters, environment, outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from sqlalchemy.orm import Session

from ccat_models.lineage.nodes import run_nodes
from ccat_models.lineage.scope import exactly
from ccat_models.lineage.upstream import InputsCompared, StepCompared, inputs_compared, steps_compared
from ccat_models.lineage.ways import RunNode
from ccat_models.pipeline.diff import ABSENT, differences
from ccat_models.product.listing import products_of_runs
from ccat_models.product.quality import metrics_of
from ccat_models.run.whole import last_attempts, whole_runs
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt
from ccat_models.tables.products import DataProductType

_VERSION = ("image_reference", "image_sha256", "command", "code_sha256")
_ENVIRONMENT = ("backend", "runtime", "image_sha256", "command", "resources")
_EXECUTION = ("host", "exit_code", "number", "wall_seconds", "cpu_seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class Pair:
    """The values of both products under one name; None if there is no value."""

    name: str
    left: Any
    right: Any


@dataclass(frozen=True)
class OutputPair:
    """A file of both runs, by its path, as checksum and size; None if a run has not made it."""

    path: str
    type: DataProductType
    left: Mapping[str, Any] | None
    right: Mapping[str, Any] | None


@dataclass(frozen=True)
class Comparison:
    """The differences of the runs that made two products; `execution` is how they went, `metrics` holds all numbers."""

    left: RunNode
    right: RunNode
    inputs: InputsCompared
    upstream: tuple[StepCompared, ...]
    software: tuple[Pair, ...]
    parameters: tuple[Pair, ...]
    environment: tuple[Pair, ...]
    execution: tuple[Pair, ...]
    outputs: tuple[OutputPair, ...]
    metrics: tuple[Pair, ...]

    @property
    def same(self) -> bool:
        """Say whether both products are equal and were made in the same way from equal inputs; logs may differ."""
        files = any(output.type is not DataProductType.LOG for output in self.outputs)
        made = self.software or self.parameters or self.environment or files
        return not (made or self.inputs.differing or any(not step.same for step in self.upstream))


def compare(session: Session, left: RunId, right: RunId, *, most: int | None = None) -> Comparison:
    """Compare the origins of two runs' products, back to the raw packages, of which at most `most` are listed."""
    runs = {run.id: run for run in run_nodes(session, exactly({left, right}))}
    one, other = _origin(session, runs[left]), _origin(session, runs[right])
    sections = {name: _pairs(one[name], other[name]) for name in one}
    return Comparison(
        runs[left],
        runs[right],
        inputs=inputs_compared(session, left, right, most=most),
        upstream=steps_compared(session, left, right),
        **sections,
        outputs=_outputs(session, left, right),
        metrics=_metrics(session, left, right),
    )


def _origin(session: Session, run: RunNode) -> dict[str, dict[str, Any]]:
    """Return how a run was carried out, by the names of a comparison's fields."""
    whole = whole_runs(session, [run.id])[run.id]
    version, config = whole.software_version, whole.config
    software = {"name": run.software, "version": run.version, **{name: getattr(version, name) for name in _VERSION}}
    attempt = last_attempts(session, [run.id]).get(run.id)
    return {
        "software": software,
        "parameters": config.parameters,
        "environment": {} if attempt is None else _environment(attempt),
        "execution": {} if attempt is None else {name: getattr(attempt, name) for name in _EXECUTION},
    }


def _environment(attempt: Attempt) -> dict[str, Any]:
    """Return where an attempt ran, without its own directory, which always differs."""
    found = {name: getattr(attempt, name) for name in _ENVIRONMENT}
    if attempt.directory and attempt.command:
        found["command"] = [word.replace(attempt.directory, "{attempt}") for word in attempt.command]
    return found


def _pairs(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[Pair, ...]:
    return tuple(Pair(one.path, _known(one.old), _known(one.new)) for one in differences(left, right))


def _known(value: Any) -> Any:
    return None if value is ABSENT else value


def _outputs(session: Session, left: RunId, right: RunId) -> tuple[OutputPair, ...]:
    types = dict[str, DataProductType]()
    files: dict[RunId, dict[str, Mapping[str, Any]]] = {left: {}, right: {}}
    for product in products_of_runs(session, (left, right)):
        types[product.path] = product.type
        files[product.run_id][product.path] = {"sha256": product.sha256, "size_bytes": product.size_bytes}
    found = (OutputPair(path, kind, files[left].get(path), files[right].get(path)) for path, kind in types.items())
    return tuple(pair for pair in found if pair.left != pair.right)


def _metrics(session: Session, left: RunId, right: RunId) -> tuple[Pair, ...]:
    values: dict[str, dict[RunId, float]] = {}
    for metric in metrics_of(session, (left, right)):
        values.setdefault(metric.name, {})[metric.run_id] = metric.value
    return tuple(starmap(Pair, ((name, by_run.get(left), by_run.get(right)) for name, by_run in values.items())))
