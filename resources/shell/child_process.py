import subprocess
from collections.abc import Sequence


def start_child_process(command: Sequence[str]) -> None:
    """Start a program beside this process, which is to end when this one does."""
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
