import shutil
from pathlib import Path

from ccat_assets.wiring.application import LOCAL_LOCATION, Application
from ccat_assets.wiring.settings import REPOSITORY
from ccat_models.errors import Refused
from ccat_models.migrations import current, head, upgrade
from ccat_models.raw.locations import add_location, disk_named
from ccat_models.tables.places import DiskDataLocation, LocationType
from resources.ops_db import Session

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")


def initialise(app: Application) -> list[str]:
    """Create what is missing below CCAT_HOME and in ops-db; return what was done, an empty list if nothing.

    Raises Refused where the data location "local" in ops-db has another path than the settings.
    """
    settings, done = app.settings, []
    here = [settings.home, settings.dagster_directory, settings.home / "logs"]
    if not settings.ssh_host:  # else it is on the cluster, and is made there when it is needed
        here.append(settings.workspace)
    for directory in here:
        if not directory.is_dir():
            directory.mkdir(parents=True)
            done.append(f"made {directory}")
    if current(app.ops_db.engine) != head():
        upgrade(app.ops_db.engine)
        done.append(f"migrated ops-db to {head()}")
    with app.ops_db.write() as session:
        done += _places(session, str(settings.workspace))
    return [*done, *_instance(settings.dagster_directory)]


def _instance(home: Path) -> list[str]:
    file, done = home / "dagster.yaml", []
    if not file.is_file():
        shutil.copyfile(REPOSITORY / "dagster.yaml", file)
        done.append(f"wrote {file}")
    if _is_embedded(file) and not all(home.joinpath(database).is_file() for database in _DATABASES):
        _make_databases(home)
        done = done or [f"made Dagster's databases in {home}"]
    return done


def _is_embedded(file: Path) -> bool:
    """Say whether Dagster keeps everything below its home, as it does where its configuration names no storage."""
    names = [line.partition(":")[0] for line in file.read_text(encoding="utf-8").splitlines()]
    return not any(name.endswith("storage") and not name.startswith((" ", "#")) for name in names)


def _make_databases(home: Path) -> None:
    """Create Dagster's databases; takes a second or two.

    If two programs create them at the same time, both insert the revision, and one of them fails.
    """
    import dagster  # noqa: PLC0415 - takes a second to import, and is needed once

    with dagster.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
        instance.all_asset_keys()
        instance.all_instigator_state()


def _places(session: Session, workspace: str) -> list[str]:
    location = disk_named(session, LOCAL_LOCATION)
    if location is not None:
        if location.path != workspace:
            raise Refused(
                f"data location {LOCAL_LOCATION!r} of ops-db is {location.path}, but pipeline_base_dir is "
                f"{workspace}: products would not be found"
            )
        return []
    kind = LocationType.PROCESSING
    add_location(session, DiskDataLocation(name=LOCAL_LOCATION, location_type=kind, path=workspace, priority=10))
    return [f"registered data location {LOCAL_LOCATION!r} in {workspace}"]
