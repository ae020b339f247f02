import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from resources.errors import HostNotTrusted
from tests.support.hands.attempts import eventually
from tests.support.parts.login_node import LoginNode, make_key
from tests.support.parts.ssh import Clock, connect, works

pytestmark = pytest.mark.real

SECRET = "correct-horse-battery"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_changed_host_key_is_not_trusted_and_shown_no_credentials(node: LoginNode, clock: Clock) -> None:
    node.stop()
    node.change_host_key()
    node.start()
    shell = connect(node.target(), clock)
    for _ in range(10):
        with pytest.raises(HostNotTrusted, match="ask the machine's operators"):
            shell.run(["true"])
    eventually(lambda: "[preauth]" in node.log())  # the server has seen us leave
    assert (node.connections, node.logins) == (1, 0)
    clock.now += 61
    node.known_hosts.write_text(node._known_line(node.port))
    assert works(shell)
    shell.close()


@pytest.mark.parametrize(
    "line", ["", "# a comment\n", "@revoked {line}", "other.host {key}", "[127.0.0.1]:{port} ssh-ed25519 AAAA"]
)
def test_unknown_host_is_not_even_connected_to(node: LoginNode, line: str) -> None:
    known = node.known_hosts.read_text()
    node.known_hosts.write_text(line.format(line=known, key=known.split(" ", 1)[1], port=node.port))
    shell = connect(node.target())
    with pytest.raises(HostNotTrusted, match="ssh-keyscan -p"):
        shell.run(["true"])
    assert shell.connections == 0


def test_missing_known_hosts_is_named(node: LoginNode, tmp_path: Path) -> None:
    with pytest.raises(HostNotTrusted, match="none: No such file"):
        connect(node.target(known_hosts=tmp_path / "none")).run(["true"])


def test_any_of_several_known_keys_will_do(node: LoginNode, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known = node.known_hosts.read_text()
    node.known_hosts.write_text(f"[127.0.0.1]:{node.port} {other}{known}")
    shell = connect(node.target())
    assert works(shell)
    shell.close()


def test_wrong_key_is_refused_and_not_tried_again_soon(node: LoginNode, clock: Clock, tmp_path: Path) -> None:
    shell = connect(node.target(key_file=make_key(tmp_path / "stranger")), clock)
    for _ in range(10):
        with pytest.raises(HostNotTrusted, match=r"credentials are refused: none of SHA256:.* authorized_keys"):
            shell.run(["true"])
    clock.now += 59
    with pytest.raises(HostNotTrusted, match=r"not tried again for 1\.0 s"):
        shell.run(["true"])
    assert (shell.connections, node.connections) == (1, 1)


def test_locked_key_needs_its_passphrase_and_nothing_shows_it(
    node: LoginNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = make_key(tmp_path / "locked", SECRET)
    (node.folder / "client_key.pub").write_text(key.with_suffix(".pub").read_text())
    target = node.target(key_file=key, passphrase=SecretStr(SECRET))
    shell = connect(target)
    assert works(shell)
    shell.close()
    shown = [repr(target), str(target), repr(shell), repr(vars(shell))]
    for passphrase in (SecretStr(SECRET + "!"), None):
        with pytest.raises(HostNotTrusted, match="locked cannot be used: wrong passphrase") as raised:
            connect(node.target(key_file=key, passphrase=passphrase)).run(["true"])
        shown += [str(raised.value), repr(raised.value.__cause__)]
    assert SECRET not in "".join(shown) + caplog.text
    assert key.read_text()[100:130] not in "".join(shown) + caplog.text


def test_no_key_at_all_is_said_before_connecting(node: LoginNode) -> None:
    shell = connect(node.target(key_file=None))
    with pytest.raises(HostNotTrusted, match="no key to offer"):
        shell.run(["true"])
    assert shell.connections == 0


def test_a_request_for_a_second_factor_is_refused_and_no_user_is_prompted(node: LoginNode) -> None:
    node.stop()
    node._settings = node._settings.replace(
        "AuthenticationMethods publickey", "AuthenticationMethods publickey,keyboard-interactive"
    )
    node.start()
    with pytest.raises(HostNotTrusted, match="second proof: keyboard-interactive"):
        connect(node.target()).run(["true"])
