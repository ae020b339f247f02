"""Documents that people and programs write, from their JSON schemas."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.reference.markdown import Undocumented, code, documented, section, table

Node = Mapping[str, Any]
Meanings = Mapping[str, Mapping[str, str]]

_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NO_LIMIT = 2**31 - 1  # the largest number in a column, which is not shown as a limit


@dataclass(frozen=True)
class Document:
    """A document's JSON schema, under the name that its page and links have."""

    name: str
    schema: Node

    def page(self, meanings: Meanings) -> str:
        """Return every field with type, default and meaning, part by part.

        A meaning is the field's own description, else what `meanings` says under the part's name. Raises
        Undocumented for a field that has neither.
        """
        missing: list[str] = []
        texts = [self._section(self._part(title), place, meanings, missing) for title, place in self.places()]
        if missing:
            raise Undocumented(missing)
        return "\n".join(texts)

    def places(self) -> Iterator[tuple[str, str]]:
        """Yield the title of each part once, with the place of its first use."""
        waiting, seen = [(str(self.schema["title"]), "")], set()
        while waiting:
            title, place = waiting.pop(0)
            if title not in seen:
                seen.add(title)
                yield title, place
                for field, node in self._part(title)["properties"].items():
                    waiting += [(found, f"{place}.{field}{more}".lstrip(".")) for found, more in self._parts_of(node)]

    def undescribed(self) -> Iterator[str]:
        """Yield Title.field of each field that does not describe itself."""
        for title, _ in self.places():
            properties = self._part(title)["properties"]
            yield from (f"{title}.{field}" for field, node in properties.items() if "description" not in node)

    def _part(self, title: str) -> Node:
        part: Node = self.schema if title == self.schema["title"] else self.schema["$defs"][title]
        return part

    def _referred(self, node: Node) -> Node:
        return self._part(str(node["$ref"]).rpartition("/")[2])

    def _parts_of(self, node: Node) -> Iterator[tuple[str, str]]:
        if "$ref" in node and "properties" in self._referred(node):
            yield str(self._referred(node)["title"]), ""
        for choice in _choices(node):
            yield from self._parts_of(choice)
        if "items" in node:
            yield from ((title, f"[]{more}") for title, more in self._parts_of(node["items"]))

    def _section(self, part: Node, place: str, meanings: Meanings, missing: list[str]) -> str:
        title, required = str(part["title"]), part.get("required", ())
        rows = []
        for field, node in part["properties"].items():
            text = node.get("description") or meanings.get(title, {}).get(field)
            words = documented(text, f"{self.name}: {title}.{field}", missing)
            rows.append((code(field), self._type(node), "*required*" if field in required else _default(node), words))
        fields = table(["field", "type", "default", "meaning"], rows)
        kind = _kind(part)
        heading = f"{code(place)}: {kind}" if place and kind else code(place) or "The whole"
        return section(2, heading, part.get("description", ""), fields, name=self._label(title))

    def _label(self, title: str) -> str:
        return f"{self.name}-{title}".lower()

    def _type(self, node: Node) -> str:
        if choices := _choices(node):
            return " or ".join(dict.fromkeys(self._type(choice) for choice in choices))
        if "$ref" in node:
            return self._referred_type(self._referred(node))
        if "const" in node or "enum" in node:
            return ", ".join(code(str(value)) for value in node.get("enum", [node.get("const")]))
        if node.get("type") == "array":
            return f"list of {self._type(node['items'])}"
        if node.get("type") == "object":
            return "mapping"
        return _KINDS.get(str(node.get("type", "")), "any value") + _limits(node)

    def _referred_type(self, part: Node) -> str:
        if "properties" not in part:
            return self._type(part)
        return f"[{_kind(part) or 'mapping'}](#{self._label(part['title'])})"


def superfluous(documents: Sequence[Document], meanings: Meanings) -> list[str]:
    """Return the meanings that belong to no field, or to one that describes itself."""
    needed = {field for document in documents for field in document.undescribed()}
    return sorted({f"{title}.{field}" for title, fields in meanings.items() for field in fields} - needed)


def _kind(part: Node) -> str:
    """Return the value that tells a part from others that may stand in its place; nothing where there is none."""
    return next((str(part["properties"][field]["const"]) for field in ("type", "kind") if _is_fixed(part, field)), "")


def _is_fixed(part: Node, field: str) -> bool:
    return "const" in part["properties"].get(field, {})


def _choices(node: Node) -> list[Node]:
    """Return what a value may be, `null` left out: a default of nothing says it."""
    choices = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
    return [choice for choice in choices if choice.get("type") != "null"]


def _limits(node: Node) -> str:
    limits = [f"{sign} {node[key]:g}" for key, sign in _LIMITS.items() if abs(node.get(key, _NO_LIMIT)) < _NO_LIMIT]
    limits += ["ISO 8601, UTC"] if node.get("format") == "date-time" else []
    limits += [code(str(node["pattern"]))] if "pattern" in node else []
    return f" {', '.join(limits)}" if limits else ""


def _default(node: Node) -> str:
    return "" if node.get("default") is None else code(json.dumps(node["default"], ensure_ascii=False))
