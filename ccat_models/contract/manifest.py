from typing import Annotated, Literal

from pydantic import Field, JsonValue

from ccat_models.contract.values import (
    ContractModel,
    Count,
    Identifier,
    Name,
    ProductType,
    RelativePath,
    Sha256,
    SubmissionKey,
    UtcDatetime,
)


class ManifestRun(ContractModel):
    """The run and the attempt that the program belongs to."""

    id: Identifier
    attempt: Identifier
    submission_key: SubmissionKey
    pipeline: Name
    revision: Identifier
    created_at: UtcDatetime


class ManifestStep(ContractModel):
    """The step and its software."""

    name: Name
    final: bool
    software: Name
    version: Name
    image_reference: str | None
    image_sha256: Sha256 | None
    code_sha256: Sha256 | None


class ManifestSubGroup(ContractModel):
    """The sub-group and its value in each dimension."""

    key: Name
    dimensions: dict[str, str]


class InputFile(ContractModel):
    """One raw file, relative to its input's path."""

    path: RelativePath
    size_bytes: Count
    sha256: Sha256


class ManifestInput(ContractModel):
    """One raw data package and where its files are."""

    package_id: Identifier
    name: Name
    path: Name
    checksum: Sha256
    metadata: dict[str, JsonValue]
    executed_obs_unit: Name
    instrument: Name
    instrument_module: Name
    files: tuple[InputFile, ...]


class UpstreamProduct(ContractModel):
    """One product of an upstream run, relative to the upstream's path."""

    product_id: Identifier
    type: ProductType
    path: RelativePath
    size_bytes: Count
    sha256: Sha256


class ManifestUpstream(ContractModel):
    """One upstream run and where its output directory is."""

    step: Name
    sub_group: Name
    dimensions: dict[str, str]
    run_id: Identifier
    path: Name
    products: tuple[UpstreamProduct, ...]


class ManifestResources(ContractModel):
    """What the program may use at most."""

    cpus: Annotated[int, Field(ge=1)]
    memory_gb: Annotated[float, Field(gt=0)]
    time_hours: Annotated[float, Field(gt=0)]


class Manifest(ContractModel):
    """manifest.json: the input of a program."""

    schema_version: Literal[1] = 1
    run: ManifestRun
    step: ManifestStep
    sub_group: ManifestSubGroup
    inputs: tuple[ManifestInput, ...]
    upstream: tuple[ManifestUpstream, ...]
    parameters: dict[str, JsonValue]
    resources: ManifestResources
