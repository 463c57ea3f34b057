"""The router: from a request's method and path to the route that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from vdsm_bridge.api.routes import Route
from vdsm_rest.arguments import Plan
from vdsm_rest.problems import MalformedRequest

ROOT: Final = "/api"


class Entry:
    """One route with everything that is computed in advance."""

    __slots__ = ("item", "path", "plan", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.path = ROOT + route.path
        self.plan = Plan(route)
        #: The entry of the item that this route changes, if the item can be read; for `If-Match`.
        self.item: Entry | None = None


class Node:
    """One node of the tree of paths."""

    __slots__ = ("entries", "named", "parameter")

    def __init__(self) -> None:
        self.named: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.entries: dict[str, Entry] = {}

    def methods(self) -> list[str]:
        """Return the allowed methods, for `Allow`."""
        methods = {*self.entries, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods)


class Router:
    """All routes, as a tree. A literal segment is matched before a parameter."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = Node()
        self._literal: dict[str, Node] = {}
        entries = [Entry(route) for route in routes]
        items = {entry.path: entry for entry in entries if entry.route.part == "get"}
        for entry in entries:
            self._node(entry.route.path).entries[entry.route.method] = entry
            if entry.route.method != "GET" and entry.route.item:
                entry.item = items.get(ROOT + entry.route.item)
        for entry in entries:
            if "{" not in entry.path:
                self._literal[entry.path] = self._node(entry.route.path)

    def find(self, raw_path: str) -> tuple[Node | None, list[str]]:
        """Return the node of a percent-encoded path, None if there is none, and the values of its parameters.

        :raises MalformedRequest: a segment is not UTF-8
        """
        node = self._literal.get(raw_path)
        if node is not None:
            return node, []
        segments = segments_of(raw_path)
        if not segments or "/" + segments[0] != ROOT:
            return None, []
        values: list[str] = []
        return _walk(self._root, segments[1:], values), values

    def _node(self, path: str) -> Node:
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                node = node.named.setdefault(segment, Node())
        return node


def segments_of(raw_path: str) -> list[str]:
    """Return the decoded segments of a path, without an empty one at the end.

    :raises MalformedRequest: a segment is not UTF-8
    """
    try:
        segments = [unquote_to_bytes(part.encode("latin-1")).decode("utf-8") for part in raw_path.split("/")]
    except UnicodeDecodeError:
        raise MalformedRequest(reason="the path is not UTF-8") from None
    return segments[1:-1] if len(segments) > 2 and not segments[-1] else segments[1:]


def _walk(node: Node, segments: Sequence[str], values: list[str]) -> Node | None:
    for number, segment in enumerate(segments):
        named = node.named.get(segment)
        if named is not None:
            mark = len(values)
            found = _walk(named, segments[number + 1 :], values)
            if found is not None:
                return found
            del values[mark:]
        if node.parameter is None or not segment:
            return None
        values.append(segment)
        node = node.parameter
    return node if node.entries else None
