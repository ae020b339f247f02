"""Removal of directories with all that is in them."""

import contextlib
import os
import shutil


def remove_tree(path: bytes) -> None:
    """Remove a directory with all that is in it, if it is there, also where an unpacked image made parts unreadable."""
    for place, inner, _ in os.walk(path):
        for name in inner:
            if not os.path.islink(os.path.join(place, name)):
                with contextlib.suppress(OSError):  # the removal says why it cannot be
                    os.chmod(os.path.join(place, name), 0o700)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
