"""The composition root: makes the parts of the program from the settings, each once."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ccat_assets.wiring.settings import Settings
from ccat_models.clock import Clock, system_clock
from ccat_models.errors import NotFound, Refused
from ccat_models.migrations import is_current
from resources.ops_db import OpsDb

if TYPE_CHECKING:  # most commands only read the database
    from resources.location import Cluster
    from resources.run.executor import Executor

LOCAL_LOCATION = "local"


@dataclass(frozen=True)
class Application:
    """The parts of one process."""

    settings: Settings
    clock: Clock = system_clock

    @cached_property
    def ops_db(self) -> OpsDb:
        """Return the database, whether it is migrated or not."""
        return OpsDb(self.settings.ops_db_url)

    @cached_property
    def cluster(self) -> "Cluster":
        """Return where this process runs jobs; raise Refused for a database that does not exist or is not current."""
        from ccat_assets.wiring.locations import cluster_of

        self.check_database()
        return cluster_of(self.settings, self.ops_db, self._location_id(), self.clock)

    @cached_property
    def executor(self) -> "Executor":
        """Return the executor, which advances this cluster's runs."""
        from resources.run.executor import Executor

        return Executor(self.cluster)

    def check_database(self) -> None:
        """Raise Refused, with the remedy, where the database is missing or of another version."""
        url = self.ops_db.url
        if self.ops_db.is_sqlite and url.database and not self.settings.home.joinpath(url.database).is_file():
            raise Refused(f"no ops-db at {url.database}: run `ccat init` first")
        if not is_current(self.ops_db.engine):
            raise Refused(f"ops-db {url.render_as_string()} is not of this version: run `ccat init` to migrate it")

    def _location_id(self) -> int:
        from ccat_models.raw.locations import processing_locations

        wanted = self.settings.processing_location_id
        with self.ops_db.read() as session:
            locations = processing_locations(session)
        for location in locations:
            if location.id == wanted or (wanted is None and location.name == LOCAL_LOCATION):
                return location.id
        name = LOCAL_LOCATION if wanted is None else str(wanted)
        raise NotFound("processing location", name, [f"{where.id} ({where.name})" for where in locations])
