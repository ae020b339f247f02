"""The names of the things of a provenance record, the same in every export, and of the program that writes them."""

from importlib.metadata import PackageNotFoundError, version
from urllib.parse import quote

from ccat_models.lineage.record import ProductRecord, RunRecord
from ccat_models.tables.raw_data import PackageContent

ORCHESTRATOR = "ccat-asset-orchestrator"
NAMESPACE = "urn:ccat:"  # numbers below it are those of one ops-db
_CHECKSUM_DIGITS = 12

MEDIA_TYPES = {
    ".fits": "application/fits",
    ".json": "application/json",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".log": "text/plain",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".html": "text/html",
    ".h5": "application/x-hdf5",
    ".vot": "application/x-votable+xml",
}


def orchestrator_version() -> str:
    """Return the version of this program."""
    try:
        return version(ORCHESTRATOR)
    except PackageNotFoundError:
        return "unknown"


def run_name(run_id: int) -> str:
    """Return the name of a run."""
    return f"run-{run_id}"


def requested_for(run: RunRecord) -> str:
    """Return for which reason a run was requested, as text."""
    if run.regenerates is None:
        return run.reason
    outcome = ", which it has restored" if run.restored else ""
    return f"{run.reason} of what {run_name(run.regenerates)} had made{outcome}"


def attempt_name(run_id: int, number: int) -> str:
    """Return the name of a run's attempt."""
    return f"attempt-{run_id}-{number}"


def product_name(product_id: int) -> str:
    """Return the name of a product."""
    return f"product-{product_id}"


def gone(product: ProductRecord) -> str:
    """Return the state of a product whose file was removed, in one word."""
    return "purged" if product.removed is None else product.removed.value.lower()


def package_name(content: PackageContent) -> str:
    """Return the name of a raw package with one of its contents, which differ if it was delivered again."""
    package_id, checksum = content
    return f"package-{package_id}-{checksum[:_CHECKSUM_DIGITS]}" if checksum else f"package-{package_id}"


def software_name(version_id: int) -> str:
    """Return the name of a software version."""
    return f"software-{version_id}"


def config_name(config_id: int) -> str:
    """Return the name of a configuration."""
    return f"config-{config_id}"


def step_name(revision_id: int) -> str:
    """Return the name of a step in one revision of its pipeline."""
    return f"step-{revision_id}"


def quoted(text: str, safe: str = "") -> str:
    """Return a text as a part of a name, with special characters escaped."""
    return quote(text, safe=safe)


def person_name(name: str) -> str:
    """Return the name of a person."""
    return f"person-{quoted(name)}"


def media_type(path: str) -> str:
    """Return the media type of a file by its suffix."""
    ending = path[path.rfind(".") :].lower() if "." in path else ""
    return MEDIA_TYPES.get(ending, "application/octet-stream")
