from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.errors import StagingFailed
from resources.node.image.cached import FILL_SECONDS
from resources.node.image.reference import without_credentials
from resources.shell.remote_program import RemoteProgram


@dataclass(frozen=True)
class Ready:
    """An image that is in the cache: its file, and the file's own sha256 for the wrapper to verify."""

    path: Path
    sif_sha256: str


@dataclass(frozen=True)
class Filling:
    """An image that is being copied into the cache: ask again."""


class SifCache:
    """Images as SIF files in one directory of the machine that runs attempts, copied there on request.

    `insecure_registries` are host[:port] of registries that are read without TLS.
    """

    def __init__(
        self,
        program: RemoteProgram,
        directory: Path,
        apptainer: str,
        *,
        insecure_registries: Sequence[str] = (),
        fill_seconds: float = FILL_SECONDS,
    ) -> None:
        self._program = program
        self._words = ["image", str(directory), apptainer]
        self._options = {"insecure_registries": list(insecure_registries), "time_limit_seconds": fill_seconds}

    def ask(self, reference: str, sha256: str) -> Ready | Filling:
        """Return an image in the cache; if it is missing, start copying it and return `Filling`.

        `sha256` identifies the image. Raises StagingFailed once if copying failed: the next call tries again.
        """
        answer = self._program.ask(self._words, {"reference": reference, "sha256": sha256, **self._options})
        if answer["state"] == "failed":
            raise StagingFailed(f"image {without_credentials(reference)}: {answer['message']}")
        if answer["state"] == "filling":
            return Filling()
        return Ready(Path(answer["path"]), answer["sha256"])
