"""Sensors as Dagster's daemon ticks them: one tick after another, each with the cursor that the last one left."""

from dataclasses import dataclass, field

import dagster as dg

from ccat_assets.dagit.build import build
from tests.support.worlds.in_dagster import DagsterWorld


@dataclass
class Ticks:
    """One sensor of the code location, as it is wired there."""

    lab: DagsterWorld
    name: str
    cursor: str | None = None
    _sensors: dict[str, dg.SensorDefinition] = field(default_factory=dict)

    def tick(self) -> str:
        """Evaluate the sensor once and return its message; a tick that raises leaves the cursor as it was."""
        if not self._sensors:
            definitions = build(self.lab.snapshot(), self.lab.application)
            self._sensors[self.name] = definitions.get_repository_def().get_sensor_def(self.name)
        with dg.build_sensor_context(instance=self.lab.instance, cursor=self.cursor) as context:
            answer = self._sensors[self.name](context)
            self.cursor = context.cursor
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or ""
