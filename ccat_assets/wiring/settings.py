"""Settings: the environment, then one TOML file, then defaults. The only place that reads the environment."""

import getpass
import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ccat_assets.wiring.s3_credentials import S3_VARIABLE, S3Credentials, credentials_in
from ccat_models.errors import InvalidDeclaration
from resources.ops_db import is_database_url
from resources.workspace.watermarks import Amount

PREFIX = "CCAT_"
OBSERVATORY_PREFIX = "CCAT_WORKFLOW_MANAGER_"  # the observatory's own names (workflow manager, configuration)
OBSERVATORY_NAMES = (
    "hpc_backend",
    "pipeline_base_dir",
    "processing_location_id",
    "slurm_partition",
    "sif_cache_dir",
    "k8s_namespace",
)
SECRETS = ("database_url", "ssh_passphrase", "openlineage_api_key", "s3_credentials")
_WEB_ADDRESSES = ("products_url", "openlineage_url")  # shown in Dagit, so credentials in them are refused
REPOSITORY = Path(__file__).resolve().parents[2]


class Settings(BaseModel):
    """Every value that an operator may set; paths that are left out are below `home`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    home: Path = Field(REPOSITORY / ".ccat", description="directory below which the program writes everything")
    database_url: SecretStr | None = Field(None, description="ops-db; default: SQLite below home")
    dagster_home: Path | None = Field(None, description="DAGSTER_HOME; default: below home")
    hpc_backend: Literal["local", "slurm"] = Field("local", description="where jobs run")
    pipeline_base_dir: Path | None = Field(None, description="workspace of all runs; default: below home")
    processing_location_id: int | None = Field(
        None, description="data location whose runs are executed; default: 'local'"
    )
    slurm_partition: str = Field("", description="partition of jobs; default: the cluster's own")
    slurm_account: str = Field("", description="account that jobs are charged to")
    slurm_qos: str = Field("", description="quality of service of jobs")
    slurm_constraint: str = Field("", description="features that nodes must have")
    slurm_options: dict[str, str] = Field(default_factory=dict, description="further options of sbatch")
    slurm_setup: tuple[str, ...] = Field((), description="lines of a job's script before its program, e.g. module load")
    slurm_throttle: int | None = Field(None, ge=1, description="tasks of one job array that may run at a time")
    slurm_max_jobs: int = Field(1000, ge=1, description="jobs that may be in the queue at a time")
    slurm_python: str = Field("python3", description="Python >= 3.6 on the cluster's nodes, for the attempts' wrapper")
    slurm_apptainer: str = Field("apptainer", description="apptainer on the cluster's nodes")
    slurm_cluster: str = Field("", description="ClusterName that must answer; default: any")
    observe_seconds: float = Field(5.0, gt=0, description="seconds between two requests to Slurm, at least")
    alive_seconds: float = Field(60.0, ge=0, description="seconds for which a job counts as alive after a heartbeat")
    ssh_host: str = Field("", description="login node; default: Slurm's commands are on this machine")
    ssh_port: int = Field(22, ge=1, le=65535, description="port of the login node's sshd")
    ssh_user: str = Field("", description="account on the login node")
    ssh_key_file: Path | None = Field(None, description="private key for the login node")
    ssh_agent: bool = Field(False, description="use the keys of a running agent")
    ssh_passphrase: SecretStr | None = Field(None, description="passphrase of the private key")
    ssh_known_hosts: Path | None = Field(None, description="file with the only host keys that are trusted")
    ssh_jump: str = Field("", description="[user@]host[:port] of a jump host before the login node")
    sif_cache_dir: Path | None = Field(None, description="cached images, on the cluster; default: below home")
    insecure_registries: tuple[str, ...] = Field((), description="image registries that have no TLS")
    k8s_namespace: str = Field("ccat-workflows", description="namespace for the kubernetes back end")
    space_limit: str = Field("", description="size that all products may take, e.g. 200 TB; default: the file system's")
    space_high: str = Field("", description="use above which products are purged, e.g. 90 %; default: only on demand")
    space_low: str = Field("", description="use down to which products are purged; default: as space_high")
    staging_parallel: int = Field(4, ge=1, description="raw data packages that are staged at a time")
    staging_mb_per_second: float | None = Field(
        None, gt=0, description="MB per second for staging, all packages together; default: no limit"
    )
    staging_keep_hours: float = Field(24.0, ge=0, description="hours without use after which staged raw data may go")
    staging_patience_hours: float = Field(
        6.0, ge=0, description="hours to wait for an archive that does not answer, if no other has the package"
    )
    data_mover: tuple[str, ...] = Field(
        (), description="words before the command that stages raw data, e.g. srun and its options; default: none"
    )
    s3_credentials: dict[str, S3Credentials] = Field(
        default_factory=dict,
        description="by data location, only from CCAT_S3_<LOCATION>_ACCESS_KEY_ID and …_SECRET_ACCESS_KEY",
    )
    python: Path = Field(Path(sys.executable), description="interpreter of plain-process software and the wrapper")
    local_slots: int = Field(os.cpu_count() or 1, ge=1, description="jobs at a time on the local back end")
    max_in_flight: int = Field(5000, ge=1, description="runs of all pipelines that may be in flight at a time")
    poll_seconds: float = Field(0.3, gt=0, description="seconds between two looks at runs that a command waits for")
    lease_seconds: float | None = Field(
        None, gt=0, description="seconds after which the lease of an observer ends; default: 30, Slurm 300"
    )
    lost_after_seconds: float | None = Field(
        None, ge=0, description="seconds after which a job without any trace is lost; default: 10, Slurm 60"
    )
    resend_after_seconds: float | None = Field(
        None, ge=0, description="seconds after which an unacknowledged job is sent again; default: 5, Slurm 30"
    )
    dagster_retention_days: int = Field(
        90, ge=0, description="days for which Dagster keeps runs that have ended; 0: for ever"
    )
    products_url: str = Field("", description="address of `ccat serve`, for links in Dagit; default: no links")
    openlineage_url: str = Field("", description="receiver of OpenLineage events; default: none are sent")
    openlineage_namespace: str = Field("ccat", min_length=1, description="namespace of jobs and datasets in events")
    openlineage_api_key: SecretStr | None = Field(None, description="bearer token for the receiver")
    user: str = Field(default_factory=getpass.getuser, max_length=200, description="name of the requester of runs")

    @field_validator("slurm_options", "slurm_setup", "insecure_registries", "data_mover", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be JSON if it is given as text") from None

    @model_validator(mode="after")
    def _known_host(self) -> Self:
        if self.ssh_host and self.ssh_known_hosts is None:
            raise ValueError("ssh_host needs ssh_known_hosts: a file with its host key (ssh-keyscan, checked by hand)")
        return self

    @field_validator("space_limit", "space_high", "space_low")
    @classmethod
    def _amount(cls, text: str, info: ValidationInfo) -> str:
        try:
            amount = Amount.parse(text) if text else None
        except InvalidDeclaration as error:
            raise ValueError(str(error)) from None
        if info.field_name == "space_limit" and amount is not None and amount.is_part:
            raise ValueError("must be a size, e.g. 200 TB, not a percentage")
        return text

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        marks = [(name, getattr(self, name)) for name in ("space_low", "space_high", "space_limit")]
        whole_bytes = Amount.parse(self.space_limit).of(0) if self.space_limit else None
        for (lower, less), (upper, more) in combinations([mark for mark in marks if mark[1]], 2):
            if Amount.parse(less).exceeds(Amount.parse(more), whole_bytes):
                raise ValueError(f"{lower} must not be above {upper}, got {less!r} and {more!r}")
        return self

    @field_validator(*_WEB_ADDRESSES)
    @classmethod
    def _web_address(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url):
            raise ValueError("must be a web address without credentials or query, e.g. https://products.example.org")
        return url.rstrip("/")

    @field_validator("openlineage_api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("must be ASCII letters, digits and punctuation without spaces")
        return key

    @field_validator("home", "dagster_home", "pipeline_base_dir", "sif_cache_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _readable(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_database_url(url.get_secret_value()):
            raise ValueError("must be a URL, e.g. postgresql://user@host/name")
        return url

    @property
    def ops_db_url(self) -> str:
        """Return the database's URL, secrets included."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'ops.sqlite'}"

    @property
    def workspace(self) -> Path:
        """Return the directory below which all runs work."""
        return self.pipeline_base_dir or self.home / "workspace"

    @property
    def dagster_directory(self) -> Path:
        """Return DAGSTER_HOME."""
        return self.dagster_home or self.home / "dagster"

    @property
    def sif_cache(self) -> Path:
        """Return the directory of cached images."""
        return self.sif_cache_dir or self.home / "sif-cache"


