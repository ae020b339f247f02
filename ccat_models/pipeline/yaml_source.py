"""Reading a pipeline's YAML file: plain data only; every problem is reported with file, line and column."""

import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.problems import Path, Problem, invalid, problems_of
from ccat_models.pipeline.values import OptionChecks

MAX_BYTES = 1_000_000
_DIRECTIVE = re.compile(r"\ufeff?(?:\s*(?:#.*)?\n)*%")
_TAG = "tag:yaml.org,2002:"
_PLAIN_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "timestamp": str,  # YAML 1.2 and JSON have no dates: a date stays text
    "merge": str,
    "value": str,
    "null": lambda _: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": lambda text: int(text, 0) if text.lstrip("+-").startswith(("0x", "0o")) else int(text),
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}


def parse(text: str, *, file: str, option_checks: OptionChecks | None = None) -> PipelineDeclaration:
    """Return the pipeline that a YAML text declares.

    Options of a back end without a check are not checked here: the back end judges them when a job is sent.
    Raises InvalidDeclaration with a line "file:line:column: place: problem" for each problem.
    """
    reading = _Reading()
    document = reading.value(_root(text, file), ())
    problems = reading.problems
    if not problems:
        try:
            return PipelineDeclaration.model_validate(document, context=option_checks)
        except ValidationError as error:
            problems = problems_of(error, PipelineDeclaration, document)
    in_order = sorted(problems, key=lambda problem: reading.mark(problem.path))
    raise invalid(in_order, lambda path: f"{file}:{reading.place(path)}: ")


def _root(text: str, file: str) -> Node:
    if _DIRECTIVE.match(text):
        raise InvalidDeclaration(f"{file}:1:1: YAML directives are not read; leave the lines with % out")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidDeclaration(f"{file}:1:1: {size} bytes; a pipeline takes at most {MAX_BYTES}")
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise InvalidDeclaration(f"{file}:{place}: not YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError) as error:
        raise InvalidDeclaration(f"{file}:1:1: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InvalidDeclaration(f"{file}:1:1: nested too deep") from None
    if root is None:
        raise InvalidDeclaration(f"{file}:1:1: empty; a pipeline is a mapping of schema_version, name, steps …")
    return root  # type: ignore[no-any-return]


class _Reading:
    """Turns YAML nodes into plain values and remembers the position of each."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._marks: dict[Path, tuple[int, int]] = {}
        self._seen: set[int] = set()

    def mark(self, path: Path) -> tuple[int, int]:
        """Return line and column, from 1, of a path, or of the nearest enclosing part that is in the text."""
        while path and path not in self._marks:
            path = path[:-1]
        return self._marks.get(path, (1, 1))

    def place(self, path: Path) -> str:
        """Return "line:column"."""
        line, column = self.mark(path)
        return f"{line}:{column}"

    def value(self, node: Node, path: Path) -> Any:
        """Return a node's value; aliases and tags are reported as problems."""
        self._marks.setdefault(path, _mark(node))
        if id(node) in self._seen:
            self.problems.append(Problem(path, "aliases are not read; write the value out"))
            return None
        self._seen.add(id(node))
        if isinstance(node, MappingNode) and _kind(node) == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and _kind(node) == "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and _kind(node) in _PLAIN_SCALARS:
            return self._scalar(node, path)
        self.problems.append(Problem(path, f"tag {node.tag} is not read"))
        return None

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or _kind(key_node) not in {"str", "timestamp"}:
                here = (*path, str(key_node.value) if isinstance(key_node, ScalarNode) else "?")
                self._marks[here] = _mark(key_node)
                self.problems.append(Problem(here, "key must be text"))
                continue
            key, here = key_node.value, (*path, key_node.value)
            if key in values:
                first, self._marks[here] = self._marks[here][0], _mark(key_node)
                self.problems.append(Problem(here, f"occurs here a second time, first in line {first}"))
                continue
            self._marks[here] = _mark(key_node)
            values[key] = self.value(value_node, here)
        return values

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        try:
            return _PLAIN_SCALARS[_kind(node)](node.value)
        except (ValueError, KeyError):
            self.problems.append(Problem(path, f"cannot be read as {_kind(node)}", node.value))
            return None


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix(_TAG)


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
