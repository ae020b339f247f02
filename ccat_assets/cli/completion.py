"""Completions of command names for a shell, in the form that Typer's completion scripts read."""

from collections.abc import Callable, Iterable, Mapping

from ccat_assets.cli.commands import GROUPS, members

QUESTION = "_CCAT_COMPLETE"
_ZSH_ESCAPES = str.maketrans({'"': '""', "'": "''", "$": "\\$", "`": "\\`", ":": "\\\\:"})


def completed(environment: Mapping[str, str]) -> str | None:
    """Return the answer to a shell's question; None where it asks for more than the name of a command."""
    shell = environment[QUESTION].removeprefix("complete_")
    if shell not in _ANSWERS:
        return None
    if shell == "bash":
        line, place = environment.get("COMP_WORDS", "").split(), environment.get("COMP_CWORD", "")
        if not place.isdecimal():
            return None
        path, begun = line[1 : int(place)], "".join(line[int(place) : int(place) + 1])
    else:
        text = environment.get("_TYPER_COMPLETE_ARGS", "")
        line = text.split() + ([""] if not text or text[-1].isspace() else [])
        path, begun = line[1:-1], line[-1]
    group = " ".join(path)
    if group not in GROUPS or (shell == "fish" and environment.get("_TYPER_COMPLETE_FISH_ACTION") != "get-args"):
        return None
    found = [(name, text) for name, text in members(group).items() if name.startswith(begun)]
    return _ANSWERS[shell](found) if found else None


def _zsh(found: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f'"{name}":"{text.translate(_ZSH_ESCAPES)}"' for name, text in found)
    return f"_arguments '*: :(({lines}))'"


_ANSWERS: Mapping[str, Callable[[Iterable[tuple[str, str]]], str]] = {
    "bash": lambda found: "\n".join(name for name, _ in found),
    "zsh": _zsh,
    "fish": lambda found: "\n".join(f"{name}\t{text}" for name, text in found),
}
