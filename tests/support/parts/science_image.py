"""An image with the packages of the examples' reductions, in the very versions that are installed here."""

import hashlib
import platform
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from resources.container.apptainer import find_apptainer
from tests.support.parts.apptainer import MAKE_IMAGE, REMEDY, Image, make_image
from tests.support.parts.not_run import not_run

REDUCTIONS_IMPORT = ("numpy", "matplotlib", "astropy")
_NOT_NEEDED = {"tests", "__pycache__"}


@pytest.fixture(scope="session")
def science_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Give an image that can run the examples' reductions, built once for each set of versions."""
    apptainer = find_apptainer()
    if apptainer is None:
        not_run("Apptainer", REMEDY)
    if platform.python_version_tuple()[:2] != ("3", "11"):
        not_run("Python 3.11", "Debian 12's own, as in the image its packages are copied to", installable=False)
    chosen = list(with_requirements())
    versions = sorted(f"{one.name}=={one.version}" for one in chosen)
    recipe = MAKE_IMAGE.read_bytes() + Path(__file__).read_bytes()
    key = hashlib.sha256(recipe + "\n".join(versions).encode()).hexdigest()[:12]
    path = Path.home() / ".cache" / "ccat-tests" / f"science-{key}.sif"
    tree = tmp_path_factory.mktemp("packages")
    if not path.exists():
        for one in chosen:
            copy(one, tree)
    made = make_image(path, tree, apptainer)
    shutil.rmtree(tree)
    return made


def with_requirements() -> Iterator[Distribution]:
    """Yield the installed packages that the reductions need, directly or not."""
    seen: set[str] = set()
    names = list(REDUCTIONS_IMPORT)
    while names:
        one = distribution(names.pop())
        if one.name in seen:
            continue
        seen.add(one.name)
        yield one
        needed = [text.partition(";") for text in one.requires or ()]
        names += [re.split(r"[^\w.\-]", text, maxsplit=1)[0] for text, _, condition in needed if not condition]


def copy(one: Distribution, tree: Path) -> None:
    """Copy an installed package's files without the tests of its parts; astropy imports its own `tests` at once."""
    for file in one.files or ():
        source = Path(str(one.locate_file(file)))
        if ".." in file.parts or _NOT_NEEDED & set(file.parts[2:-1]) or not source.is_file():
            continue
        target = tree / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
