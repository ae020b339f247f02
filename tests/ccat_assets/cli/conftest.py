from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal, open_terminal


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path) -> Terminal:
    """Give somebody who has done `ccat init`."""
    return open_terminal(tmp_path, sqlite_template)


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Terminal:
    """Give somebody who has run a pipeline on four scans of which the fourth is bad; to look at, not to change."""
    terminal = open_terminal(tmp_path_factory.mktemp("worked"), sqlite_template)
    assert terminal.work("a", "b", "c", "exit 65").code == 1
    return terminal
