"""Checks, waivers and taints as PROV."""

from prov.model import ProvDocument

from ccat_assets.provenance import names
from ccat_assets.provenance.w3c_terms import ROLE, terms, thing
from ccat_models.lineage.record import CheckRecord, ProvenanceRecord, RunRecord, WaiverRecord
from ccat_models.lineage.record_packages import TaintRecord


def add_reviews(document: ProvDocument, record: ProvenanceRecord) -> None:
    """Add checks with their waivers, and taints with what they invalidate."""
    for run in record.runs.values():
        for check in run.checks:
            _add_check(document, run, check)
            if check.waiver is not None:
                _add_waiver(document, check, check.waiver)
    for taint in record.taints.values():
        _add_taint(document, record, taint)


def _add_check(document: ProvDocument, run: RunRecord, check: CheckRecord) -> None:
    values = {
        "name": check.name,
        "metric": check.metric,
        "value": check.value,
        "minimum": check.minimum,
        "maximum": check.maximum,
        "blocking": check.blocking,
        "passed": check.passed,
        "judgedAt": check.judged_at,
        "supersededAt": check.superseded_at,
    }
    name = thing(f"check-{check.id}")
    document.entity(name, terms("QualityCheck", values))
    document.attribution(name, thing(names.ORCHESTRATOR))
    document.influence(name, thing(names.run_name(run.id)))


def _add_waiver(document: ProvDocument, check: CheckRecord, waiver: WaiverRecord) -> None:
    review, entity = thing(f"review-{waiver.id}"), thing(f"waiver-{waiver.id}")
    document.activity(review, waiver.waived_at, waiver.waived_at, terms("Review", {}))
    document.association(review, thing(names.person_name(waiver.waived_by)), None, None, {ROLE: "reviewer"})
    document.usage(review, thing(f"check-{check.id}"), waiver.waived_at)
    document.entity(entity, terms("Waiver", {"reason": waiver.reason}))
    document.generation(entity, review, waiver.waived_at)
    document.derivation(entity, thing(f"check-{check.id}"), review)


def _add_taint(document: ProvDocument, record: ProvenanceRecord, taint: TaintRecord) -> None:
    entity, tainting = thing(f"taint-{taint.id}"), thing(f"tainting-{taint.id}")
    document.activity(tainting, taint.tainted_at, taint.tainted_at, terms("Tainting", {}))
    document.association(tainting, thing(names.person_name(taint.tainted_by)), None, None, {ROLE: "reviewer"})
    document.entity(entity, terms("Taint", {"reason": taint.reason}))
    document.generation(entity, tainting, taint.tainted_at)
    packages = [thing(names.package_name(package.content)) for package in record.contents_of(taint.package_id)]
    for package in packages:
        document.influence(package, entity)
    if taint.lifted_by is not None:
        lifting = thing(f"lifting-{taint.id}")
        document.activity(lifting, taint.lifted_at, taint.lifted_at, terms("Lifting", {}))
        document.association(lifting, thing(names.person_name(taint.lifted_by)), None, None, {ROLE: "reviewer"})
        document.invalidation(entity, lifting, taint.lifted_at)
        return
    for package in packages:
        document.invalidation(package, tainting, taint.tainted_at)
    for run in record.runs.values():
        if taint.id in run.taints:
            for product in record.made_by(run.id):
                at = max(taint.tainted_at, product.created_at)
                document.invalidation(thing(names.product_name(product.id)), tainting, at)
