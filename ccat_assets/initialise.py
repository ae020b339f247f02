import shutil

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_assets.application import LOCAL_LOCATION, Application
from ccat_assets.settings import REPOSITORY
from ccat_models.errors import Refused
from ccat_models.migrations import current, head, upgrade
from ccat_models.tables.places import DiskDataLocation, LocationType, Site


def initialise(app: Application) -> list[str]:
    """Make what is missing below CCAT_HOME and in ops-db; return what was done, nothing the second time.

    Raises Refused where the database's own location named "local" lies somewhere else than these settings say.
    """
    settings, done = app.settings, []
    here = [settings.home, settings.dagster_directory, settings.home / "logs"]
    if not settings.ssh_host:  # else it lies where the login node sees it, and is made there when it is needed
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
    instance = settings.dagster_directory / "dagster.yaml"
    if not instance.is_file():
        shutil.copyfile(REPOSITORY / "dagster.yaml", instance)
        done.append(f"wrote {instance}")
    return done


def _places(session: Session, workspace: str) -> list[str]:
    location = session.scalar(sa.select(DiskDataLocation).where(DiskDataLocation.name == LOCAL_LOCATION))
    if location is not None:
        if location.path != workspace:
            raise Refused(
                f"data location {LOCAL_LOCATION!r} of ops-db lies in {location.path}, but pipeline_base_dir is "
                f"{workspace}: products would be lost from sight"
            )
        return []
    site = local_site(session)
    session.add(
        DiskDataLocation(
            site_id=site.id, name=LOCAL_LOCATION, location_type=LocationType.PROCESSING, path=workspace, priority=10
        )
    )
    return [f"registered data location {LOCAL_LOCATION!r} in {workspace}"]


def local_site(session: Session) -> Site:
    """Return the site that this machine is, made if need be."""
    site = session.scalar(sa.select(Site).where(Site.short_name == "local"))
    if site is None:
        site = Site(short_name="local", name="this machine")
        session.add(site)
        session.flush()
    return site
