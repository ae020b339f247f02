"""Checks of a declaration as a whole: what its parts must agree on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.rules import validate_rules
from ccat_models.pipeline.graph import find_cycle
from ccat_models.pipeline.parts import (
    DataGroupingDeclaration,
    SoftwareDeclaration,
    SoftwareVersionDeclaration,
    StepDeclaration,
)
from ccat_models.pipeline.problems import Path, Problem, parse_path
from ccat_models.pipeline.values import RESERVED_CHECKS
from ccat_models.pipeline.versions import version_rank
from ccat_models.sub_group.dimensions import validate_dimensions
from ccat_models.tables.pipelines import Keep


def find_problems(
    steps: Sequence[StepDeclaration],
    software: Sequence[SoftwareDeclaration],
    data_grouping: DataGroupingDeclaration | None,
) -> list[Problem]:
    """Return all contradictions between the parts of a declaration; an empty list if there are none."""
    return [*_grouping(data_grouping), *_software(software), *_steps(steps)]


def _grouping(grouping: DataGroupingDeclaration | None) -> Iterator[Problem]:
    for index, rule in enumerate(grouping.rules if grouping else ()):
        try:
            validate_rules([rule])
        except InvalidDeclaration as error:
            place, _, message = str(error).partition(": ")
            yield Problem(("data_grouping", "rules", index, *parse_path(place)[2:]), message)


def _software(software: Sequence[SoftwareDeclaration]) -> Iterator[Problem]:
    yield from _twice("software", (("software",), "name"), (program.name for program in software))
    for index, program in enumerate(software):
        place: Path = ("software", index, "versions")
        yield from _twice("version", (place, "version"), (version.version for version in program.versions))
        for number, version in enumerate(program.versions):
            yield from _version((*place, number), version)


def _version(place: Path, version: SoftwareVersionDeclaration) -> Iterator[Problem]:
    if version.image is None and version.command is None:
        yield Problem(place, "needs an image or a command: there is nothing to run")
    if version.image is not None and version.sha256 is None:
        yield Problem((*place, "sha256"), "required: an image is known by its digest")
    if version.image is None and version.sha256 is not None:
        yield Problem((*place, "sha256"), "is an image's digest, and there is no image")
    if version.code and version.command is None:
        yield Problem((*place, "code"), "is for a command, and there is none")
    if version.code_directory is not None and not version.code:
        yield Problem((*place, "code_directory"), "is the directory of code, and there is none")
    yield from _twice("file", ((*place, "code"), None), version.code)
    if version.reprocess_from and version_rank(version.reprocess_from) > version_rank(version.version):
        yield Problem((*place, "reprocess_from"), f"must not be newer than {version.version}", version.reprocess_from)


def _steps(steps: Sequence[StepDeclaration]) -> Iterator[Problem]:
    names = tuple(step.name for step in steps)
    yield from _twice("step", (("steps",), "name"), names)
    for index, step in enumerate(steps):
        place: Path = ("steps", index)
        for number, upstream in enumerate(step.depends_on):
            if upstream == step.name:
                yield Problem((*place, "depends_on", number), "a step cannot depend on itself", upstream)
            elif upstream not in names:
                others = tuple(name for name in names if name != step.name)
                yield Problem((*place, "depends_on", number), "no such step", upstream, others)
        yield from _twice("step", ((*place, "depends_on"), None), step.depends_on)
        yield from _dimensions(place, step)
        yield from _escalation(place, step)
        yield from _quality(place, step)
        yield from _retention(place, step, steps)
    cycle = find_cycle({step.name: [name for name in step.depends_on if name != step.name] for step in steps})
    if cycle:
        first = ("steps", names.index(cycle[0]), "depends_on")
        yield Problem(first, f"steps depend on each other in a cycle: {' → '.join(cycle)}")


def _dimensions(place: Path, step: StepDeclaration) -> Iterator[Problem]:
    try:
        validate_dimensions(step.group_by)
    except InvalidDeclaration as error:
        inner, _, message = str(error).partition(": ")
        yield Problem((*place, *parse_path(inner)), message)


def _escalation(place: Path, step: StepDeclaration) -> Iterator[Problem]:
    if step.escalation is None:
        return
    for name in ("memory_gb", "time_hours"):
        asked, most = getattr(step.resources, name), getattr(step.escalation, f"max_{name}")
        if most < asked:
            yield Problem((*place, "escalation", f"max_{name}"), f"must not be below resources.{name} {asked}", most)


def _retention(place: Path, step: StepDeclaration, steps: Sequence[StepDeclaration]) -> Iterator[Problem]:
    keep = None if step.retention is None else step.retention.keep
    if keep is Keep.WHILE_NEEDED and not any(step.name in other.depends_on for other in steps):
        choices = ", ".join(member.value for member in Keep if member is not keep)
        message = f"no step depends on {step.name!r}: nothing ever needs its products; choose from: {choices}"
        yield Problem((*place, "retention", "keep"), message)


def _quality(place: Path, step: StepDeclaration) -> Iterator[Problem]:
    for index, limit in enumerate(step.quality):
        here = (*place, "quality", index)
        if limit.minimum is None and limit.maximum is None:
            yield Problem(here, "needs a minimum or a maximum: nothing is limited")
        elif limit.minimum is not None and limit.maximum is not None and limit.minimum > limit.maximum:
            yield Problem((*here, "maximum"), f"must not be below minimum {limit.minimum:g}", limit.maximum)
        if limit.check_name in RESERVED_CHECKS:
            yield Problem((*here, "name"), "is a check that every step has; give another name", limit.check_name)
    yield from _twice("check", ((*place, "quality"), "name"), (limit.check_name for limit in step.quality))


def _twice(what: str, at: tuple[Path, str | None], names: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each name that occurs again, at its later place."""
    place, key = at
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        if seen[name]:
            yield Problem((*place, index, *((key,) if key else ())), f"{what} {name!r} occurs here a second time")
        seen[name] += 1
