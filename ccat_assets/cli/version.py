from importlib.metadata import version as version_of


def version() -> str:
    """Return the version that is installed; it is written in pyproject.toml alone."""
    return version_of("ccat-asset-orchestrator")
