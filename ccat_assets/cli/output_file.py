"""Writes the files that commands produce: completely or not at all, with a clear message if it fails."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ccat_models.errors import InvalidDeclaration


def write_lines(output: Path, lines: Iterable[str], what: str) -> None:
    """Write lines into a file; raise InvalidDeclaration if it cannot be written. `what` names the content."""
    with in_place_of(output) as directory:
        if output.is_dir():
            raise InvalidDeclaration(f"--output {output}: is a directory, {what} is written into a file")
        with (directory / "whole").open("w", encoding="utf-8") as file:
            file.writelines(lines)
        (directory / "whole").replace(output)


@contextmanager
def in_place_of(output: Path) -> Iterator[Path]:
    """Yield a temporary directory beside the output: what is complete there is renamed to it.

    The directory is removed afterwards. Raises InvalidDeclaration if it cannot be written.
    """
    with disk_asked(output):
        directory = Path(tempfile.mkdtemp(prefix=".ccat-export-", dir=output.absolute().parent))
        try:
            directory.chmod(0o755)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def disk_asked(output: Path) -> Iterator[None]:
    """Raise InvalidDeclaration for an OSError while an output is examined or written."""
    try:
        yield
    except OSError as error:
        raise InvalidDeclaration(f"--output {output}: cannot be written: {error.strerror or error}") from error
