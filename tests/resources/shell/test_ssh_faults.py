import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from resources.errors import ShellDoubtful, ShellUnavailable
from resources.shell.ssh import SshShell
from resources.shell.ssh_connection import SshConnection, is_alive
from tests.support.hands.attempts import eventually, python
from tests.support.parts.login_node import LoginNode
from tests.support.parts.relay import FlakyRelay
from tests.support.parts.ssh import Clock, connect, is_connected, works

pytestmark = pytest.mark.real

LARGE = random.Random(2).randbytes(5_000_000)


@pytest.fixture
def relay(node: LoginNode) -> Iterator[FlakyRelay]:
    with FlakyRelay(node.port) as relay:
        yield relay


@pytest.fixture
def clock() -> Clock:
    return Clock()


def within(seconds: float, started: float) -> bool:
    return time.monotonic() - started < seconds


def start(shell: SshShell, command: list[str], timeout_seconds: float = 60.0) -> "Future[None]":
    """Run a command in a thread of its own."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            assert shell.run(command, timeout_seconds=timeout_seconds).exit_code == 0
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks for the result
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_server_that_was_killed_is_found_again(node: LoginNode, clock: Clock) -> None:
    shell = connect(node.target(), clock)
    assert works(shell)
    node.kill()
    eventually(lambda: not is_connected(shell))
    with pytest.raises(ShellUnavailable, match=r"127\.0\.0\.1"):
        shell.run(["true"])
    node.start()
    with pytest.raises(ShellUnavailable, match=r"not tried again for 1\.0 s"):
        shell.run(["true"])
    clock.now += 1.1
    assert works(shell)
    assert (shell.connections, node.connections) == (2, 2)
    shell.close()


def test_lost_connection_is_replaced_at_once(relay: FlakyRelay, node: LoginNode, clock: Clock) -> None:
    shell = connect(node.target(relay.port), clock)
    assert works(shell)
    relay.drop()
    eventually(lambda: not is_connected(shell))
    assert works(shell)
    assert relay.connections == 2
    shell.close()


def test_a_refusing_server_is_not_flooded_with_connections(relay: FlakyRelay, node: LoginNode, clock: Clock) -> None:
    shell = connect(node.target(relay.port), clock)
    relay.refuse()
    for trials, wait in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        for _ in range(20):
            with pytest.raises(ShellUnavailable):
                shell.run(["true"])
        clock.now += wait - 0.1
        with pytest.raises(ShellUnavailable, match=r"not tried again for 0\.1 s"):
            shell.run(["true"])
        assert relay.connections == trials
        clock.now += 0.2
    relay.flow()
    assert works(shell)
    relay.refuse()
    relay.drop()
    clock.now += 1000
    eventually(lambda: not is_connected(shell))
    with pytest.raises(ShellUnavailable):
        shell.run(["true"])
    with pytest.raises(ShellUnavailable, match=r"for 1\.0 s"):  # a success has reset the waiting
        shell.run(["true"])
    shell.close()


def test_many_threads_try_a_dead_server_once(relay: FlakyRelay, node: LoginNode, clock: Clock) -> None:
    relay.refuse()
    shell = connect(node.target(relay.port), clock)
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(shell.run, ["true"]) for _ in range(100)]
    assert all(isinstance(call.exception(), ShellUnavailable) for call in calls)
    assert relay.connections == 1


def test_waiting_is_shortened_by_up_to_a_half(node: LoginNode, clock: Clock) -> None:
    node.stop()
    shell = SshShell(node.target(), clock, jitter=lambda: 0.999)
    for expected in (r"0\.5 s", r"1\.0 s", r"2\.0 s"):
        with pytest.raises(ShellUnavailable):
            shell.run(["true"])
        with pytest.raises(ShellUnavailable, match=expected):
            shell.run(["true"])
        clock.now += 60


def test_frozen_server_is_given_up_in_time(node: LoginNode, clock: Clock) -> None:
    shell = connect(node.target(connect_timeout_seconds=1.0), clock)
    assert works(shell)
    node.freeze()
    started = time.monotonic()
    with pytest.raises(ShellUnavailable, match="opening a channel"):
        shell.run(["true"])
    assert within(5, started)
    started = time.monotonic()
    with pytest.raises(
        ShellUnavailable, match="cannot be reached"
    ):  # connecting anew: the kernel accepts, no server greets
        shell.run(["true"])
    assert within(5, started)
    node.thaw()
    clock.now += 2
    assert works(shell)
    shell.close()


def test_connection_that_takes_nothing_more_is_not_alive(node: LoginNode) -> None:
    with closing(SshConnection(node.target())) as connection:
        transport = connection.transport()
        assert is_alive(transport, 5.0)
        node.freeze()  # so that the reading thread receives nothing
        transport.sock.shutdown(socket.SHUT_WR)
        assert not is_alive(transport, 5.0)
        node.thaw()


def test_command_on_a_server_that_freezes_is_doubtful_in_time(node: LoginNode, tmp_path: Path) -> None:
    shell = connect(node.target())
    running = start(shell, ["sh", "-c", f"touch {tmp_path}/begun; sleep 30"], timeout_seconds=2.0)
    eventually((tmp_path / "begun").exists)
    started = time.monotonic()
    node.freeze()
    assert isinstance(running.exception(20), ShellDoubtful)
    assert within(8, started)
    node.thaw()
    assert works(shell)
    assert shell.connections == 2  # the old one did not answer
    shell.close()


def test_hung_exec_request_is_doubtful_in_time(relay: FlakyRelay, node: LoginNode) -> None:
    shell = connect(node.target(relay.port))
    assert works(shell)
    relay.stall_after(1, "down")  # the server's word that the channel is open still comes
    started = time.monotonic()
    with pytest.raises(ShellDoubtful):
        shell.run(["true"], timeout_seconds=1.0)
    assert within(6, started)
    relay.flow()
    assert works(shell)
    shell.close()


def test_a_command_whose_exit_status_does_not_arrive_is_doubtful(node: LoginNode, tmp_path: Path) -> None:
    shell = connect(node.target())
    running = start(shell, ["sh", "-c", f"touch {tmp_path}/begun; sleep 30"])
    eventually((tmp_path / "begun").exists)
    node.kill()
    error = running.exception(20)
    assert isinstance(error, ShellDoubtful)
    assert "before the command was known to end" in str(error)
    shell.close()


@pytest.mark.parametrize("count", [10_000, 1_000_000, 4_990_000])
def test_output_that_breaks_off_is_doubtful(relay: FlakyRelay, node: LoginNode, count: int) -> None:
    shell = connect(node.target(relay.port))
    assert works(shell)
    relay.drop_after(count, "down")
    with pytest.raises(ShellDoubtful):
        shell.run(python("import sys; sys.stdout.write('x' * 5_000_000)"))
    assert works(shell)
    shell.close()


def test_output_that_breaks_off_after_the_exit_status_is_doubtful(relay: FlakyRelay, node: LoginNode) -> None:
    command = ["sh", "-c", "(sleep 0.2; head -c 1000000 /dev/zero) & exit 0"]  # the status comes before the output
    shell = connect(node.target(relay.port))
    assert len(shell.run(command).stdout) == 1_000_000
    relay.drop_after(100_000, "down")
    with pytest.raises(ShellDoubtful, match="before the command was known to end"):
        shell.run(command)
    shell.close()


@pytest.mark.parametrize("count", [100, 1_000, 1_000_000, 5_000_000])
def test_write_that_breaks_off_leaves_the_old_file(
    relay: FlakyRelay, node: LoginNode, tmp_path: Path, count: int
) -> None:
    shell = connect(node.target(relay.port))
    path = tmp_path / "results" / "file"
    shell.write(path, b"old")
    relay.drop_after(count, "up")
    with pytest.raises((ShellDoubtful, ShellUnavailable)) as raised:
        shell.write(path, LARGE)
    assert count < 1_000 or isinstance(raised.value, ShellDoubtful)  # before, not even the directory was looked at
    assert path.read_bytes() == b"old"
    shell.write(path, LARGE)
    assert path.read_bytes() == LARGE
    shell.close()


@pytest.mark.parametrize("count", [100, 1_000, 1_000_000, 4_999_000])
def test_read_that_breaks_off_is_no_content(relay: FlakyRelay, node: LoginNode, tmp_path: Path, count: int) -> None:
    shell = connect(node.target(relay.port))
    assert works(shell)
    (tmp_path / "file").write_bytes(LARGE)
    relay.drop_after(count, "down")
    with pytest.raises(ShellUnavailable):
        shell.read(tmp_path / "file", len(LARGE))
    assert shell.read(tmp_path / "file", len(LARGE)) == LARGE
    shell.close()


@pytest.mark.parametrize(("count", "direction"), [(1_000_000, "up"), (1, "down")])
def test_a_stalled_transfer_ends_in_time(
    relay: FlakyRelay, node: LoginNode, tmp_path: Path, count: int, direction: str
) -> None:
    shell = connect(node.target(relay.port, idle_timeout_seconds=1.0, connect_timeout_seconds=1.0))
    assert works(shell)
    relay.stall_after(count, "up" if direction == "up" else "down")
    started = time.monotonic()
    with pytest.raises((ShellDoubtful, ShellUnavailable)):
        shell.write(tmp_path / "file", LARGE)
    assert within(8, started)
    assert not (tmp_path / "file").exists()
    relay.flow()
    shell.write(tmp_path / "file", LARGE)
    shell.close()


def test_failures_leave_no_traceback_in_the_log(
    relay: FlakyRelay, node: LoginNode, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    relay.refuse()
    with pytest.raises(ShellUnavailable):
        connect(node.target(relay.port)).run(["true"])
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())


def test_abandoned_commands_do_not_use_up_the_sessions(tmp_path: Path) -> None:
    node = LoginNode(tmp_path / "small", sessions=2)
    node.start()
    shell = connect(node.target())
    try:
        for _ in range(2):
            with pytest.raises(ShellDoubtful):
                shell.run(["sleep", "30"], timeout_seconds=0.2)
        with pytest.raises(ShellUnavailable, match="opening a channel"):
            shell.run(["true"])
        assert works(shell)
    finally:
        shell.close()
        node.stop()


def test_calls_wait_for_their_turn_and_then_give_up(node: LoginNode, tmp_path: Path) -> None:
    shell = connect(node.target(sessions=1))
    running = start(shell, ["sh", "-c", f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"])
    eventually((tmp_path / "begun").exists)
    with pytest.raises(ShellUnavailable, match="1 calls were at work"):
        shell.run(["true"], timeout_seconds=0.2)
    (tmp_path / "go").touch()
    assert running.result(20) is None
    assert works(shell)
    shell.close()
