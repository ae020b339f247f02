"""The sha256 that identifies an image, if this machine can find it out."""

import hashlib
from pathlib import Path

from resources.errors import StagingFailed
from resources.node.image.reference import Failed, parse, without_credentials


def image_sha256(reference: str, given: str | None) -> str | None:
    """Return the sha256 that identifies an image: of its local file, from its reference, or as `given`.

    Returns None where it is unknown. Raises StagingFailed where two of these differ, for a file that cannot be read,
    and for an invalid image reference.
    """
    manifest = reference.rpartition("@sha256:")[2] if reference.startswith("docker:") and "@" in reference else None
    try:
        kind, path = parse(reference, given or manifest or "")
    except Failed as error:
        raise StagingFailed(f"image {without_credentials(reference)}: {error}") from error
    if kind not in {"file", "docker-archive", "oci-archive"} or (given is not None and not Path(path).is_file()):
        return given or manifest
    try:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StagingFailed(f"image {reference}: {error.strerror}") from error
    if given is not None and given != found:
        raise StagingFailed(f"image {reference}: has sha256 {found}, not the {given} that is given")
    return found
