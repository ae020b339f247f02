from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal, open_terminal


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path) -> Terminal:
    """Give the terminal of a user who has done `ccat init`."""
    return open_terminal(tmp_path, sqlite_template)


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Terminal:
    """Give a terminal after a pipeline ran on four scans, of which the fourth is bad; read it, do not change it."""
    terminal = open_terminal(tmp_path_factory.mktemp("worked"), sqlite_template)
    assert terminal.work("a", "b", "c", "exit 65").code == 1
    return terminal
