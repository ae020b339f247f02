"""The descriptions of assets, as Markdown."""

from ccat_assets.dagit.snapshot import GroupingSnapshot, PipelineSnapshot, StepSnapshot

_POLICIES = {
    "pinned": "exactly this version",
    "compatible": "the newest release of this major version; products of its older releases remain acceptable",
    "latest": "the newest release; its products replace those of older ones",
}
_FAN_IN = {"any": "as soon as there are any", "all": "once all of them are there"}


def describe_step(pipeline: PipelineSnapshot, step: StepSnapshot) -> str:
    """Return a step's description as Markdown."""
    per = ", ".join(step.group_by)
    reads = ", ".join(step.upstreams)
    source = f"the products of {reads}, {_FAN_IN[step.fan_in]}" if reads else f"the raw data of {pipeline.grouping}"
    how = f"image {step.image}" if step.image else "plain process, no container"
    facts = [
        f"**Software** {step.software} {step.version} ({how}): {_POLICIES[step.version_policy]}",
        f"**One run per** {per}" if per else "**One run** for all data together",
        f"**Reads** {source}",
        f"**Cooldown** {duration(step.cooldown_seconds)} between two runs of a sub-group"
        if step.cooldown_seconds
        else "**No cooldown**",
        *(
            [f"**Settles** {duration(step.settle_seconds)}: it runs after this time without a new input"]
            if step.settle_seconds
            else []
        ),
        "**Final step**: its products are kept" if step.final else "**Intermediate step**: its products may be purged",
    ]
    if step.metrics:
        facts.append(f"**Quality metrics** {', '.join(step.metrics)}")
    if not pipeline.enabled:
        facts.append("**Disabled**: nothing is run")
    return "\n\n".join([step.description or f"Step {step.name}.", "\n".join(f"- {fact}" for fact in facts)])


def describe_raw(grouping: GroupingSnapshot) -> str:
    """Return the description of a data grouping's raw data as Markdown."""
    rules = [
        f"- {rule.get('table')}.{rule.get('column')} {rule.get('operator')} `{rule.get('value')}`"
        for rule in grouping.rules
    ]
    return "\n\n".join(
        [grouping.description or f"Raw data {grouping.name}.", "Archived packages with\n" + "\n".join(rules)]
    )


def duration(seconds: int) -> str:
    """Return a whole number of seconds in the largest unit that divides it, e.g. "1 d", "90 min"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
