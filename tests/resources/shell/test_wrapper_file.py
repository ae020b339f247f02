from pathlib import Path

from resources.shell.wrapper_file import wrapper_text
from resources.workspace.store import AttemptStore
from tests.support.hands.attempts import WRAPPER


def test_wrapper_is_named_by_its_content_and_written_once(tmp_path: Path) -> None:
    path = AttemptStore.here(tmp_path).install_wrapper()
    assert path.parent == tmp_path / ".wrapper"
    assert path.read_bytes() == WRAPPER.read_bytes() == wrapper_text().encode()
    assert path.stat().st_mode & 0o777 == 0o644
    inode = path.stat().st_ino
    assert AttemptStore.here(tmp_path).install_wrapper() == path
    assert path.stat().st_ino == inode
    assert list(path.parent.iterdir()) == [path]
