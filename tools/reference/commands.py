"""The command line, as Typer knows it."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from tools.reference.markdown import Undocumented, code, documented, section, table


def commands_page(app: typer.Typer) -> str:
    """Return every command with its arguments and options; raise Undocumented where one has no help."""
    missing: list[str] = []
    root = typer.main.get_command(app)
    parts = [_command(command, path, missing) for path, command in _walk(root, "ccat")]
    if missing:
        raise Undocumented(missing)
    return "\n".join(parts)


def _walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        here = f"{path} {name}"
        if command.hidden:
            continue
        yield here, command
        if hasattr(command, "commands"):
            yield from _walk(command, here)


def _command(command: Any, path: str, missing: list[str]) -> str:
    help_text = documented(command.help, path, missing)
    level, name = len(path.split()), path.replace(" ", "-")
    if hasattr(command, "commands"):
        return section(level, code(path), help_text, name=name)
    context = command.make_context(path, [], resilient_parsing=True)
    arguments = [_argument(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    usage = f"```text\n{' '.join([path, '[OPTIONS]', *arguments])}\n```"
    rows = []
    for parameter in command.params:
        if not parameter.hidden:
            words = documented(parameter.help, f"{path} {_spelling(parameter)}", missing)
            rows.append((code(_spelling(parameter)), _value(parameter, context), _default(parameter), words))
    return section(level, code(path), help_text, usage, table(["", "value", "default", "meaning"], rows), name=name)


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join(parameter.opts) + "".join(f" / {option}" for option in parameter.secondary_opts)


def _argument(parameter: Any) -> str:
    name = _spelling(parameter) + ("…" if parameter.nargs != 1 else "")
    return name if parameter.required else f"[{name}]"


def _value(parameter: Any, context: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    kind = re.sub(r"^<(?:list\[)?(\w+).*>$", r"\1", parameter.metavar or parameter.display_type(ctx=context))
    limits = [f"≥ {parameter.min}"] if parameter.min is not None else []
    limits += [f"≤ {parameter.max}"] if parameter.max is not None else []
    return ", ".join([code(kind), *limits, *(["repeatable"] if parameter.multiple else [])])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "*required*"
    if isinstance(parameter.default, bool) and parameter.secondary_opts:
        return code((parameter.opts if parameter.default else parameter.secondary_opts)[0])
    return "" if parameter.default in (None, False, ()) else code(str(parameter.default))
