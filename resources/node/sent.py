"""Run the zipapp from standard input, on a machine that cannot store it, e.g. because its disk is full.

`zipapp.sent_command` gives the command line; stdin holds this file, the zipapp, and then the sub-command's input.
"""

import importlib
import importlib.abc
import importlib.util
import io
import sys
import zipfile
from typing import Any


class SentPackage(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from the bytes of a zipapp."""

    def __init__(self, archive: bytes) -> None:
        self.archive = archive
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            self._sources = {name: packed.read(name).decode("utf-8") for name in packed.namelist()}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return how a module is imported, None for one that the zipapp does not have."""
        del path, target
        if self._file(fullname) not in self._sources:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        """Say whether a name is that of a package."""
        return fullname.replace(".", "/") + "/__init__.py" in self._sources

    def get_source(self, fullname: str) -> str:
        """Return a module's source."""
        return self._sources[self._file(fullname)]

    def _file(self, name: str) -> str:
        return name.replace(".", "/") + ("/__init__.py" if self.is_package(name) else ".py")


def main() -> int:
    """Read the zipapp from stdin and run it; return its exit status."""
    sys.meta_path.insert(0, SentPackage(sys.stdin.buffer.read(int(sys.argv[1]))))
    return int(importlib.import_module("resources.node.__main__").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
