"""The remote program, which runs on login nodes and on the nodes that execute attempts.

It needs only Python >= 3.6 on Linux with the standard library. It is installed as one zipapp, named by its checksum:

    python3 -I -S node-….pyz wrapper ATTEMPT_DIRECTORY SUBMISSION_KEY        run one attempt
    python3 -I -S node-….pyz store < request.json > answer.json              handle attempts' directories
    python3 -I -S node-….pyz stage DIRECTORY < request.json > answer.json    bring packages from an archive
    python3 -I -S node-….pyz image DIRECTORY APPTAINER < request.json > answer.json    fill a cache of SIF files
"""

import importlib
import sys
from typing import List

EX_CONFIG = 78  # sysexits.h
SUB_COMMANDS = ("image", "stage", "store", "wrapper")


def main(arguments: List[str]) -> int:
    """Run a sub-command, importing only the modules that it needs; return its exit status."""
    if not arguments or arguments[0] not in SUB_COMMANDS:
        sys.stderr.write("usage: node.pyz %s [ARGUMENTS]\n" % "|".join(SUB_COMMANDS))
        return EX_CONFIG
    command = importlib.import_module("resources.node.%s.command" % arguments[0])
    return int(command.main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
