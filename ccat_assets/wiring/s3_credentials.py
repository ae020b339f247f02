"""Credentials for data locations in object stores, from two environment variables named after the location."""

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, SecretStr

from ccat_models.errors import InvalidDeclaration

_PREFIX = "CCAT_S3_"
S3_VARIABLE = re.compile(r"CCAT_S3_(\w+)_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)", re.ASCII)


class S3Credentials(BaseModel):
    """The keys that sign requests to one data location in an object store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    access_key_id: SecretStr
    secret_access_key: SecretStr


def s3_variables(location: str) -> tuple[str, str]:
    """Return the names of the variables that hold the credentials for a data location."""
    name = re.sub(r"[^A-Z0-9]", "_", location.upper())
    return f"{_PREFIX}{name}_ACCESS_KEY_ID", f"{_PREFIX}{name}_SECRET_ACCESS_KEY"


def credentials_in(variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return credentials by the name of their first variable; raise InvalidDeclaration if one of the two is missing."""
    found: dict[str, dict[str, str]] = {}
    for variable in sorted(variables):
        if match := S3_VARIABLE.fullmatch(variable):
            both = s3_variables(match[1])
            for needed in both:
                if not variables.get(needed):
                    raise InvalidDeclaration(f"environment {variable}: {needed} is not set, and both are needed")
            found[both[0]] = {"access_key_id": variables[both[0]], "secret_access_key": variables[both[1]]}
    return found
