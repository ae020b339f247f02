"""Checks, waivers and taints in an RO-Crate."""

from ccat_assets.provenance import names
from ccat_assets.provenance.ro_crate_entities import Entities, ref, refs
from ccat_models.lineage.record import CheckRecord, ProvenanceRecord, RunRecord
from ccat_models.lineage.record_packages import TaintRecord
from ccat_models.tables.raw_data import PackageContent


def person_id(name: str) -> str:
    """Return a person's identifier in a crate."""
    return f"#{names.person_name(name)}"


def run_id(number: int) -> str:
    """Return the identifier of a run's action."""
    return f"#{names.run_name(number)}"


def package_id(content: PackageContent) -> str:
    """Return a raw package's identifier."""
    return f"#{names.package_name(content)}"


def add_reviews(entities: Entities, record: ProvenanceRecord) -> list[str]:
    """Add waivers and taints as assessments; return their identifiers."""
    reviews = []
    for run in record.runs.values():
        reviews += [_add_waiver(entities, run, check) for check in run.checks if check.waiver is not None]
    for taint in record.taints.values():
        reviews += _add_taint(entities, record, taint)
    return reviews


def add_check(entities: Entities, check: CheckRecord) -> str:
    """Add the result of a quality check; return its identifier."""
    verdict = "passed" if check.passed else "failed, blocking" if check.blocking else "failed"
    return entities.add(
        f"#check-{check.id}",
        "PropertyValue",
        name=f"check {check.name}",
        propertyID=check.metric,
        value=check.value,
        minValue=check.minimum,
        maxValue=check.maximum,
        description=verdict + ("" if check.superseded_at is None else "; superseded by a changed declaration"),
    )


def _add_waiver(entities: Entities, run: RunRecord, check: CheckRecord) -> str:
    waiver = check.waiver
    assert waiver is not None, "only checks with a waiver are asked for"
    return entities.add(
        f"#waiver-{waiver.id}",
        "AssessAction",
        name=f"waiver of check {check.name} of run {run.id}",
        description=waiver.reason,
        agent=ref(person_id(waiver.waived_by)),
        object=[ref(f"#check-{check.id}"), ref(run_id(run.id))],
        endTime=waiver.waived_at,
        actionStatus="http://schema.org/CompletedActionStatus",
    )


def _add_taint(entities: Entities, record: ProvenanceRecord, taint: TaintRecord) -> list[str]:
    packages = record.contents_of(taint.package_id)
    reviews = [("taint", taint.tainted_by, taint.tainted_at, taint.reason)]
    if taint.lifted_by is not None:
        reviews.append(("lifted-taint", taint.lifted_by, taint.lifted_at or taint.tainted_at, "the taint is lifted"))
    return [
        entities.add(
            f"#{word}-{taint.id}",
            "AssessAction",
            name=f"{word} of {packages[0].name}",
            description=why,
            agent=ref(person_id(by)),
            object=refs(package_id(package.content) for package in packages),
            endTime=at,
            actionStatus="http://schema.org/CompletedActionStatus",
        )
        for word, by, at, why in reviews
    ]
