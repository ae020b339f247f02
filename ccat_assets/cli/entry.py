"""Where `ccat` begins: what the table of commands answers is answered before anything large is imported."""

import os
import sys
from collections.abc import Sequence

from ccat_assets.cli.commands import GROUPS, HELP_OPTIONS, VERSION_OPTION, WITHOUT_COMMAND


def main() -> None:
    """Run the command line."""
    if not (_is_completed() if "_CCAT_COMPLETE" in os.environ else _is_answered(sys.argv[1:])):  # noqa: TID251 - shells ask there
        from ccat_assets.cli.invoke import invoke

        invoke()


def _is_completed() -> bool:
    from ccat_assets.cli.completion import completed

    answer = completed(os.environ)  # noqa: TID251 - likewise
    if answer is not None:
        sys.stdout.write(f"{answer}\n")
    return answer is not None


def _is_answered(words: Sequence[str]) -> bool:
    """Answer `--version`, and `--help` of `ccat` or of a group without options of its own."""
    *path, last = words or [""]
    if last == VERSION_OPTION.name and not path:
        from ccat_assets.cli.version import version

        sys.stdout.write(f"{version()}\n")
        return True
    group = " ".join(path)
    if last in HELP_OPTIONS and group in GROUPS and group not in WITHOUT_COMMAND:
        from ccat_assets.cli.help import print_help

        print_help(group)
        return True
    return False
