"""One image in the cache: its files, and the record of the last failure."""

import datetime as dt
import json
import os
import re
from typing import Any, Dict, Optional

from resources.node.files import sync_directory, write_json
from resources.node.image.reference import Failed, parse

SHA256 = re.compile(r"[0-9a-f]{64}")
FILL_SECONDS = 7200.0


class Image:
    """The image in a request, and its files in the cache; raises Failed for an invalid request."""

    def __init__(self, cache: bytes, request: Dict[str, Any]) -> None:
        self.reference, self.sha256 = str(request["reference"]), str(request["sha256"])
        self.insecure_registries = [str(name) for name in request.get("insecure_registries", [])]
        self.seconds = float(request.get("time_limit_seconds", FILL_SECONDS))
        if not SHA256.fullmatch(self.sha256):
            raise Failed("%r is not a sha256" % self.sha256)
        self.kind, self.name = parse(self.reference, self.sha256)
        self.cache = cache
        self.sif, self.sidecar, self.lock, self.failed = (
            os.path.join(cache, self.sha256.encode() + ending) for ending in (b".sif", b".json", b".lock", b".failed")
        )
        self.part_prefix = b".%s.part-" % self.sha256.encode()

    @property
    def part(self) -> bytes:
        """Return the path of this process's partial file, which it renames when it is whole."""
        return os.path.join(self.cache, self.part_prefix + b"%d" % os.getpid())

    def write(self, path: bytes, content: Dict[str, Any]) -> None:
        """Write a JSON file of this image by rename, so that it is whole or absent; a kill leaves a partial file."""
        write_json(path, content, self.part + b".json")
        sync_directory(self.cache)

    def ready(self) -> Optional[Dict[str, Any]]:
        """Return the answer if the image is there, None otherwise; its sha256 is read from the sidecar."""
        try:
            with open(self.sidecar, encoding="utf-8") as file:
                sif_sha256 = json.load(file)["sif_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not os.path.isfile(self.sif):
            return None
        return {"state": "ready", "path": self.sif.decode("utf-8", "surrogateescape"), "sha256": sif_sha256}


def take_failure(image: Image) -> Optional[Dict[str, Any]]:
    """Return how the last copy failed, and forget it; None if it did not."""
    try:
        with open(image.failed, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    os.remove(image.failed)
    failure = json.loads(text)
    return {"state": "failed", "message": "%s (%s)" % (failure["message"], failure["time"])}


def leave_failure(image: Image, message: str) -> None:
    """Write why there is no image, for the next request to return."""
    image.write(image.failed, {"message": message, "time": now()})


def now() -> str:
    """Return the time in UTC, ISO 8601, in whole seconds."""
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
