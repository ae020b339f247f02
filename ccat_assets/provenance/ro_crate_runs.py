"""Runs and attempts as actions of an RO-Crate."""

from collections.abc import Mapping

from ccat_assets.provenance import names
from ccat_assets.provenance.ro_crate_entities import Entities, Reference, ref, refs
from ccat_assets.provenance.ro_crate_reviews import add_check, package_id, person_id, run_id
from ccat_models.lineage.record import AttemptRecord, ProvenanceRecord, RunRecord, SoftwareRecord
from ccat_models.tables.base import ProductId
from ccat_models.tables.execution import RunStatus

ENGINE = f"#{names.ORCHESTRATOR}"
_STATUS = {  # schema.org has no status for cancelled actions
    RunStatus.COMPLETED: "http://schema.org/CompletedActionStatus",
    RunStatus.FAILED: "http://schema.org/FailedActionStatus",
    RunStatus.CANCELLED: "http://schema.org/FailedActionStatus",
}
_ACTIVE = "http://schema.org/ActiveActionStatus"


def software_id(number: int) -> str:
    """Return the identifier of a software version."""
    return f"#{names.software_name(number)}"


def status_of(run: RunRecord) -> str:
    """Return a run's status in schema.org's terms."""
    return _STATUS.get(run.status, _ACTIVE)


def add_run(entities: Entities, record: ProvenanceRecord, run: RunRecord, files: Mapping[ProductId, str]) -> list[str]:
    """Add a run, its control by the orchestrator and its failed attempts; return the actions' identifiers.

    `files` are the identifiers of the products' files.
    """
    step, software = record.steps[run.step_id], record.software[run.software_id]
    entities.add(
        run_id(run.id),
        "CreateAction",
        name=f"run {run.id}: {step.pipeline}/{step.step}/{run.sub_group}",
        description=f"{run.status.value}, requested for {names.requested_for(run)}",
        instrument=ref(software_id(run.software_id)),
        agent=ref(person_id(run.requested_by)),
        object=_objects(record, run, files),
        result=refs(files[product.id] for product in record.made_by(run.id)),
        startTime=run.started_at,
        endTime=run.ended_at,
        actionStatus=status_of(run),
        error=_error(run),
        containerImage=_image(entities, software),
        resourceUsage=_usage(entities, run),
        additionalProperty=refs([*(add_check(entities, check) for check in run.checks), *_regenerates(entities, run)]),
    )
    failed = [_add_attempt(entities, run, attempt) for attempt in run.attempts if attempt.failure_class is not None]
    return [run_id(run.id), _add_control(entities, run), *failed]


def _regenerates(entities: Entities, run: RunRecord) -> list[str]:
    """Add which run's products a run was to regenerate, and whether it restored them; nothing for other runs."""
    if run.regenerates is None:
        return []
    identifier = f"#{names.run_name(run.id)}-regenerates"
    name, value = "regenerates", names.run_name(run.regenerates)
    entities.add(identifier, "PropertyValue", name=name, propertyID=name, value=value)
    restored = f"#{names.run_name(run.id)}-restored"
    entities.add(restored, "PropertyValue", name="restored", propertyID="restored", value=run.restored)
    return [identifier, restored]


def _add_control(entities: Entities, run: RunRecord) -> str:
    return entities.add(
        f"#control-{names.run_name(run.id)}",
        "ControlAction",
        name=f"control of run {run.id}",
        instrument=ref(f"#{names.step_name(run.step_id)}"),
        object=ref(run_id(run.id)),
        actionStatus=status_of(run),
    )


def _objects(record: ProvenanceRecord, run: RunRecord, files: Mapping[ProductId, str]) -> list[Reference]:
    config = record.configs[run.config_id]
    parameters = [f"#{names.config_name(config.id)}-{names.quoted(name)}" for name in sorted(config.parameters)]
    packages = [package_id(link.content) for link in run.packages]
    return refs([*packages, *(files[link.product_id] for link in run.products), *parameters])


def _error(run: RunRecord) -> str | None:
    if run.status is RunStatus.CANCELLED:
        return f"cancelled by {run.cancel_requested_by or 'the orchestrator'}"
    return None if run.failure_class is None else f"{run.failure_class.value}: {run.failure_message}"


def _image(entities: Entities, software: SoftwareRecord) -> Reference | None:
    if software.image_reference is None:
        return None
    image = f"#image-{software.id}"
    kind, digest = "ContainerImage", software.image_sha256
    return ref(entities.add(image, kind, name=software.image_reference, sha256=digest))


def _usage(entities: Entities, run: RunRecord) -> list[Reference]:
    usage = []
    for attempt in run.attempts[-1:]:
        for name in ("wall_seconds", "cpu_seconds", "peak_memory_bytes"):
            value = getattr(attempt, name)
            if value is not None:
                identifier = f"#{names.run_name(run.id)}-{name}"
                usage.append(entities.add(identifier, "PropertyValue", name=name, propertyID=name, value=value))
    return refs(usage)


def _add_attempt(entities: Entities, run: RunRecord, attempt: AttemptRecord) -> str:
    evidence = ", ".join(f"{name} {value}" for name, value in attempt.evidence.items())
    failure = attempt.failure_class.value if attempt.failure_class else "failed"
    return entities.add(
        f"#{names.attempt_name(run.id, attempt.number)}",
        "CreateAction",
        name=f"attempt {attempt.number} of run {run.id}",
        description=f"attempt {attempt.number} of run {run.id}" + (f" ({evidence})" if evidence else ""),
        instrument=ref(software_id(run.software_id)),
        agent=ref(ENGINE),
        startTime=attempt.started_at or attempt.created_at,
        endTime=attempt.finished_at,
        actionStatus=_STATUS[RunStatus.FAILED],
        error=f"{failure}: {attempt.failure_message}",
    )
