"""Removal of directories with all their content."""

import contextlib
import os
import shutil


def remove_tree(path: bytes) -> None:
    """Remove a directory with all its content, if it exists, also where an unpacked image made parts unreadable."""
    for place, inner, _ in os.walk(path):
        for name in inner:
            if not os.path.islink(os.path.join(place, name)):
                with contextlib.suppress(OSError):  # the removal below reports the reason
                    os.chmod(os.path.join(place, name), 0o700)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
