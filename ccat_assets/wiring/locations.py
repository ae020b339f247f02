"""Makes, from the settings, the cluster that runs the jobs: this machine, or Slurm here or behind a login node."""

import getpass
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ccat_assets.wiring.archives import archive_of
from ccat_assets.wiring.settings import Settings
from ccat_models.clock import Clock
from ccat_models.errors import InvalidDeclaration
from resources.archive.stager import Pace, Stager
from resources.backend import Timing
from resources.container.apptainer import find_apptainer
from resources.container.sif_cache import SifCache
from resources.local.backend import LocalBackEnd
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from resources.shell.port import Shell
from resources.shell.remote_program import RemoteProgram, program_path
from resources.workspace.store import AttemptStore
from resources.workspace.watermarks import Amount, Watermarks

if TYPE_CHECKING:
    from resources.shell.ssh import SshTarget
    from resources.slurm.render import Site


def cluster_of(settings: Settings, ops_db: OpsDb, location_id: int, clock: Clock) -> Cluster:
    """Return the cluster that the settings describe; opens no connection."""
    if settings.hpc_backend == "slurm":
        return _slurm(settings, ops_db, location_id, clock)
    apptainer = find_apptainer()
    backend = LocalBackEnd(settings.workspace, settings.local_slots, str(settings.python), apptainer=apptainer)
    program = RemoteProgram(LocalShell(), settings.workspace, str(settings.python))
    return Cluster(
        ops_db=ops_db,
        backend=backend,
        store=AttemptStore.here(settings.workspace),
        images=_images(settings, program, apptainer or ""),
        location_id=location_id,
        clock=clock,
        timing=_timing(settings, backend.timing),
        max_in_flight=settings.max_in_flight,
        watermarks=_watermarks(settings),
        stager=_stager(settings, program),
        staging_keep=timedelta(hours=settings.staging_keep_hours),
    )


def shell_of(settings: Settings) -> Shell:
    """Return the shell of the machine that has Slurm's commands."""
    if not settings.ssh_host:
        return LocalShell()
    from resources.shell.ssh import SshShell

    return SshShell(_target(settings))


def site_of(settings: Settings) -> "Site":
    """Return what the scripts of all jobs have in common."""
    from resources.slurm.render import Site

    return Site(
        base=settings.workspace,
        program=program_path(settings.workspace),
        python=settings.slurm_python,
        apptainer=settings.slurm_apptainer,
        partition=settings.slurm_partition or None,
        account=settings.slurm_account or None,
        qos=settings.slurm_qos or None,
        constraint=settings.slurm_constraint or None,
        options=settings.slurm_options,
        setup=settings.slurm_setup,
        throttle=settings.slurm_throttle,
    )


def _slurm(settings: Settings, ops_db: OpsDb, location_id: int, clock: Clock) -> Cluster:
    from resources.slurm.backend import Limits, SlurmBackEnd

    shell = shell_of(settings)
    program = RemoteProgram(shell, settings.workspace, settings.slurm_python)
    limits = Limits(jobs_in_queue=settings.slurm_max_jobs, cluster=settings.slurm_cluster or None)
    backend = SlurmBackEnd(shell, site_of(settings), limits)
    patient = replace(
        backend.timing,
        observe_every=timedelta(seconds=settings.observe_seconds),
        alive_within=timedelta(seconds=settings.alive_seconds),
    )
    return Cluster(
        ops_db=ops_db,
        backend=backend,
        store=AttemptStore.over(program, settings.workspace)
        if settings.ssh_host
        else AttemptStore.here(settings.workspace),
        images=_images(settings, program, settings.slurm_apptainer),
        location_id=location_id,
        clock=clock,
        timing=_timing(settings, patient),
        max_in_flight=settings.max_in_flight,
        watermarks=_watermarks(settings),
        stager=_stager(settings, program),
        staging_keep=timedelta(hours=settings.staging_keep_hours),
    )


def _images(settings: Settings, program: RemoteProgram, apptainer: str) -> SifCache:
    return SifCache(program, settings.sif_cache, apptainer, insecure_registries=settings.insecure_registries)


def _watermarks(settings: Settings) -> Watermarks:
    limit, high, low = (
        None if not text else Amount.parse(text)
        for text in (settings.space_limit, settings.space_high, settings.space_low)
    )
    return Watermarks(None if limit is None else limit.of(0), high, low)


def _stager(settings: Settings, program: RemoteProgram) -> Stager:
    pace = Pace(
        settings.staging_parallel,
        settings.staging_mb_per_second,
        settings.data_mover,
        patience_seconds=settings.staging_patience_hours * 3600,
    )
    return Stager(program, settings.workspace, partial(archive_of, settings), pace)


def _timing(settings: Settings, default: Timing) -> Timing:
    def chosen(seconds: float | None, otherwise: timedelta) -> timedelta:
        return otherwise if seconds is None else timedelta(seconds=seconds)

    return Timing(
        lease=chosen(settings.lease_seconds, default.lease),
        resend_after=chosen(settings.resend_after_seconds, default.resend_after),
        lost_after=chosen(settings.lost_after_seconds, default.lost_after),
        stuck_after=default.stuck_after,
        observe_every=default.observe_every,
        alive_within=default.alive_within,
    )


def _target(settings: Settings) -> "SshTarget":
    node = _account(settings, settings.ssh_host, settings.ssh_port, settings.ssh_user)
    return replace(node, jump=_jump(settings)) if settings.ssh_jump else node


def _jump(settings: Settings) -> "SshTarget":
    user, _, address = settings.ssh_jump.rpartition("@")
    host, _, port = address.partition(":")
    if not host or (port and not port.isdigit()):
        raise InvalidDeclaration(f"ssh_jump: must be [user@]host[:port], got {settings.ssh_jump!r}")
    return _account(settings, host, int(port or 22), user or settings.ssh_user)


def _account(settings: Settings, host: str, port: int, user: str) -> "SshTarget":
    from resources.shell.ssh import SshTarget

    return SshTarget(
        host=host,
        port=port,
        user=user or getpass.getuser(),
        key_file=settings.ssh_key_file,
        use_agent=settings.ssh_agent,
        known_hosts=settings.ssh_known_hosts or Path(),
        passphrase=settings.ssh_passphrase,
    )
