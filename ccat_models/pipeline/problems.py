"""Problems of a declaration: all of them at once, each with its place, value and choices."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ccat_models.errors import InvalidDeclaration

Path = tuple[str | int, ...]
_ABSENT = object()
_SHOWN = 80
_PLAIN_WORDS = {
    "missing": "required",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text; quote it",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
}


@dataclass(frozen=True)
class Problem:
    """One problem at one place of a declaration; `value` is printed if it is a single value."""

    path: Path
    message: str
    value: Any = _ABSENT
    choices: tuple[str, ...] | None = None

    def __str__(self) -> str:
        parts = [f"{render_path(self.path)}: {self.message}" if self.path else self.message]
        if self.value is None or isinstance(self.value, str | int | float):
            shown = repr(self.value)
            parts.append(f"value {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}")
        if self.choices is not None:
            parts.append(f"choose from {', '.join(self.choices) or 'none yet'}")
        return "; ".join(parts)


def render_path(path: Path) -> str:
    """Return a path as text, e.g. steps[1].resources.cpus."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parse_path(text: str) -> Path:
    """Return the path whose text, as `render_path` writes it, this is."""
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+(?=[.\[]|$))|\[(\d+)\]", text))


def invalid(problems: Iterable[Problem], prefix: Callable[[Path], str] = lambda _: "") -> InvalidDeclaration:
    """Return one error with a line for each problem; `prefix` gives the place in the file that precedes it."""
    return InvalidDeclaration("\n".join(f"{prefix(problem.path)}{problem}" for problem in problems))


def problems_of(error: ValidationError, model: type[BaseModel], document: Any) -> list[Problem]:
    """Return pydantic's errors as problems, in terms of the document instead of the model."""
    found: list[Problem] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "inconsistent":
            found.extend(detail["ctx"]["problems"])
        else:
            found.append(_problem(detail, _path_in(document, detail["loc"]), model))
    return found


def _problem(detail: Any, path: Path, model: type[BaseModel]) -> Problem:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return Problem(path, "unknown key", choices=_keys(model, path[:-1]))
    if kind in {"enum", "literal_error"}:
        return Problem(path, "unknown choice", value, _choices(context["expected"]))
    if kind == "union_tag_invalid":
        return Problem((*path, "type"), "unknown choice", context["tag"], _choices(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return Problem(path, "must be a name or a definition" if path[-1] == "data_grouping" else "needs a type", value)
    if kind in _PLAIN_WORDS:
        return Problem(path, _PLAIN_WORDS[kind], value)
    message = detail["msg"].removeprefix("Value error, ")
    shown = _ABSENT if kind == "value_error" and ", got " in message else value
    return Problem(path, message[0].lower() + message[1:], shown)


def _path_in(document: Any, location: Sequence[str | int]) -> Path:
    """Return pydantic's location as a path in the document; a location also names members of unions."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        inside = isinstance(document, Mapping) and part in document
        if inside or (isinstance(document, list | tuple) and isinstance(part, int)):
            path.append(part)
            document = document[part]
        elif i == len(location) - 1 and isinstance(document, Mapping):
            path.append(part)
    return tuple(path)


def _choices(expected: str) -> tuple[str, ...]:
    return tuple(choice.strip("'") for choice in re.split(r", | or ", expected))


def _keys(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Return the keys that the mapping at this path of the model may have."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            fields = [one.model_fields[part] for one in models if part in one.model_fields]
            models = [inner for field in fields for inner in models_in(field.annotation)]
    return tuple(dict.fromkeys(key for one in models for key in one.model_fields))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that occur anywhere in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]
