"""A program that is a pure function of what it reads from a real disk."""

import hashlib
from pathlib import Path

from ccat_models.run.briefing import RunBriefing


class Reading:
    """A program that runs: a function of its parameters, version and inputs, unless it is to make something else."""

    def __init__(self, briefing: RunBriefing, base: Path) -> None:
        self.run = briefing.run
        self.packages = {package.name: package.checksum for package in briefing.packages}
        self.files = {
            base / upstream.attempt_directory / "output" / product.path: product.sha256
            for upstream in briefing.upstream
            for product in upstream.products
        }
        assert self.packages or self.files, "a run without inputs"
        self.check()

    def check(self) -> None:
        """Read all files, each of which is what its link says."""
        for file, sha256 in self.files.items():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256, file

    def outputs(self, how: str, salt: int) -> dict[str, str]:
        """Return what the run makes, path → text."""
        read = hashlib.sha256("".join(sorted([*self.packages.values(), *self.files.values()])).encode()).hexdigest()
        cell, version = self.run.config.parameters["cell"], self.run.software_version.version
        text = f"{self.run.step.name} {cell} {version} {read[:16]}"
        place = "science/" if self.run.step_revision.final else ""
        made = {
            f"{place}a.txt": f"a {text}",
            f"{place}b.txt": f"b {text}" * 2,
            "qa/numbers.json": f'{{"x": {len(text)}}}',
        }
        if how == "other":
            made[f"{place}a.txt"] += f" {salt}"
        elif how == "less":
            del made[f"{place}b.txt"]
        elif how == "more":
            made[f"{place}c.txt"] = "c"
        return made
