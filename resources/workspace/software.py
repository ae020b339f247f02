"""The code files of software that runs as a plain process, compared with what was registered."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.fingerprint import files_checksum
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from resources.errors import StagingFailed
from resources.workspace.outputs import file_sha256


def code_sha256(directory: Path, code: Sequence[str]) -> str:
    """Return the checksum of code files in a directory; raise StagingFailed, naming the file, where one is missing."""
    for name in code:
        if not (directory / name).is_file():
            raise StagingFailed(f"{directory / name}: no such code file")
    return files_checksum({name: file_sha256(directory / name) for name in code})


def check_code(version: ReductionSoftwareVersion) -> None:
    """Raise StagingFailed where the code on disk differs from the code registered under this version."""
    if version.code_directory is not None and version.code_sha256 is not None:
        read_code(version)


def read_code(version: ReductionSoftwareVersion) -> Mapping[str, bytes]:
    """Return the content of a version's code files, by name; raise StagingFailed where they have changed."""
    directory = Path(version.code_directory or "")
    files = {}
    for name in version.code:
        try:
            files[name] = (directory / name).read_bytes()
        except OSError as error:
            raise StagingFailed(f"{directory / name}: no such code file ({error.strerror})") from error
    found = files_checksum({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    if found != version.code_sha256:
        raise StagingFailed(
            f"{version.software.name} {version.version}: the code in {directory} has changed since it was "
            f"registered (sha256 {found[:12]}…, registered {str(version.code_sha256)[:12]}…): register a new version"
        )
    return files
