"""The examples that come with the project. A simulator is imported only when it is used."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import REPOSITORY
from ccat_models.errors import InvalidDeclaration, NotFound

EXAMPLES = ("site-pwv",)
_DIRECTORY = REPOSITORY / "examples"


def make_catalogue(app: Application, example: str, source: Path, until: str | None) -> Path:
    """Turn an example's own files into packages with a catalogue below CCAT_HOME; return that folder.

    Raises NotFound for an unknown example and InvalidDeclaration for files that it cannot read.
    """
    if example not in EXAMPLES:
        raise NotFound("example", example, list(EXAMPLES))
    folder = app.settings.home / "archive" / example
    catalogue: Callable[..., Path] = import_module("examples.site_pwv.site_pwv_catalogue").catalogue
    try:
        catalogue(source, folder, until=until)
    except ValueError as error:
        raise InvalidDeclaration(str(error)) from error
    return folder


def observe_chai(app: Application, scans: int) -> Path:
    """Simulate scans of NGC253 with CHAI; return the folder with the catalogue."""
    folder = app.settings.home / "archive" / "chai"
    observe: Callable[..., Any] = import_module("examples.chai.observe").observe
    observe(folder, scans=scans)
    return folder


def observe_site_pwv(app: Application) -> Path:
    """Simulate three months of water vapour; return the folder with the catalogue."""
    source = app.settings.home / "archive" / "site-pwv-made-up"
    synthesise: Callable[..., Path] = import_module("examples.site_pwv.site_pwv_synthetic").synthesise
    synthesise(source)
    return make_catalogue(app, "site-pwv", source, None)


def pipeline_file(example: str) -> Path:
    """Return the file that declares an example's pipeline."""
    return _DIRECTORY / example / "pipeline.yaml"
