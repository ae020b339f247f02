"""Image references: their kinds, and the removal of credentials from texts that contain them."""

import re
from typing import Tuple

VALID = "an absolute path, file:///…, oras://…, docker://…, docker-archive:/… or oci-archive:/…"
NAME = re.compile(r"[A-Za-z0-9._:/@-]+")  # an image in a registry
CREDENTIALS = re.compile(r"//[^/\s@]*@(?!sha256:)")


class Failed(Exception):
    """Raised where an image cannot be provided; the message says why."""


def parse(reference: str, sha256: str) -> Tuple[str, str]:
    """Return a reference's kind, and the path or name for apptainer; raise Failed for an invalid reference."""
    if CREDENTIALS.search(reference):
        raise Failed("names a user: credentials belong into apptainer's own configuration")
    if reference.startswith("/"):
        return "file", reference
    scheme, _, rest = reference.partition(":")
    double, name = rest.startswith("//"), re.sub("^//", "", rest)
    if scheme == "file" and double and name.startswith("/"):
        return "file", name
    if scheme in ("docker-archive", "oci-archive") and name.startswith("/"):
        if ":" in name:
            raise Failed("apptainer cannot read an archive with ':' in its path")
        return scheme, name
    if scheme in ("oras", "docker") and double and NAME.fullmatch(name):
        return scheme, name if scheme == "oras" else by_digest(name, sha256)
    raise Failed("must be " + VALID)


def by_digest(name: str, sha256: str) -> str:
    """Return an image's name with the digest of its manifest in place of its tag."""
    name, _, digest = name.partition("@")
    if digest not in ("", "sha256:" + sha256):
        raise Failed("names the manifest %s, not sha256:%s" % (digest, sha256))
    path, slash, last = name.rpartition("/")
    return "%s%s%s@sha256:%s" % (path, slash, last.partition(":")[0], sha256)


def without_credentials(text: str) -> str:
    """Return the text without the user names and passwords in its references."""
    return CREDENTIALS.sub("//…@", text)
