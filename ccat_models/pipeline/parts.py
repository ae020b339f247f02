"""The parts that a pipeline's declaration is made of."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field

from ccat_models.contract.values import RelativePath
from ccat_models.grouping.rules import FilterRule
from ccat_models.pipeline.cron import checked_cron, checked_time_zone
from ccat_models.pipeline.values import (
    Count,
    DeclaredModel,
    Escalation,
    Json,
    Name,
    Positive,
    QualityLimit,
    Resources,
    Retention,
    Retries,
    ShortText,
    StepName,
    Text,
    checked_text,
    plain_json,
)
from ccat_models.pipeline.versions import parse_version
from ccat_models.tables.pipelines import FanIn, VersionPolicy


def _semver(version: str) -> str:
    parse_version(version)
    return version


def _absolute(directory: str) -> str:
    if not directory.startswith("/") or ".." in directory.split("/"):
        raise ValueError(f"directory must be absolute, without '..', got {directory!r}")
    return directory


def _parameters(parameters: Any) -> Any:
    return plain_json(parameters) if isinstance(parameters, Mapping) else parameters


def _filled(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise ValueError("must not be empty")
    return items


T = TypeVar("T")
Lax = Field(strict=False)  # a list for a tuple, a member's value for a member
Filled = Annotated[
    tuple[T, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(_filled)
]  # pydantic's own min_length counts well-formed items only
Version = Annotated[str, AfterValidator(_semver)]
CodePath = Annotated[RelativePath, AfterValidator(checked_text)]
Owner = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}|team:[\w.-]+)$")]
"""An e-mail address or team:name, as Dagster demands of an asset's owners."""


class RuleDeclaration(FilterRule):
    """One filter rule; its value is written as every database returns it."""

    value: Json


class DataGroupingDeclaration(DeclaredModel):
    """Which packages belong together: filter rules that are joined by AND."""

    name: Name
    description: Text = ""
    instrument_module: ShortText | None = None
    rules: Annotated[tuple[RuleDeclaration, ...], Lax]


class SoftwareVersionDeclaration(DeclaredModel):
    """One version of a program: an image with its digest, or a command, with its code if it runs as a plain process.

    Without `withdrawn`, the version's state does not change.
    """

    version: Version
    image: ShortText | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    command: Filled[ShortText] | None = None
    code: Annotated[tuple[CodePath, ...], Lax] = ()
    code_directory: Annotated[Text, Field(max_length=1000), AfterValidator(_absolute)] | None = None
    released: bool = True
    withdrawn: bool | None = None
    cosmetic: bool = False
    reprocess_from: Version | None = None


class SoftwareDeclaration(DeclaredModel):
    """A program and some of its versions."""

    name: Name
    description: Text = ""
    versions: Filled[SoftwareVersionDeclaration]


class StepDeclaration(DeclaredModel):
    """One step: a program, how the data is divided into sub-groups, and the steps it depends on."""

    name: StepName
    description: Text = ""
    depends_on: Annotated[tuple[str, ...], Lax] = ()
    group_by: Annotated[tuple[ShortText, ...], Lax]
    when: Annotated[FanIn, Lax] | None = None
    final: bool | None = None
    cooldown_seconds: Count = 0
    settle_seconds: Count = 0
    software: Name
    version: Version
    version_policy: Annotated[VersionPolicy, Lax] = VersionPolicy.COMPATIBLE
    parameters: Annotated[dict[str, Any], BeforeValidator(_parameters)] = Field(default_factory=dict)
    resources: Resources = Resources()
    escalation: Escalation | None = None
    retries: Retries = Retries()
    circuit_threshold: Positive = 5
    max_in_flight: Positive | None = None
    quality: Annotated[tuple[QualityLimit, ...], Lax] = ()
    retention: Retention | None = None


class ManualTrigger(DeclaredModel):
    """Runs are created on request only."""

    type: Literal["manual"]


class ContinuousTrigger(DeclaredModel):
    """Gaps are looked for all the time."""

    type: Literal["continuous"]


class CronTrigger(DeclaredModel):
    """Gaps are looked for at the times of a cron expression."""

    type: Literal["cron"]
    expression: Annotated[ShortText, AfterValidator(checked_cron)]
    time_zone: Annotated[str, AfterValidator(checked_time_zone)] = "UTC"


Trigger = Annotated[ManualTrigger | ContinuousTrigger | CronTrigger, Discriminator("type")]
