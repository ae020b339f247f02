from pathlib import Path

import pytest

from tests.support.cli import Terminal, open_terminal


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path) -> Terminal:
    """Give somebody who has done `ccat init`."""
    return open_terminal(tmp_path, sqlite_template)
