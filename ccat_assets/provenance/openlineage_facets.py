"""This project's own OpenLineage facets, for what the standard ones cannot express."""

from collections.abc import Mapping
from typing import Any

import attr
from openlineage.client.facet_v2 import DatasetFacet, RunFacet

from ccat_assets.provenance import names
from ccat_models.lineage.record import ProvenanceRecord, RunRecord

PRODUCER = f"{names.NAMESPACE}{names.ORCHESTRATOR}"
Facts = list[dict[str, Any]]


@attr.define
class RequestRunFacet(RunFacet):
    """Who requested a run, for which reason, and who cancelled it."""

    requester: str
    reason: str
    sub_group: str
    canceller: str | None = None


@attr.define
class SoftwareRunFacet(RunFacet):
    """The container image, or the program's code, with its sha256, and the parameters with theirs."""

    name: str
    version: str
    image: str | None
    digest: str | None
    configuration: str
    parameters: dict[str, Any]


@attr.define
class AttemptsRunFacet(RunFacet):
    """All attempts of a run, failed ones with their reason."""

    attempts: Facts


@attr.define
class QualityRunFacet(RunFacet):
    """The results of a run's current quality checks, with waivers."""

    checks: Facts


@attr.define
class TaintsRunFacet(RunFacet):
    """The taints of a run's inputs, lifted ones included."""

    taints: Facts


@attr.define
class RegenerationRunFacet(RunFacet):
    """The run whose purged products a run was to regenerate, and whether it produced identical files."""

    regenerates: int
    restored: bool


@attr.define
class SupersededDatasetFacet(DatasetFacet):
    """The number of the product of a later run that replaces this one."""

    product: int


def house_facets(record: ProvenanceRecord, run: RunRecord) -> dict[str, RunFacet]:
    """Return this project's facets of a run, by name."""
    software, config = record.software[run.software_id], record.configs[run.config_id]
    facets: dict[str, RunFacet] = {
        "ccat_request": RequestRunFacet(
            run.requested_by, run.reason, run.sub_group, run.cancel_requested_by, producer=PRODUCER
        ),
        "ccat_software": SoftwareRunFacet(
            name=software.name,
            version=software.version,
            image=software.image_reference,
            digest=software.image_sha256 or software.code_sha256,
            configuration=config.config_hash,
            parameters=dict(config.parameters),
            producer=PRODUCER,
        ),
        "ccat_attempts": AttemptsRunFacet(_attempts(run), producer=PRODUCER),
    }
    if run.regenerates is not None:
        facets["ccat_regeneration"] = RegenerationRunFacet(run.regenerates, run.restored, producer=PRODUCER)
    checks = _checks(run)
    if checks:
        facets["ccat_quality"] = QualityRunFacet(checks, producer=PRODUCER)
    if run.taints:
        facets["ccat_taints"] = TaintsRunFacet(_taints(record, run), producer=PRODUCER)
    return facets


def _attempts(run: RunRecord) -> Facts:
    return [
        {
            "number": attempt.number,
            "state": attempt.state,
            "backend": attempt.backend,
            "host": attempt.host,
            "exitCode": attempt.exit_code,
            "failureClass": attempt.failure_class and attempt.failure_class.value,
            "failureMessage": attempt.failure_message,
            "evidence": dict(attempt.evidence),
        }
        for attempt in run.attempts
    ]


def _checks(run: RunRecord) -> Facts:
    return [
        {
            "name": check.name,
            "metric": check.metric,
            "value": check.value,
            "minimum": check.minimum,
            "maximum": check.maximum,
            "blocking": check.blocking,
            "passed": check.passed,
            "waiver": check.waiver
            and {"by": check.waiver.waived_by, "reason": check.waiver.reason, "at": check.waiver.waived_at},
        }
        for check in run.checks
        if check.superseded_at is None
    ]


def _taints(record: ProvenanceRecord, run: RunRecord) -> Facts:
    def facts(taint_id: int) -> Mapping[str, Any]:
        taint = record.taints[taint_id]
        by = {"by": taint.tainted_by, "at": taint.tainted_at, "liftedBy": taint.lifted_by, "liftedAt": taint.lifted_at}
        return {"package": record.contents_of(taint.package_id)[0].name, "reason": taint.reason, **by}

    return [dict(facts(taint_id)) for taint_id in run.taints]
