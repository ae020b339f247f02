import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from ccat_models.contract.result import Result
from resources.errors import ResultUnreadable, UnsafePath

_COMPONENT = re.compile(r"[A-Za-z0-9._=+%-]{1,255}")


def safe_component(text: str) -> str:
    """Return the text if it may name one file or directory; raise UnsafePath otherwise."""
    if not _COMPONENT.fullmatch(text) or text in {".", ".."}:
        raise UnsafePath(f"{text!r} cannot name a directory: 1 to 255 of A-Z a-z 0-9 . _ = + % - and not '.' or '..'")
    return text


def path_component(text: str) -> str:
    """Return a name as one path component, unusual characters percent-encoded: different names stay different.

    Raises UnsafePath for a name that is empty or too long.
    """
    encoded = quote(text, safe="=+", encoding="utf-8").replace("~", "%7E")
    return safe_component({".": "%2E", "..": "%2E%2E"}.get(encoded, encoded))


@dataclass(frozen=True)
class AttemptDirectory:
    """The paths of one attempt, below {base}/{pipeline}/{sub-group}/{step}/run-{id}/attempt-{number}/.

    Raises UnsafePath for a name that cannot be a directory, a relative base, or numbers below 1.
    """

    base: Path
    pipeline: str
    sub_group_key: str
    step: str
    run_id: int
    number: int

    def __post_init__(self) -> None:
        for name in (self.pipeline, self.sub_group_key, self.step):
            safe_component(name)
        if not self.base.is_absolute() or self.run_id < 1 or self.number < 1:
            raise UnsafePath(f"base {self.base} must be absolute, run {self.run_id} and attempt {self.number} >= 1")

    @cached_property
    def path(self) -> Path:
        """Return the attempt's own directory, shared with no other attempt."""
        steps = self.base / self.pipeline / self.sub_group_key / self.step
        return steps / f"run-{self.run_id}" / f"attempt-{self.number}"

    @property
    def manifest(self) -> Path:
        """Return config/manifest.json."""
        return self.path / "config" / "manifest.json"

    @property
    def job(self) -> Path:
        """Return job.json, which the wrapper reads."""
        return self.path / "job.json"

    @property
    def result(self) -> Path:
        """Return result.json, which the wrapper writes last."""
        return self.path / "result.json"

    @property
    def claim(self) -> Path:
        """Return the directory that the wrapper makes before it starts the program."""
        return self.path / "claim"

    @property
    def logs(self) -> Path:
        """Return the directory of stdout.log, stderr.log and wrapper.log."""
        return self.path / "logs"

    def output(self, *, final: bool) -> Path:
        """Return the directory of products: output/ of a final step, workspace/<step>/ of an intermediate one."""
        return self.path / self.output_name(final=final)

    def output_name(self, *, final: bool) -> str:
        """Return the output directory relative to the attempt's."""
        return "output" if final else f"workspace/{self.step}"

    def input(self, package: str) -> Path:
        """Return where the program finds a raw data package."""
        return self.path / "input" / path_component(package)

    def upstream(self, step: str, sub_group_key: str) -> Path:
        """Return where the program finds an upstream run's output directory."""
        return self.path / "upstream" / safe_component(step) / safe_component(sub_group_key)


def parse_result(content: bytes, place: str, submission_key: str) -> Result:
    """Return the result in a result.json.

    Raises ResultUnreadable where it is invalid or has another submission key; `place` names the file in the message.
    """
    try:
        result = Result.model_validate_json(content)
    except ValidationError as error:
        raise ResultUnreadable(f"{place}: {_reasons(error)}") from error
    if result.submission_key != submission_key:
        raise ResultUnreadable(f"{place}: is of submission key {result.submission_key!r}, not {submission_key!r}")
    return result


def _reasons(error: ValidationError) -> str:
    found: Iterable[str] = (f"{'.'.join(map(str, e['loc'])) or 'text'}: {e['msg']}" for e in error.errors())
    return "; ".join(list(found)[:5])
