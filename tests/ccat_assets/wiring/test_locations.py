from pathlib import Path

import pytest

from ccat_assets.wiring.locations import cluster_of, shell_of
from ccat_assets.wiring.settings import Settings
from ccat_models.clock import system_clock
from ccat_models.errors import InvalidDeclaration
from resources.backend import Node
from resources.container.apptainer import find_apptainer
from resources.ops_db import OpsDb
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


def test_a_cluster_is_as_patient_as_its_back_end_asks_unless_the_settings_say_otherwise(
    tmp_path: Path, sqlite_ops_db: OpsDb
) -> None:
    def seconds(**fields: object) -> list[float]:
        given = settings(tmp_path, "eve@login").model_copy(update=fields)
        timing = cluster_of(given, sqlite_ops_db, 1, system_clock).timing
        waits = (timing.lease, timing.resend_after, timing.lost_after, timing.observe_every, timing.alive_within)
        return [wait.total_seconds() for wait in waits]

    assert seconds(hpc_backend="local") == [30, 5, 10, 0, 0]
    assert seconds(hpc_backend="slurm", observe_seconds=20, alive_seconds=90) == [300, 30, 60, 20, 90]
    assert seconds(hpc_backend="slurm", lost_after_seconds=7, observe_seconds=20, alive_seconds=90)[2] == 7
    assert seconds(hpc_backend="local", lease_seconds=9)[0] == 9


def test_jobs_find_what_the_settings_of_their_back_end_name(tmp_path: Path, sqlite_ops_db: OpsDb) -> None:
    def node(**fields: object) -> Node:
        given = settings(tmp_path, "eve@login").model_copy(update=fields)
        return cluster_of(given, sqlite_ops_db, 1, system_clock).backend.node

    assert node(hpc_backend="local", python=Path("/opt/python")) == Node("/opt/python", find_apptainer())
    of_slurm = {"slurm_python": "python3.9", "slurm_apptainer": "/opt/apptainer"}
    found = node(hpc_backend="slurm", **of_slurm)
    assert found == Node("python3.9", "/opt/apptainer", "CCAT_JOB_ID", leaves_marks=True)
