from collections import Counter
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
    Text,
    UtcDatetime,
)

Outcome = Literal["completed", "failed", "timeout", "cancelled", "launch_failed", "out_of_memory"]
Seconds = Annotated[float, Field(ge=0, le=10**10)]
ExitCode = Annotated[int, Field(ge=0, le=255)]
Signal = Annotated[int, Field(ge=1, le=127)]


class Output(ContractModel):
    """One file that the program wrote; the path is relative to the attempt's directory."""

    path: RelativePath
    type: ProductType
    size_bytes: Count
    sha256: Sha256


class Result(ContractModel):
    """result.json: how an attempt ended; its wrapper writes it last."""

    schema_version: Literal[1]
    submission_key: SubmissionKey
    run_id: Identifier
    attempt: Identifier
    outcome: Outcome
    exit_code: ExitCode | None
    signal: Signal | None
    started_at: UtcDatetime
    finished_at: UtcDatetime
    wall_seconds: Seconds
    cpu_seconds: Seconds
    peak_memory_bytes: Count | None
    host: Annotated[Text, Field(max_length=200)]
    job_id: Annotated[Text, Field(max_length=64)] | None
    image_sha256: Sha256 | None
    runtime: Runtime
    command: tuple[str, ...]
    outputs: tuple[Output, ...]
    warnings: tuple[Text, ...]
    message: Text

    @model_validator(mode="after")
    def _completed_means_exit_code_zero(self) -> Self:
        if self.outcome == "completed" and self.exit_code != 0:
            raise ValueError(f"outcome 'completed' needs exit_code 0, got {self.exit_code}")
        return self

    @model_validator(mode="after")
    def _outputs_are_named_once(self) -> Self:
        twice = [path for path, times in Counter(output.path for output in self.outputs).items() if times > 1]
        if twice:
            raise ValueError(f"output {twice[0]!r} is listed twice")
        return self
