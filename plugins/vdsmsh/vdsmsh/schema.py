"""A JSON Schema, as far as a command line needs it: what to parse a word into, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: A member's or parameter's own option name, where the derived one is not what people type.
HINT: Final = "x-cli"
_REF: Final = "#/$defs/"
#: Tried in this order where a value may be of several types, so that text is the last resort.
_ORDER: Final = ("boolean", "integer", "number", "array", "object", "string")
_LARGE: Final = 2**53
_SCALARS: Final = frozenset({"boolean", "integer", "number"})


class Schema:
    """One schema node together with the definitions that it may refer to."""

    def __init__(self, node: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> None:
        self._definitions = definitions if definitions is not None else node.get("$defs", {})
        #: What stands beside a reference (a description, a default) stays in force.
        self.node: Mapping[str, Any] = self._resolve(node)

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        seen = set()
        while (ref := node.get("$ref", "")).startswith(_REF) and ref not in seen:
            seen.add(ref)
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**self._definitions.get(ref[len(_REF) :], {}), **beside}
        return node

    def _child(self, node: Mapping[str, Any]) -> Schema:
        return Schema(node, self._definitions)

    @property
    def alternatives(self) -> list[Schema]:
        """The schemas of which one must fit, except null; itself if there is no choice."""
        choices = self.node.get("anyOf") or self.node.get("oneOf") or []
        if not choices and isinstance(self.node.get("type"), list):
            choices = [{**self.node, "type": name} for name in self.node["type"]]
        real = [child for child in map(self._child, choices) if child.kind != "null"]
        if any(child.kind in _SCALARS for child in real):
            # Text of a certain form beside a number is the same number, spelled for old clients.
            real = [child for child in real if not (child.kind == "string" and "pattern" in child.node)]
        return sorted(real, key=lambda child: child._rank()) if real else [self]  # noqa: SLF001 - same class

    def _rank(self) -> int:
        return _ORDER.index(self.kind) if self.kind in _ORDER else len(_ORDER)

    @property
    def kind(self) -> str:
        """The JSON type; "any" if it is open, "choice" if there are several."""
        if "anyOf" in self.node or "oneOf" in self.node or isinstance(self.node.get("type"), list):
            real = [choice for choice in self.alternatives if choice is not self]
            return real[0].kind if len(real) == 1 else "choice"
        if "type" in self.node:
            return str(self.node["type"])
        values = self.choices
        if values:
            return "string" if all(isinstance(value, str) for value in values) else "integer"
        return "object" if "properties" in self.node else "any"

    @property
    def single(self) -> Schema:
        """The schema without a null beside it."""
        options = self.alternatives
        return options[0] if len(options) == 1 else self

    @property
    def choices(self) -> list[Any]:
        """The only values that are allowed; empty if there is no such list."""
        if "const" in self.node:
            return [self.node["const"]]
        return list(self.node.get("enum", ()))

    @property
    def properties(self) -> dict[str, Schema]:
        """The members that are known."""
        return {name: self._child(node) for name, node in self.node.get("properties", {}).items()}

    @property
    def required(self) -> frozenset[str]:
        """The members that must be there."""
        return frozenset(self.node.get("required", ()))

    @property
    def items(self) -> Schema:
        """What a list holds."""
        node = self.node.get("items", {})
        return self._child(node if isinstance(node, Mapping) else {})

    @property
    def values(self) -> Schema | None:
        """What a map holds; None if this is no map."""
        node = self.node.get("additionalProperties")
        if self.kind != "object" or not isinstance(node, Mapping) or self.node.get("properties"):
            return None
        return self._child(node)

    @property
    def hint(self) -> str:
        """The option name that the declaration asks for; empty if none."""
        return str(self.node.get(HINT, ""))

    @property
    def description(self) -> str:
        """What it says of itself; empty if nothing."""
        return str(self.node.get("description", "")).rstrip(".")

    @property
    def bounds(self) -> str:
        """Unit, range and default, in one line; empty if there is nothing to say."""
        node = self.node
        parts = [f"in {node['x-unit']}" if "x-unit" in node else "", _range(node)]
        if node.get("default") not in (None, "", [], {}):
            parts.append(f"default {_plain(node['default'])}")
        return ", ".join(part for part in parts if part)


def _range(node: Mapping[str, Any]) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    # The limits of a 64-bit number tell nobody anything.
    least = None if least in (None, 0) or least < -_LARGE else least
    most = None if most is None or most > _LARGE else most
    if most is None:
        return "" if least is None else f"at least {least}"
    return f"at most {most}" if least is None and node.get("minimum") is None else f"{least or 0} to {most}"


def _plain(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
