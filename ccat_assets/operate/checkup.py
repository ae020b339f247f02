import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal

from ccat_assets.operate.cluster_checkup import Finding, cluster_findings
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import Loaded
from ccat_models.errors import CcatError
from ccat_models.migrations import current, head
from ccat_models.pipeline.versions import versions_with_code
from ccat_models.run.lease import held_leases
from ccat_models.run.listing import runs_in_flight
from resources.container.apptainer import find_apptainer
from resources.errors import ResourceError
from resources.ops_db import SQLAlchemyError
from resources.run.holder import is_gone
from resources.workspace.software import check_code

_LEAST_FREE_GB = 5.0
_LONG = timedelta(days=1)


def checkup(loaded: Loaded) -> list[Finding]:
    """Check this installation, from the interpreter to the runs; change nothing."""
    app = Application(loaded.settings)
    settings = loaded.settings
    found = [_python()]
    ours = {"home": settings.home}
    if settings.hpc_backend == "local":
        ours |= {"workspace": settings.workspace}
        found.append(_apptainer())
    else:
        found += cluster_findings(settings)
    found += [_writable(name, path) for name, path in ours.items()]
    found += [_disk(settings.home), _dagster(settings.dagster_directory)]
    database = _database(app)
    found.append(database)
    if database.verdict == "ok":
        found += [_location(app), _lease(app), _old_runs(app), *_code(app)]
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "broken", f"{version} ({sys.executable})")


def _writable(name: str, path: Path) -> Finding:
    if not path.is_dir():
        return Finding(name, "broken", f"no directory {path}: run `ccat init`")
    verdict: Literal["ok", "broken"] = "ok" if os.access(path, os.W_OK | os.X_OK) else "broken"
    return Finding(name, verdict, f"{path}" + ("" if verdict == "ok" else " is not writable"))


def _disk(path: Path) -> Finding:
    while not path.exists():
        path = path.parent
    free_gb = shutil.disk_usage(path).free / 1e9
    return Finding("disk", "ok" if free_gb >= _LEAST_FREE_GB else "note", f"{free_gb:.0f} GB free at {path}")


def _dagster(path: Path) -> Finding:
    file = path / "dagster.yaml"
    return Finding(
        "dagster", "ok" if file.is_file() else "broken", f"{file}" + ("" if file.is_file() else " is missing")
    )


def _apptainer() -> Finding:
    path = find_apptainer()
    return Finding("apptainer", "ok" if path else "note", path or "not installed: only plain processes can be run")


def _database(app: Application) -> Finding:
    shown = app.ops_db.url.render_as_string(hide_password=True)
    try:
        app.check_database()
    except CcatError as error:
        return Finding("ops-db", "broken", str(error))
    except SQLAlchemyError as error:
        return Finding("ops-db", "broken", f"{shown}: {type(error).__name__}: {str(error).splitlines()[0]}")
    return Finding("ops-db", "ok", f"{shown} at {current(app.ops_db.engine)} (newest {head()})")


def _location(app: Application) -> Finding:
    try:
        return Finding("processing location", "ok", f"{app.cluster.location_id} in {app.cluster.base}")
    except CcatError as error:
        return Finding("processing location", "broken", str(error))


def _lease(app: Application) -> Finding:
    with app.ops_db.read() as session:
        held = held_leases(session)
    holders = [f"{lease.cluster} by {lease.holder}{' (gone)' if is_gone(lease.holder or '') else ''}" for lease in held]
    return Finding("observer leases", "ok", "; ".join(holders) or "none held")


def _old_runs(app: Application) -> Finding:
    with app.ops_db.read() as session:
        count = runs_in_flight(session)
        old = runs_in_flight(session, unchanged_since=app.clock() - _LONG)
    return Finding("runs in flight", "note" if old else "ok", f"{count}, {old} of them without a change for a day")


def _code(app: Application) -> list[Finding]:
    with app.ops_db.read() as session:
        versions = versions_with_code(session)
        problems = []
        for version in versions:
            try:
                check_code(version)
            except ResourceError as error:
                problems.append(Finding("code", "note", str(error)))
    return problems or [Finding("code", "ok", f"{len(versions)} registered versions are unchanged on disk")]
