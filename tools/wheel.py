"""What hatchling asks when it builds a wheel: `ccat` belongs to an installation that runs from the source alone."""
# ruff: noqa: INP001

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc] # only builds have hatchling installed
    """Adds the command to the wheel that leads to the source (editable), not to the one that holds ccat_models."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add to what is built; the version is `editable` or `standard`."""
        if version == "editable":
            build_data["shared_scripts"]["tools/ccat"] = "ccat"
