from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CLUSTER_NAME = "ccattest"
DATABASE = "slurm_acct_db"
DATABASE_USER = "slurm"
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainCores=no\n"

# Quick scheduling and quick ends; otherwise what a production cluster has.
_SETTINGS = {
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
    "MpiDefault": "none",
    "SwitchType": "switch/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU_Memory",
    "SlurmdParameters": "config_overrides",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": "batch_sched_delay=0,bf_interval=2,sched_interval=5,sched_min_interval=0",
    "ReturnToService": "2",
    "SlurmctldTimeout": "30",
    "SlurmdTimeout": "300",
    "InactiveLimit": "0",
    "KillWait": "2",
    "MinJobAge": "300",
    "MaxArraySize": "10001",
    "MaxJobCount": "20000",
    "DefMemPerCPU": "100",
    "JobRequeue": "1",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "task=1",
}


@dataclass(frozen=True)
class Layout:
    """The directory of a private cluster, its ports, and its nodes."""

    directory: Path  # short: the paths of its sockets must stay below 108 characters
    host: str
    user: str
    controller_port: int
    accounting_port: int
    database_port: int
    node_ports: Sequence[int]
    cpus: int = 8
    memory_mb: int = 8000
    accounting: bool = True
    cgroup: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)  # these win over the usual ones

    @property
    def node_names(self) -> list[str]:
        """Return the names of the nodes: n1, n2, etc."""
        return [f"n{number}" for number, _ in enumerate(self.node_ports, start=1)]

    @property
    def munge_socket(self) -> Path:
        """Return the socket of munge, by which all parts authenticate."""
        return self.directory / "munge" / "munge.sock"


def slurm_conf(layout: Layout) -> str:
    """Return the content of slurm.conf."""
    settings = _SETTINGS | _places(layout) | _accounting(layout) | _tracking(layout) | dict(layout.settings)
    lines = [f"{name}={value}" for name, value in settings.items()]
    for name, port in zip(layout.node_names, layout.node_ports, strict=True):
        address = f"NodeHostname={layout.host} NodeAddr=127.0.0.1 Port={port}"
        lines.append(f"NodeName={name} {address} CPUs={layout.cpus} RealMemory={layout.memory_mb} State=UNKNOWN")
    lines.append("PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    lines.append("PartitionName=short Nodes=n1 MaxTime=10:00 State=UP")
    return "\n".join(lines) + "\n"


def slurmdbd_conf(layout: Layout) -> str:
    """Return the content of slurmdbd.conf."""
    return f"""\
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost={layout.host}
DbdAddr=127.0.0.1
DbdPort={layout.accounting_port}
SlurmUser={layout.user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={layout.database_port}
StorageUser={DATABASE_USER}
StoragePass={DATABASE_USER}
StorageLoc={DATABASE}
LogFile={layout.directory}/log/slurmdbd.log
PidFile={layout.directory}/slurmdbd.pid
"""


def munged_command(directory: Path) -> list[str]:
    """Return the command line of munged, whose key is in the directory."""
    return [
        "munged",
        "--foreground",
        "--force",
        f"--socket={directory}/munge.sock",
        f"--key-file={directory}/munge.key",
        f"--pid-file={directory}/munged.pid",
        f"--seed-file={directory}/munged.seed",
        f"--log-file={directory}/munged.log",
        "--num-threads=4",
    ]


def mariadbd_command(layout: Layout) -> list[str]:
    """Return the command line of the accounting's database: everything for speed, nothing for durability."""
    directory = layout.directory
    return [
        "mariadbd",
        "--no-defaults",
        f"--user={layout.user}",
        f"--datadir={directory}/mysql",
        f"--tmpdir={directory}/tmp",
        f"--socket={directory}/mysql.sock",
        f"--port={layout.database_port}",
        "--bind-address=127.0.0.1",
        f"--pid-file={directory}/mysqld.pid",
        "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--sync-binlog=0",
        "--skip-log-bin",
        "--skip-name-resolve",
    ]


def _places(layout: Layout) -> dict[str, str]:
    directory = layout.directory
    return {
        "ClusterName": CLUSTER_NAME,
        "SlurmctldHost": f"{layout.host}(127.0.0.1)",
        "SlurmctldPort": str(layout.controller_port),
        "SlurmUser": layout.user,
        "SlurmdUser": layout.user,
        "AuthInfo": f"socket={layout.munge_socket},cred_expire=5",
        "StateSaveLocation": f"{directory}/state",
        "SlurmdSpoolDir": f"{directory}/spool-%n",
        "SlurmctldPidFile": f"{directory}/slurmctld.pid",
        "SlurmdPidFile": f"{directory}/slurmd-%n.pid",
        "SlurmctldLogFile": f"{directory}/log/slurmctld.log",
        "SlurmdLogFile": f"{directory}/log/slurmd-%n.log",
    }


def _accounting(layout: Layout) -> dict[str, str]:
    if not layout.accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(layout.accounting_port),
        "AccountingStoragePass": str(layout.munge_socket),
        "AccountingStoreFlags": "job_comment",
    }


def _tracking(layout: Layout) -> dict[str, str]:
    if layout.cgroup:
        return {"ProctrackType": "proctrack/cgroup", "TaskPlugin": "task/cgroup"}
    return {"ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none"}
