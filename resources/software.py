"""The software that an attempt runs: its image as a file, or its code, unchanged since it was registered."""

from collections.abc import Sequence
from pathlib import Path

from ccat_models.fingerprint import files_checksum
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from resources.errors import StagingFailed
from resources.outputs import file_sha256


def code_sha256(directory: Path, code: Sequence[str]) -> str:
    """Return the checksum of a command's code files; raise StagingFailed naming one that is not there."""
    for name in code:
        if not (directory / name).is_file():
            raise StagingFailed(f"{directory / name}: no such code file")
    return files_checksum({name: file_sha256(directory / name) for name in code})


def check_code(version: ReductionSoftwareVersion) -> None:
    """Raise StagingFailed where the code on disk is not the code that was registered under this version."""
    if version.code_directory is None or version.code_sha256 is None:
        return
    found = code_sha256(Path(version.code_directory), version.code)
    if found != version.code_sha256:
        raise StagingFailed(
            f"{version.software.name} {version.version}: the code in {version.code_directory} has changed since it was "
            f"registered (sha256 {found[:12]}…, registered {version.code_sha256[:12]}…): register a new version"
        )


def image_file(reference: str | None, sha256: str | None, sif_cache: Path) -> Path | None:
    """Return the file of an image, None for no image; raise StagingFailed where it is not at hand.

    A reference is a path or file:// of a SIF; any other is looked for in the SIF cache as <sha256>.sif.
    """
    if reference is None:
        return None
    path = Path(reference.removeprefix("file://"))
    if not path.is_absolute() or ":" in reference.removeprefix("file://"):
        path = sif_cache / f"{sha256}.sif"
    if not path.is_file():
        raise StagingFailed(f"image {reference}: no file {path}; pull it there (apptainer pull {path} {reference})")
    return path
