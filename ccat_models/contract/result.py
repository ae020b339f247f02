from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ccat_models.contract.job import Runtime
from ccat_models.contract.values import (
    ContractModel,
    Count,
    Identifier,
    ProductType,
    RelativePath,
    Sha256,
    SubmissionKey,
    UtcDatetime,
)

Outcome = Literal["completed", "failed", "timeout", "cancelled", "launch_failed", "out_of_memory"]
Seconds = Annotated[float, Field(ge=0)]


class Output(ContractModel):
    """One file that the program left behind; the path is relative to the attempt's directory."""

    path: RelativePath
    type: ProductType
    size_bytes: Count
    sha256: Sha256


class Result(ContractModel):
    """result.json: how an attempt ended, written by its wrapper as the very last thing."""

    schema_version: Literal[1]
    submission_key: SubmissionKey
    run_id: Identifier
    attempt: Identifier
    outcome: Outcome
    exit_code: int | None
    signal: int | None
    started_at: UtcDatetime
    finished_at: UtcDatetime
    wall_seconds: Seconds
    cpu_seconds: Seconds
    peak_memory_bytes: Count | None
    host: str
    job_id: str | None
    image_sha256: Sha256 | None
    runtime: Runtime
    command: tuple[str, ...]
    outputs: tuple[Output, ...]
    warnings: tuple[str, ...]
    message: str

    @model_validator(mode="after")
    def _completed_means_exit_code_zero(self) -> Self:
        if self.outcome == "completed" and self.exit_code != 0:
            raise ValueError(f"outcome 'completed' needs exit_code 0, got {self.exit_code}")
        return self
