"""This package as one file: a zipapp whose bytes depend only on its sources."""

import functools
import io
import os
import zipfile
from typing import Dict, List, Optional, Tuple

_NEVER = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_READ_WRITE_OWN = 0o644
_BEGIN = b"import sys\nfrom resources.node.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


@functools.lru_cache(maxsize=None)
def content() -> bytes:
    """Return the zipapp of the sources that this module was imported from."""
    package = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(package))
    files: Dict[str, bytes] = {"__main__.py": _BEGIN, "resources/__init__.py": b""}
    for directory, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    files[os.path.relpath(path, root)] = file.read()
    return _packed(files)


def _packed(files: Dict[str, bytes]) -> bytes:
    """Return a zip that is identical for identical files: sorted, with a constant time, and not compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _NEVER)
            entry.create_system, entry.external_attr = 3, _READ_WRITE_OWN << 16  # 3: Unix, with its file mode
            archive.writestr(entry, files[name])
    return packed.getvalue()


def sent_command(python: str, words: List[str], archive: Optional[bytes] = None) -> Tuple[List[str], bytes]:
    """Return the command that runs the zipapp from its stdin, and what stdin has to begin with; see `sent.py`."""
    archive = content() if archive is None else archive
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        begin = packed.read("resources/node/sent.py")
    code = "import sys; exec(sys.stdin.buffer.read(%d))" % len(begin)
    return [python, "-I", "-S", "-c", code, str(len(archive)), *words], begin + archive
