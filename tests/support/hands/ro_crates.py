"""The validator of RO-Crates, without a network: the JSON-LD context comes from the `rocrate` package."""

import importlib.resources
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import models, services
from urllib3 import HTTPResponse

PROFILE = "provenance-run-crate-0.5"
_CONTEXT_URL = "https://w3id.org/ro/crate/1.1/context"


class _Bundled(HTTPAdapter):
    """Answers with the context of RO-Crate 1.3, in which 1.1's terms mean the same but for those of Bioschemas."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        text = (importlib.resources.files("rocrate") / "data" / "ro-crate.jsonld").read_text()
        body = BytesIO(text.replace("https://bioschemas.org/terms/", "https://bioschemas.org/").encode())
        headers, url = {"Content-Type": "application/ld+json"}, str(request.url)
        answer = HTTPResponse(body, headers, 200, preload_content=False, request_method="GET", request_url=url)
        return self.build_response(request, answer)


def validator_cache(path: Path) -> Path:
    """Make a cache in which the validator finds the context, and return its path."""
    with CachedSession(cache_name=str(path), backend="sqlite", expire_after=-1) as session:
        session.mount("https://w3id.org/", _Bundled())
        session.get(_CONTEXT_URL).raise_for_status()
    return path


def problems(crate: Path, cache: Path) -> list[str]:
    """Return in what a crate breaks what the profile, and those it builds upon, require."""
    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier=PROFILE,
        requirement_severity=models.Severity.REQUIRED,
        offline=True,
        cache_path=cache,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib, in the validator's SHACL engine
        return [str(issue.message) for issue in services.validate(settings).get_issues()]
