"""The code location. Importing does nothing; the definitions are built when Dagster calls `defs`."""

import logging
from pathlib import Path

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs

from ccat_assets.dagit.build import build
from ccat_assets.dagit.dagster_private import is_code_server, keeps_state
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import load
from ccat_models.errors import Refused
from resources.shell.this_machine import stop_ignoring_interrupts_soon

_LOG = logging.getLogger(__name__)


class Pipelines(dg.StateBackedComponent):
    """The assets of all pipelines. ops-db is read once a load; run workers rebuild them from the same snapshot."""

    def __init__(self, application: Application) -> None:
        self._application = application

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Return where Dagster keeps the snapshot: with the other data of this load."""
        return DefsStateConfig.from_args(DefsStateConfigArgs.legacy_code_server_snapshots(), default_key="ccat")

    def write_state_to_path(self, state_path: Path) -> None:
        """Write the snapshot; an empty one, with a warning, where ops-db does not exist or is not current."""
        state_path.write_text(self._snapshot().model_dump_json(), encoding="utf-8")

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Path | None) -> dg.Definitions:
        """Return the definitions of a snapshot."""
        del context
        text = "{}" if state_path is None else state_path.read_text(encoding="utf-8")
        return build(Snapshot.model_validate_json(text), self._application)

    def build_now(self) -> dg.Definitions:
        """Return the definitions of the pipelines that ops-db has now, for programs that load them only once."""
        return build(self._snapshot(), self._application)

    def _snapshot(self) -> Snapshot:
        try:
            self._application.check_database()
        except Refused as refusal:
            _LOG.warning("no pipelines to show: %s; then reload this code location", refusal)
            return Snapshot()
        with self._application.ops_db.read() as session:
            return read_snapshot(session)


@dg.definitions
def defs() -> dg.Definitions:
    """Return everything of this code location.

    A code server that was started in the background heeds SIGINT and SIGTERM from then on: otherwise Dagster waits a
    minute at the end of each run in a tick for its own `tail` processes, which ignore SIGTERM, too.
    """
    if is_code_server():
        stop_ignoring_interrupts_soon()
    pipelines = Pipelines(Application(load().settings))
    return dg.build_defs_for_component(pipelines) if keeps_state() else pipelines.build_now()