_FREE_NAMES = tuple(name for name in Settings.model_fields if name != "s3_credentials")  # it has variables of its own


@dataclass(frozen=True)
class Loaded:
    """The settings, and the source of each value."""

    settings: Settings
    origins: Mapping[str, str]


def load(environment: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings; raise InvalidDeclaration naming each unknown or invalid one, its source and the choices."""
    found: dict[str, tuple[Any, str]] = {}
    variables = os.environ if environment is None else environment  # noqa: TID251 - the one place
    from_environment = _from_environment(variables)
    home = Path(from_environment.get("home", (Settings.model_fields["home"].default, ""))[0]).expanduser()
    file = Path(variables.get("CCAT_SETTINGS_FILE") or home / "settings.toml")
    if "CCAT_SETTINGS_FILE" in variables and not file.is_file():
        raise InvalidDeclaration(f"environment CCAT_SETTINGS_FILE: no file {file}")
    found = {**_from_file(file), **from_environment}
    try:
        settings = Settings(**{name: value for name, (value, _) in found.items()})
    except ValidationError as error:
        raise InvalidDeclaration("\n".join(_reason(problem, found) for problem in error.errors())) from error
    origins = {name: found[name][1] if name in found else "default" for name in Settings.model_fields}
    return Loaded(settings, origins)


def _reason(problem: Any, found: Mapping[str, tuple[Any, str]]) -> str:
    if not problem["loc"]:
        return f"settings: {problem['msg']}"
    name = str(problem["loc"][0])
    value, origin = found.get(name, (None, "default"))
    may_hold_one = name in SECRETS or (name in _WEB_ADDRESSES and any(mark in str(value) for mark in "@?#"))
    shown = "(secret)" if may_hold_one else repr(value)
    return f"{origin}: {name}: {problem['msg']}, got {shown}"


def _from_environment(variables: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    if variables.get("DAGSTER_HOME"):
        found["dagster_home"] = (variables["DAGSTER_HOME"], "environment DAGSTER_HOME")
    for variable in sorted(variables, key=lambda v: not v.startswith(OBSERVATORY_PREFIX)):
        if not variable.startswith(PREFIX) or variable == "CCAT_SETTINGS_FILE" or S3_VARIABLE.fullmatch(variable):
            continue
        observatory = variable.startswith(OBSERVATORY_PREFIX)
        name = variable.removeprefix(OBSERVATORY_PREFIX if observatory else PREFIX).lower()
        choices = OBSERVATORY_NAMES if observatory else _FREE_NAMES
        prefix = OBSERVATORY_PREFIX if observatory else PREFIX
        if name not in choices:
            raise InvalidDeclaration(_unknown(f"environment {variable}", name, [prefix + c.upper() for c in choices]))
        found[name] = (variables[variable], f"environment {variable}")
    if credentials := credentials_in(variables):
        found["s3_credentials"] = (credentials, "environment CCAT_S3_…")
    return found


def _from_file(file: Path) -> dict[str, tuple[Any, str]]:
    if not file.is_file():
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDeclaration(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidDeclaration(f"{file}: not TOML: {error}") from error
    for name in content:
        if name not in _FREE_NAMES:
            raise InvalidDeclaration(_unknown(f"{file}: {name}", name, list(_FREE_NAMES)))
    return {name: (value, str(file)) for name, value in content.items()}


def _unknown(place: str, name: str, choices: list[str]) -> str:
    near = get_close_matches(name.upper(), [choice.upper() for choice in choices], n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{place}: unknown setting{hint}; choose from: {', '.join(choices)}"
