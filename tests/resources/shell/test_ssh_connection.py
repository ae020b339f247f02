import random
import sys
import threading
from pathlib import Path

import pytest

from resources.errors import ShellUnavailable
from resources.shell.local import LocalShell
from tests.support.hands.attempts import eventually
from tests.support.parts.login_node import LoginNode
from tests.support.parts.ssh import connect, works

pytestmark = pytest.mark.real

CONTENT = random.Random(3).randbytes(200_000)


def test_two_hundred_commands_need_one_connection(node: LoginNode) -> None:
    shell = connect(node.target())
    assert shell.connections == 0  # none before it is needed
    assert all(shell.run(["echo", str(number)]).stdout == f"{number}\n" for number in range(200))
    assert (shell.connections, node.connections) == (1, 1)
    shell.close()


def test_closed_shell_leaves_no_thread(node: LoginNode) -> None:
    before = set(threading.enumerate())
    shell = connect(node.target())
    assert works(shell)
    shell.close()
    eventually(lambda: set(threading.enumerate()) <= before)


def test_interpreter_ends_though_a_connection_is_open(node: LoginNode) -> None:
    code = (
        "import sys; from pathlib import Path; from resources.shell.ssh import SshShell, SshTarget\n"
        f"target = SshTarget('127.0.0.1', {node.user!r}, Path({str(node.known_hosts)!r}), {node.port}, Path({str(node.client_key)!r}))\n"
        "print(SshShell(target).run(['echo', 'here']).stdout)"
    )
    root = str(Path(__file__).parents[3])
    ended = LocalShell().run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"], timeout_seconds=20
    )
    assert (ended.exit_code, ended.stdout) == (0, "here\n\n")


def test_jump_host_leads_to_the_machine(node: LoginNode, tmp_path: Path) -> None:
    jump = LoginNode(tmp_path / "jump", forwarding=True)
    jump.start()
    shell = connect(node.target(jump=jump.target()))
    try:
        assert works(shell)
        shell.write(tmp_path / "file", CONTENT)
        assert shell.read(tmp_path / "file", len(CONTENT)) == CONTENT
        assert (jump.connections, node.connections, shell.connections) == (1, 1, 1)
    finally:
        shell.close()
        jump.stop()


def test_jump_host_that_forwards_nothing_is_unavailable(node: LoginNode, tmp_path: Path) -> None:
    jump = LoginNode(tmp_path / "jump", forwarding=False)
    jump.start()
    shell = connect(node.target(jump=jump.target()))
    try:
        with pytest.raises(ShellUnavailable, match="prohibited"):
            shell.run(["true"])
        assert (shell.connections, node.connections) == (0, 0)
    finally:
        shell.close()
        jump.stop()
