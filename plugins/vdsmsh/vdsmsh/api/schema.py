"""JSON Schema, as far as a command line needs it: types to parse words into, and their description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Keyword with the option name of a member or parameter, where it differs from the derived one.
HINT: Final = "x-cli"
_REF: Final = "#/$defs/"
#: The order in which the types of a choice are tried; text, which accepts any word, is the last one.
_ORDER: Final = ("boolean", "integer", "number", "array", "object", "string")
_LARGE: Final = 2**53
_SCALARS: Final = frozenset({"boolean", "integer", "number"})


class Schema:
    """One node of a schema, with the definitions that it may refer to."""

    def __init__(self, node: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> None:
        self._definitions = definitions if definitions is not None else node.get("$defs", {})
        #: The node that a reference leads to; keywords beside the reference (a description, a default) win.
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
        """The schemas of which one must match, except null; itself if there is no choice."""
        choices = self.node.get("anyOf") or self.node.get("oneOf") or []
        if not choices and isinstance(self.node.get("type"), list):
            choices = [{**self.node, "type": name} for name in self.node["type"]]
        real = [child for child in map(self._child, choices) if child.kind != "null"]
        if any(child.kind in _SCALARS for child in real):
            # A text with a pattern beside a number is the same number, in the spelling of old clients.
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
        """The schema of the items of a list."""
        node = self.node.get("items", {})
        return self._child(node if isinstance(node, Mapping) else {})

    @property
    def values(self) -> Schema | None:
        """The schema of the values of a map; None if this is no map."""
        node = self.node.get("additionalProperties")
        if self.kind != "object" or not isinstance(node, Mapping) or self.node.get("properties"):
            return None
        return self._child(node)

    @property
    def hint(self) -> str:
        """The option name in the declaration; empty if it has none."""
        return str(self.node.get(HINT, ""))

    @property
    def description(self) -> str:
        """Its description; empty if it has none."""
        return str(self.node.get("description", "")).rstrip(".")

    @property
    def bounds(self) -> str:
        """Unit, range and default, in one line; empty if it has none of them."""
        node = self.node
        parts = [f"in {node['x-unit']}" if "x-unit" in node else "", _range(node)]
        if node.get("default") not in (None, "", [], {}):
            parts.append(f"default {_plain(node['default'])}")
        return ", ".join(part for part in parts if part)


def _range(node: Mapping[str, Any]) -> str:
    minimum, maximum = node.get("minimum"), node.get("maximum")
    # Leave out the limits of a 64-bit number, and the minimum 0.
    low = None if minimum in (None, 0) or minimum < -_LARGE else minimum
    high = None if maximum is None or maximum > _LARGE else maximum
    if high is None:
        return "" if low is None else f"at least {low}"
    return f"at most {high}" if minimum is None else f"{low or 0} to {high}"


def _plain(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
