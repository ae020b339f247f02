import hashlib
import subprocess  # noqa: TID251 - tests start real programs
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.container.apptainer import find_apptainer
from tests.support.parts.not_run import not_run

MAKE_IMAGE = Path(__file__).with_name("make_image.sh")
REMEDY = "as root on Debian 12: tests/support/parts/install_apptainer.sh"


@dataclass(frozen=True)
class Image:
    """A real image with Python in it, and the apptainer that runs it."""

    path: Path
    sha256: str
    apptainer: str


@pytest.fixture(scope="session")
def apptainer_image() -> Image:
    """Give a small real image, built once for this machine outside of the clone and again when its recipe changes."""
    apptainer = find_apptainer()
    if apptainer is None:
        not_run("Apptainer", REMEDY)
    recipe = hashlib.sha256(MAKE_IMAGE.read_bytes()).hexdigest()[:12]
    return make_image(Path.home() / ".cache" / "ccat-tests" / f"python311-{recipe}.sif", None, apptainer)


def make_image(path: Path, packages: Path | None, apptainer: str) -> Image:
    """Return an image, made where it is not there yet, with a directory of Python packages in it."""
    made = subprocess.run(
        [MAKE_IMAGE, path, *([packages] if packages else [])], capture_output=True, text=True, check=False
    )
    if made.returncode:
        not_run("an Apptainer image", f"make_image.sh: {made.stderr.strip()[-500:]}")
    return Image(path, hashlib.sha256(path.read_bytes()).hexdigest(), apptainer)
