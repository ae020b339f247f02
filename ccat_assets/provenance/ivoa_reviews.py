"""Checks, waivers and taints as instances of the IVOA model."""

from collections.abc import Iterable
from datetime import datetime

from ccat_assets.provenance import names
from ccat_assets.provenance.ivoa_descriptions import entity_description
from ccat_assets.provenance.ivoa_instances import Instances, identifier
from ccat_models.lineage.record import CheckRecord, ProductRecord, ProvenanceRecord
from ccat_models.lineage.record_packages import PackageRecord, TaintRecord

_REVIEWER = "Editor"  # "the agent validated the content of an entity" (REC 2.4.4)


def person_id(name: str) -> str:
    """Return the id of a person."""
    return identifier(names.person_name(name))


def invalid_since(thing: PackageRecord | ProductRecord, taints: Iterable[TaintRecord]) -> datetime | None:
    """Return since when a package or product is invalid, None if it is valid.

    It is invalid since the earliest taint that is not lifted, or since its creation if that was later.
    """
    in_force = (taint.tainted_at for taint in taints if taint.lifted_at is None)
    return min((max(at, thing.created_at) for at in in_force), default=None)


def add_reviews(instances: Instances, record: ProvenanceRecord) -> None:
    """Add checks with their waivers, and taints."""
    for run in record.runs.values():
        for check in run.checks:
            _add_check(instances, check)
    for taint in record.taints.values():
        _add_taint(instances, record, taint)


def _add_check(instances: Instances, check: CheckRecord) -> None:
    limits = f"{check.metric} {check.value}, minimum {check.minimum}, maximum {check.maximum}"
    checked = instances.add(
        "Entity",
        id=identifier(f"check-{check.id}"),
        name=f"check {check.name}",
        generatedAtTime=check.judged_at,
        invalidatedAtTime=check.superseded_at,
        comment=f"{'passed' if check.passed else 'failed'}{', blocking' if check.blocking else ''}: {limits}",
        entityDescription=entity_description(instances, "quality check", "document"),
    )
    waiver = check.waiver
    if waiver is not None:
        review = _review(instances, f"review-{waiver.id}", "waiver", waiver.waived_by, waiver.waived_at)
        instances.add("Used", activity=review, entity=checked, role="quality check", time=waiver.waived_at)
        _word(instances, f"waiver-{waiver.id}", "waiver", waiver.reason, waiver.waived_at, review)


def _add_taint(instances: Instances, record: ProvenanceRecord, taint: TaintRecord) -> None:
    tainting = _review(instances, f"tainting-{taint.id}", "taint", taint.tainted_by, taint.tainted_at)
    for package in record.contents_of(taint.package_id):
        entity = identifier(names.package_name(package.content))
        instances.add("Used", activity=tainting, entity=entity, role="tainted package", time=taint.tainted_at)
    word = _word(instances, f"taint-{taint.id}", "taint", taint.reason, taint.tainted_at, tainting, taint.lifted_at)
    if taint.lifted_by is not None and taint.lifted_at is not None:
        lifting = _review(instances, f"lifting-{taint.id}", "lifted taint", taint.lifted_by, taint.lifted_at)
        instances.add("Used", activity=lifting, entity=word, role="taint", time=taint.lifted_at)


def _review(instances: Instances, name: str, kind: str, by: str, at: datetime) -> str:
    review = instances.add("Activity", id=identifier(name), name=kind, startTime=at, endTime=at)
    instances.add("WasAssociatedWith", activity=review, agent=person_id(by), role=_REVIEWER)
    return review


def _word(
    instances: Instances, name: str, kind: str, reason: str, at: datetime, review: str, until: datetime | None = None
) -> str:
    entity = instances.add(
        "Entity",
        id=identifier(name),
        name=kind,
        generatedAtTime=at,
        invalidatedAtTime=until,
        comment=reason,
        entityDescription=entity_description(instances, kind, "document"),
    )
    instances.add("WasGeneratedBy", entity=entity, activity=review, role=kind)
    return entity
