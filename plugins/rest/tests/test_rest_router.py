"""Finding the route of a path, and reading its arguments."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge import Namespace, action, query
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.routes import Routes, derive
from vdsm_bridge.errors import InvalidArgument
from vdsm_rest.arguments import NO_BODY, read_query
from vdsm_rest.router import Node, Router, segments_of


class Shelf(Namespace, key="number", plural="shelves"):
    """A shelf, whose id is a number."""

    @query(since="1.0", part="get")
    def get_info(self, number: int, tags: list[str] = [], size: dict[str, int] = {}) -> int:  # noqa: B006
        """What it is."""
        return number + len(tags) + len(size)

    @action(since="1.0")
    def fill(self, number: int, books: int) -> None:
        """Put books there."""

    @query(since="1.0")
    def get_count(self) -> int:
        """Of all."""
        return 1


class Sign(Namespace, key="text"):
    """A sign, known by its text."""

    @query(since="1.0", part="get")
    def get_info(self, text: str) -> str:
        """What it says."""
        return text


def routes() -> Routes:
    return derive({verb.name: verb for namespace in (Shelf(), Sign()) for verb in collect(namespace)})


@pytest.fixture
def router() -> Router:
    return Router(routes().routes)


def verb_at(node: Node | None, method: str = "GET") -> str:
    assert node is not None
    return node.entries[method].route.verb.name


@pytest.mark.parametrize(
    ("path", "verb", "values"),
    [
        ("/api/shelves/7", "Shelf.getInfo", ["7"]),
        ("/api/shelves/7/", "Shelf.getInfo", ["7"]),
        ("/api/shelves/count", "Shelf.getCount", []),
        ("/api/signs/a%2Fb", "Sign.getInfo", ["a/b"]),
        ("/api/signs/%C3%A4%20%25", "Sign.getInfo", ["\u00e4 %"]),
        ("/api/signs/..", "Sign.getInfo", [".."]),
    ],
)
def test_found(router: Router, path: str, verb: str, values: list[str]) -> None:
    """A segment is decoded after the path was taken apart; a literal goes before a parameter."""
    node, found = router.find(path)
    assert (verb_at(node), found) == (verb, values)


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/shelves", "/api/shelves/7/x", "/api//7", "/x/shelves/7", "*"]
)
def test_not_found(router: Router, path: str) -> None:
    """What no route has is not found."""
    assert router.find(path)[0] is None


def test_segments() -> None:
    """One slash at the end does not count, two do."""
    assert segments_of("/a/b/") == ["a", "b"]
    assert segments_of("/a//") == ["a", ""]


def read(
    router: Router, path: str, text: str = "", body: Any = NO_BODY, method: str = "GET"
) -> dict[str, Any]:
    node, values = router.find(path)
    assert node is not None
    return node.entries[method].plan.arguments(values, read_query(text), body)


def test_arguments(router: Router) -> None:
    """Lists come by repetition, objects as JSON; a number in the path is one beside a strict body."""
    assert read(router, "/api/shelves/7", "tags=a&tags=b&size=%7B%22x%22%3A1%7D") == {
        "number": "7",
        "tags": ["a", "b"],
        "size": {"x": 1},
    }
    assert read(router, "/api/shelves/7/fill", "", {"books": 2}, "POST") == {"number": 7, "books": 2}


@pytest.mark.parametrize(
    ("path", "text", "body", "method"),
    [
        ("/api/shelves/7", "size=%7B", NO_BODY, "GET"),
        ("/api/shelves/7", "number=8", NO_BODY, "GET"),
        ("/api/shelves/seven/fill", "", {"books": 2}, "POST"),
        ("/api/shelves/7/fill", "books=2", {}, "POST"),
        ("/api/shelves/7/fill", "", {"number": 8}, "POST"),
    ],
)
def test_misplaced(router: Router, path: str, text: str, body: Any, method: str) -> None:
    """An argument in the wrong place, or of no use, is refused by name."""
    with pytest.raises(InvalidArgument):
        read(router, path, text, body, method)
