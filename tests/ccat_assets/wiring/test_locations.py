from pathlib import Path

import pytest

from ccat_assets.wiring.locations import shell_of
from ccat_assets.wiring.settings import Settings
from ccat_models.errors import InvalidDeclaration
from resources.shell.ssh import SshShell


def settings(tmp_path: Path, jump: str) -> Settings:
    return Settings(ssh_host="login", ssh_user="ada", ssh_known_hosts=tmp_path / "known_hosts", ssh_jump=jump)


def test_a_jump_host_may_have_the_login_nodes_name(tmp_path: Path) -> None:
    shell = shell_of(settings(tmp_path, "eve@login:2222"))
    assert isinstance(shell, SshShell)
    node = shell._target
    assert node.jump is not None
    assert (node.account, node.port, node.jump.account, node.jump.port) == ("ada@login", 22, "eve@login", 2222)
    assert (node.jump.jump, node.jump.known_hosts) == (None, node.known_hosts)


@pytest.mark.parametrize("jump", ["eve@", ":22", "login:ssh"])
def test_a_jump_host_that_cannot_be_read_is_refused(tmp_path: Path, jump: str) -> None:
    with pytest.raises(InvalidDeclaration, match=r"ssh_jump: must be \[user@\]host\[:port\]"):
        shell_of(settings(tmp_path, jump))
