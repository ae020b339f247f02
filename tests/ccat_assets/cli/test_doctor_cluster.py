"""`ccat doctor` against a real Slurm behind SSH: everything in order, then one thing broken at a time."""

import json
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal
from tests.support.parts.login_node import LoginNode
from tests.support.parts.postgres import free_port
from tests.support.parts.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("slurm")]


def behind(node: LoginNode, terminal: Terminal) -> Terminal:
    """Let a user's settings name the cluster behind a login node."""
    settings = {
        "HPC_BACKEND": "slurm",
        "PIPELINE_BASE_DIR": terminal.home / "workspace",
        "SIF_CACHE_DIR": terminal.base / "sif",
        "SLURM_PARTITION": "debug",
        "SSH_HOST": node.host,
        "SSH_PORT": node.port,
        "SSH_USER": node.user,
        "SSH_KEY_FILE": node.client_key,
        "SSH_KNOWN_HOSTS": node.known_hosts,
    }
    terminal.environment |= {f"CCAT_{name}": str(value) for name, value in settings.items()}
    return terminal


@pytest.fixture
def away(login_node: LoginNode, terminal: Terminal) -> Terminal:
    """Give the terminal of a user whose settings name the cluster."""
    return behind(login_node, terminal)


def findings(terminal: Terminal, **settings: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and for each checked part the verdict and the finding."""
    said = terminal.ccat("doctor", "--json", **{f"CCAT_{name}": value for name, value in settings.items()})
    return said.code, {one["what"]: (one["verdict"], one["finding"]) for one in said.json}


def broken(terminal: Terminal, **settings: str) -> dict[str, str]:
    """Return the parts that are broken; fail if none is."""
    code, found = findings(terminal, **settings)
    assert code == 1
    return {what: finding for what, (verdict, finding) in found.items() if verdict == "broken"}


def test_everything_is_in_order_and_nothing_is_left_behind(away: Terminal, login_node: LoginNode) -> None:
    before = login_node.connections
    code, found = findings(away)
    assert code == 0, found
    looked_at = ("connection", "slurm", "partition", "job options", "accounting", "workspace", "sif cache")
    seen_by_node = ("node python", "shared directory", "node apptainer")
    assert {what: found[what][0] for what in (*looked_at, *seen_by_node)} == dict.fromkeys(
        (*looked_at, *seen_by_node), "ok"
    )
    assert found["connection"][1].startswith(f"{login_node.host} answers in ")
    assert found["partition"][1] == "debug is up, 2 of 2 nodes take jobs, time limit infinite"
    assert found["job options"][1] == "--partition=debug"
    assert login_node.connections == before + 1
    assert not list(away.base.rglob(".doctor"))


def test_an_unknown_host_key_is_not_trusted(away: Terminal, tmp_path: Path) -> None:
    other = LoginNode(tmp_path / "other")
    known = tmp_path / "known"
    known.write_text(other.known_hosts.read_text().replace(f":{other.port} ", f":{away.environment['CCAT_SSH_PORT']} "))
    (finding,) = broken(away, SSH_KNOWN_HOSTS=str(known)).items()
    assert finding[0] == "connection"
    assert "shows the host key" in finding[1]
    assert finding[1].endswith("remedy: compare its key with the site's, then keep it in ssh_known_hosts")


def test_a_refused_connection_names_the_settings_of_the_line(away: Terminal) -> None:
    (finding,) = broken(away, SSH_PORT=str(free_port())).items()
    assert finding[0] == "connection"
    assert finding[1].endswith("remedy: settings ssh_host, ssh_port, ssh_user, ssh_key_file")


def test_a_refused_key_names_the_settings_of_the_line(away: Terminal, tmp_path: Path) -> None:
    stranger = LoginNode(tmp_path / "stranger").client_key
    (finding,) = broken(away, SSH_KEY_FILE=str(stranger)).items()
    assert "our credentials are refused" in finding[1]
    assert finding[1].endswith("ssh_key_file")


def test_an_unknown_partition_is_reported_with_the_existing_ones(away: Terminal) -> None:
    found = broken(away, SLURM_PARTITION="nope")
    assert found["partition"] == "no partition 'nope'; remedy: setting slurm_partition: one of debug, short"
    assert "invalid partition specified: nope" in found["job options"]


def test_jobs_may_go_to_any_of_several_partitions(away: Terminal) -> None:
    code, found = findings(away, SLURM_PARTITION="short,debug")
    assert (code, found["partition"][0]) == (0, "ok"), found
    said = sorted(found["partition"][1].split("; "))
    assert [one.partition(",")[0] for one in said] == ["debug is up", "short is up"]
    assert "no partition 'nope'" in broken(away, SLURM_PARTITION="debug,nope")["partition"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('{"acount": "x"}', "slurm_options: 'acount' is not an option for Slurm; there are account,"),
        ('{"nodelist": "n1 --uid=0"}', "slurm_options: nodelist='n1 --uid=0' does not look like"),
        ('{"nodelist": "n99"}', "remedy: settings slurm_account, slurm_qos, slurm_constraint, slurm_options"),
    ],
)
def test_a_wrong_option_of_every_job_is_found_before_any_job(away: Terminal, options: str, said: str) -> None:
    assert said in broken(away, SLURM_OPTIONS=options)["job options"]


def test_a_workspace_that_cannot_be_written_is_broken(away: Terminal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = broken(away, SIF_CACHE_DIR=str(tmp_path / "file" / "sif"))
    assert list(found) == ["sif cache"]
    assert "remedy: setting sif_cache_dir: a directory that 127.0.0.1 can write and all nodes see" in found["sif cache"]
    found = broken(away, PIPELINE_BASE_DIR="/proc/workspace")
    assert "remedy: setting pipeline_base_dir" in found["workspace"]
    assert "node" not in found


def test_a_workspace_that_nodes_do_not_see_is_broken(away: Terminal, tmp_path: Path) -> None:
    python = tmp_path / "python"  # a node that has a disk of its own at the workspace's path
    hidden = f"mount -t tmpfs none '{away.home}'"
    python.write_text(f'#!/bin/sh\nexec unshare -rm sh -c "{hidden} && exec python3 \\"\\$@\\"" sh "$@"\n')
    python.chmod(0o755)
    found = broken(away, SLURM_PYTHON=str(python))
    assert list(found) == ["shared directory"]
    assert "No such file or directory; remedy: setting pipeline_base_dir" in found["shared directory"]


def test_nodes_without_apptainer_or_python_are_broken(away: Terminal) -> None:
    found = broken(away, SLURM_APPTAINER="/nowhere/apptainer")
    assert list(found) == ["node apptainer"]
    assert found["node apptainer"].endswith("remedy: setting slurm_apptainer, or slurm_setup with a module load")
    found = broken(away, SLURM_PYTHON="/nowhere/python3")
    assert list(found) == ["node python"]
    assert found["node python"].endswith("remedy: setting slurm_python")


def test_programs_loaded_by_the_setup_of_jobs_are_found(away: Terminal, tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    program = tmp_path / "module" / "contained"
    program.write_text("#!/bin/sh\necho apptainer from a module\n")
    program.chmod(0o755)
    setup = json.dumps([f'PATH="{program.parent}:$PATH"'])
    assert list(broken(away, SLURM_APPTAINER="contained")) == ["node apptainer"]
    code, found = findings(away, SLURM_APPTAINER="contained", SLURM_SETUP=setup)
    assert (code, found["node apptainer"]) == (0, ("ok", "apptainer from a module"))


def test_another_cluster_than_the_one_named_is_broken(away: Terminal) -> None:
    found = broken(away, SLURM_CLUSTER="elsewhere")
    assert list(found) == ["slurm"]
    assert "not 'elsewhere'; remedy: setting slurm_cluster, or ssh_host if it names" in found["slurm"]


def test_drained_nodes_are_reported_without_waiting_for_them(away: Terminal, slurm_cluster: SlurmCluster) -> None:
    nodes = ",".join(slurm_cluster.layout.node_names)
    slurm_cluster.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
    try:
        code, found = findings(away)
    finally:
        slurm_cluster.run("scontrol", "update", f"nodename={nodes}", "state=resume")
        slurm_cluster.await_idle()
    assert code == 0
    assert found["partition"] == (
        "note",
        "debug is up, 0 of 2 nodes take jobs, time limit infinite; remedy: `sinfo -R` says why",
    )
    assert found["node"] == ("note", "not checked: no node takes jobs")
    assert found["job options"][0] == "note"
    assert slurm_cluster.run("squeue", "-h").stdout == ""


@pytest.mark.slow
def test_a_cluster_without_accounting_works(terminal: Terminal, tmp_path: Path) -> None:
    with SlurmCluster(nodes=1, accounting=False) as slurm, LoginNode(tmp_path / "login", slurm.environment) as node:
        code, found = findings(behind(node, terminal))
    assert code == 0, found
    verdict, finding = found["accounting"]
    assert verdict == "note"
    assert "not needed; without it, jobs that vanish after MinJobAge are lost" in finding


@pytest.mark.slow
def test_an_account_that_the_cluster_does_not_know_is_broken(terminal: Terminal, tmp_path: Path) -> None:
    enforced = {"AccountingStorageEnforce": "associations"}
    with SlurmCluster(nodes=1, settings=enforced) as slurm, LoginNode(tmp_path / "login", slurm.environment) as node:
        found = broken(behind(node, terminal), SLURM_ACCOUNT="nobodys")
    assert "--account=nobodys" in found["job options"]
    assert "remedy: settings slurm_account" in found["job options"]
