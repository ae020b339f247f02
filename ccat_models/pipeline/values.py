"""The values in declarations: text, numbers, resources, limits, retention, retries."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from ccat_models.tables.execution import FailureClass
from ccat_models.tables.pipelines import Keep

MAX_INTEGER = 2**31 - 1
MAX_DEPTH = 32
EXACT_FLOATS = 1e16
"""From this size on Python writes a float with an exponent, and PostgreSQL's jsonb returns it as an integer."""


def checked_text(text: str) -> str:
    """Return the text; raise ValueError if a database cannot store it."""
    if re.search("[\0\ud800-\udfff]", text):
        raise ValueError("text must be free of NUL characters and lone surrogates")
    return text


def plain_json(value: Any) -> Any:
    """Return a JSON value as every database returns it: no negative zero, no exponents.

    Raises ValueError, with the place inside the value, for what is no JSON.
    """
    return _plain(value, "", 0)


def _plain(value: Any, place: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return checked_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _plain_number(value, place)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    raise ValueError(f"no JSON for {type(value).__name__}{_at(place)}")


def _plain_number(value: float, place: str) -> float | int:
    if value != value or abs(value) == float("inf"):  # noqa: PLR0124 - only NaN differs from itself
        raise ValueError(f"number must be finite{_at(place)}, got {value}")
    if abs(value) >= EXACT_FLOATS:
        return int(value)
    return value + 0.0


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"key must be text{_at(place)}, got {key!r}")  # noqa: TRY004 - pydantic collects ValueErrors
    return checked_text(key)


def _at(place: str) -> str:
    return f" at {place.removeprefix('.')}" if place else ""


Text = Annotated[str, AfterValidator(checked_text)]
ShortText = Annotated[Text, Field(min_length=1, max_length=500)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$")]
StepName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Json = Annotated[Any, BeforeValidator(plain_json)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Amount = Annotated[float, Field(gt=0, le=1e6)]


OptionChecks = Mapping[str, Callable[[Mapping[str, str]], None]]
"""By the name of a back end, what raises ValueError for options that it does not take."""


class DeclaredModel(BaseModel):
    """A frozen part of a declaration; unknown keys are refused, and text is not converted into numbers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _judged_by_its_back_end(options: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Return a back end's options if its check is content with them, or is not among those given as the context."""
    checks: OptionChecks = info.context or {}
    check = checks.get(info.field_name or "")
    if check is not None:
        check(options)
    return options


class Resources(DeclaredModel):
    """What one run of a step may use.

    `disk_gb` is the most that a run leaves on disk (10^9 bytes); by default it is taken from earlier runs.
    """

    cpus: Positive = 1
    memory_gb: Amount = 1.0
    time_hours: Amount = 1.0
    gpus: Count = 0
    disk_gb: Amount | None = None
    # The options of one back end have its name; only the back end knows which options exist.
    slurm: Annotated[dict[str, str], AfterValidator(_judged_by_its_back_end)] = Field(default_factory=dict)


RESERVED_CHECKS = ("products_present", "qa_within_limits", "not_tainted")
"""Names of the checks that every step has in Dagit."""


class QualityLimit(DeclaredModel):
    """A limit on a number of the program's qa/*.json: `minimum` and `maximum` are both allowed values.

    A run that fails a `blocking` limit is no input for later steps, and its sub-group has no result, until the check is
    waived. The check's `name` is by default the metric's, with "_" for other characters than letters, digits and "_".
    """

    metric: Annotated[Text, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$")] | None = None
    minimum: float | None = None
    maximum: float | None = None
    blocking: bool = False

    @property
    def check_name(self) -> str:
        """Return the name of the check."""
        return self.name or re.sub(r"[^A-Za-z0-9_]", "_", self.metric)[:100]

    def named(self) -> "QualityLimit":
        """Return the limit with the name of its check filled in."""
        return self.model_copy(update={"name": self.check_name})


class Retention(DeclaredModel):
    """How long products are kept: purges remove products only when space is needed.

    `keep` is: always; until a newer run supersedes them; while a later step needs them; or until they were not used for
    so many `days`. Products that runs in flight or open gaps read are never removed.
    """

    keep: Annotated[Keep, Field(strict=False)]
    days: Positive | None = None

    @model_validator(mode="after")
    def _days_where_they_count(self) -> Self:
        if (self.keep is Keep.DAYS) != (self.days is not None):
            raise ValueError("days must be given with keep: days, and with nothing else")
        return self


class Escalation(DeclaredModel):
    """How a retry after a time-out or a lack of memory increases its resources: by a factor, up to a maximum."""

    factor: Annotated[float, Field(gt=1, le=100)] = 2.0
    max_memory_gb: Amount
    max_time_hours: Amount


class Retries(DeclaredModel):
    """How often a run may be retried after a failure of each class."""

    science: Count = 1
    infrastructure: Count = 3
    timeout: Count = 1
    out_of_memory: Count = 1
    collection: Count = 2
    staging: Count = 3
    lost: Count = 2

    def budget(self, failure: FailureClass) -> int:
        """Return how many retries a failure of this class allows; a permanent one allows none."""
        return 0 if failure is FailureClass.PERMANENT else int(getattr(self, failure.value))
