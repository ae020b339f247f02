"""Files that commands write: whole or not at all, and what keeps them from being written said in words."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ccat_models.errors import InvalidDeclaration


def write_lines(output: Path, lines: Iterable[str], what: str) -> None:
    """Write lines into a file; raise InvalidDeclaration where that cannot be."""
    with in_place_of(output) as directory:
        if output.is_dir():
            raise InvalidDeclaration(f"--output {output}: is a directory, {what} is written into a file")
        with (directory / "whole").open("w", encoding="utf-8") as file:
            file.writelines(lines)
        (directory / "whole").replace(output)


@contextmanager
def in_place_of(output: Path) -> Iterator[Path]:
    """Give a directory beside the output, for what is renamed once it is whole; it is gone afterwards.

    Raises InvalidDeclaration where the disk does not take it.
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
    """Raise InvalidDeclaration for what a disk answers when an output is looked at or written."""
    try:
        yield
    except OSError as error:
        raise InvalidDeclaration(f"--output {output}: cannot be written: {error.strerror or error}") from error
