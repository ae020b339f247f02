import hashlib
from functools import cache
from pathlib import Path

from resources.atomic_file import write_atomically

_SOURCE = Path(__file__).with_name("attempt_wrapper.py")


@cache
def wrapper_text() -> str:
    """Return the source of the attempt's wrapper."""
    return _SOURCE.read_text(encoding="utf-8")


def wrapper_path(base: Path) -> Path:
    """Return where the wrapper lies below a workspace's base, named by its content."""
    digest = hashlib.sha256(wrapper_text().encode()).hexdigest()
    return base / ".wrapper" / f"attempt_wrapper-{digest[:12]}.py"


def install_wrapper(base: Path) -> Path:
    """Make sure that the wrapper lies below the base and return its path; jobs of older versions keep theirs."""
    path = wrapper_path(base)
    if not path.exists():
        write_atomically(path, wrapper_text())
    return path
