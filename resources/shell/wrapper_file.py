import hashlib
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).parents[1] / "node" / "attempt_wrapper.py"


@cache
def wrapper_text() -> str:
    """Return the source of the attempt's wrapper."""
    return _SOURCE.read_text(encoding="utf-8")


def wrapper_path(base: Path) -> Path:
    """Return where the wrapper lies below a workspace's base, named by its content."""
    digest = hashlib.sha256(wrapper_text().encode()).hexdigest()
    return base / ".wrapper" / f"attempt_wrapper-{digest[:12]}.py"
