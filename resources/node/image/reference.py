"""References to images: which kinds there are, and what is never shown of them."""

import re
from typing import Tuple

VALID = "an absolute path, file:///…, oras://…, docker://…, docker-archive:/… or oci-archive:/…"
NAME = re.compile(r"[A-Za-z0-9._:/@-]+")  # of an image in a registry
CREDENTIALS = re.compile(r"//[^/\s@]*@(?!sha256:)")


class Failed(Exception):
    """Raised with why there will be no image."""


def parse(reference: str, sha256: str) -> Tuple[str, str]:
    """Return a reference's kind and the path or name that apptainer is given; raise Failed for what is none."""
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
    """Return the name of the image with this manifest, without its tag."""
    name, _, digest = name.partition("@")
    if digest not in ("", "sha256:" + sha256):
        raise Failed("names the manifest %s, not sha256:%s" % (digest, sha256))
    path, slash, last = name.rpartition("/")
    return "%s%s%s@sha256:%s" % (path, slash, last.partition(":")[0], sha256)


def without_credentials(text: str) -> str:
    """Return text whose references name no user."""
    return CREDENTIALS.sub("//…@", text)
