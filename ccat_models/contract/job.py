from typing import Annotated, Literal

from pydantic import Field

from ccat_models.contract.values import ContractModel, Identifier, RelativePath, Sha256, SubmissionKey

Runtime = Literal["process", "apptainer"]


class Job(ContractModel):
    """job.json: the instructions for the attempt's wrapper; not part of the published contract."""

    schema_version: Literal[1] = 1
    submission_key: SubmissionKey
    run_id: Identifier
    attempt: Identifier
    command: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str
    output_directory: RelativePath
    time_limit_seconds: Annotated[float, Field(gt=0)] | None
    grace_seconds: Annotated[float, Field(ge=0)] = 10.0
    runtime: Runtime
    image_path: str | None
    image_sha256: Sha256 | None
    job_id_variable: str | None
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 10.0
    ended_directory: str | None = None
