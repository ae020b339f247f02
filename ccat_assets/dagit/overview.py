"""An asset for each pipeline, with its state at a glance."""

from collections import Counter
from collections.abc import Mapping, Sequence

import dagster as dg

from ccat_assets.dagit.metadata import table
from ccat_assets.dagit.names import overview_key, step_names
from ccat_assets.dagit.snapshot import Snapshot
from ccat_assets.sizes import size_text
from ccat_models.product.overview import Overview, StepOverview
from ccat_models.run.remedies import REMEDIES

_MESSAGE_CHARACTERS = 500
_DESCRIPTION = (
    "**{name}** at a glance, updated each minute in which something changed: why sub-groups are, or are not, going to "
    "be run, runs in flight, failures of the last seven days, and files on disk."
)
_OF_ALL = "**All pipelines** at a glance, a row for each; see the `Overview` of a pipeline for its steps and failures."


def overview_assets(snapshot: Snapshot) -> list[dg.AssetSpec]:
    """Return an asset for each pipeline, beside its steps, and one for all; the sensor `overview` materializes them."""
    groups = {name.pipeline: name.group for name in step_names(snapshot)}
    whole = dg.AssetSpec(overview_key(), description=_OF_ALL, group_name="overview", kinds={"dashboard"})
    return [
        whole,
        *(
            dg.AssetSpec(
                key=overview_key(pipeline.name),
                description=_DESCRIPTION.format(name=pipeline.name),
                group_name=groups[pipeline.name],
                owners=list(pipeline.owners),
                kinds={"dashboard"},
            )
            for pipeline in snapshot.pipelines
        ),
    ]


def overview_event(overview: Overview) -> dg.AssetMaterialization:
    """Return the event that publishes the state of a pipeline; Dagit draws its numbers over time."""
    reasons = _reasons(overview)
    failures = {f"failed/{one.failure.value}": one.count for one in overview.failures}
    numbers = {
        **{f"reason/{reason}": count for reason, count in sorted(reasons.items())},
        "in_flight": sum(step.in_flight for step in overview.steps),
        "failed_in_7_days": sum(failures.values()),
        **failures,
        "products": sum(step.products for step in overview.steps),
        "disk_bytes": sum(step.size_bytes for step in overview.steps),
        "purged_runs": sum(step.purged_runs for step in overview.steps),
    }
    columns = {"class": "string", "runs": "int", "newest_run": "int", "message": "string", "remedy": "string"}
    rows = [
        (one.failure.value, one.count, one.newest, one.message[:_MESSAGE_CHARACTERS], REMEDIES[one.failure].remedy)
        for one in overview.failures
    ]
    return dg.AssetMaterialization(
        asset_key=overview_key(overview.pipeline),
        description="the pipeline as it is now",
        metadata={
            "steps": _steps(overview),
            **({"failures": table(columns, rows)} if rows else {}),
            **{name: dg.MetadataValue.int(number) for name, number in numbers.items()},
        },
    )


def whole_overview_event(overviews: Sequence[Overview]) -> dg.AssetMaterialization:
    """Return the event that publishes all pipelines at a glance, a row for each."""
    columns = {"pipeline": "string", "sub_groups": "int", "up_to_date": "int", "others": "string"}
    columns |= {"in_flight": "int", "failed_in_7_days": "int", "products": "int", "on_disk": "string"}
    return dg.AssetMaterialization(
        asset_key=overview_key(),
        description="all pipelines as they are now",
        metadata={
            "pipelines": table(columns, [_whole_row(one) for one in overviews]),
            "in_flight": dg.MetadataValue.int(sum(step.in_flight for one in overviews for step in one.steps)),
            "failed_in_7_days": dg.MetadataValue.int(sum(found.count for one in overviews for found in one.failures)),
            "disk_bytes": dg.MetadataValue.int(sum(step.size_bytes for one in overviews for step in one.steps)),
        },
    )


def _whole_row(one: Overview) -> tuple[str | int, ...]:
    reasons = _reasons(one)
    in_flight, products = sum(step.in_flight for step in one.steps), sum(step.products for step in one.steps)
    failed, on_disk = sum(found.count for found in one.failures), size_text(sum(step.size_bytes for step in one.steps))
    return one.pipeline, *_counts(reasons), in_flight, failed, products, on_disk


def _reasons(overview: Overview) -> Counter[str]:
    """Return how many sub-groups of all steps have each reason."""
    return sum((Counter(step.reasons) for step in overview.steps), Counter[str]())


def _counts(reasons: Mapping[str, int]) -> tuple[int, int, str]:
    """Return the number of sub-groups, of those up to date, and the other reasons, the most frequent first."""
    others = {reason: count for reason, count in reasons.items() if reason != "up_to_date"}
    named = ", ".join(f"{count} {reason}" for reason, count in sorted(others.items(), key=lambda pair: -pair[1]))
    return sum(reasons.values()), reasons.get("up_to_date", 0), named


def _steps(overview: Overview) -> dg.TableMetadataValue:
    columns = {"step": "string", "sub_groups": "int", "up_to_date": "int", "others": "string"}
    columns |= {"in_flight": "int", "products": "int", "on_disk": "string", "purged_runs": "int"}
    return table(columns, [_row(step) for step in overview.steps])


def _row(step: StepOverview) -> tuple[str | int, ...]:
    on_disk = step.products, size_text(step.size_bytes), step.purged_runs
    return step.step, *_counts(step.reasons), step.in_flight, *on_disk
