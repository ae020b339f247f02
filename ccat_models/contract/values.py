"""Values that manifest.json, job.json and result.json have in common."""

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

ProductType = Literal["science", "qa_metric", "plot", "statistics", "log", "intermediate"]
PRODUCT_TYPES: tuple[ProductType, ...] = get_args(ProductType)

DIRECTORY_TYPES: dict[str, ProductType] = {
    "science": "science",
    "qa": "qa_metric",
    "plots": "plot",
    "statistics": "statistics",
    "logs": "log",
    "intermediate": "intermediate",
}
"""First directory under WORKFLOW_OUTPUT_DIR → product type; anywhere else is `intermediate`, with a warning."""


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError(f"time must be UTC, got {moment.isoformat()}")
    return moment


def _relative_path(path: str) -> str:
    parts = path.split("/")
    if PurePosixPath(path).is_absolute() or "\0" in path or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError(f"path must be relative, without empty, '.' or '..' parts, got {path!r}")
    return path


def _without_nul(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL cannot store NUL


LARGEST_COUNT = 2**53 - 1  # exact in JSON (as a float) and in ops-db, also when some are added up

UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_relative_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SubmissionKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[str, Field(min_length=1)]
Text = Annotated[str, AfterValidator(_without_nul)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Identifier = Annotated[int, Field(ge=1)]


class ContractModel(BaseModel):
    """A frozen value of the container contract; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
