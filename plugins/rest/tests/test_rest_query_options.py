"""Query options of collections: filter, paging, members."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from vdsm_bridge.errors import InvalidArgument
from vdsm_rest import query_options

from .conftest import LAMP, Served
from .rest_client import RestClient

ITEMS = [
    {"name": "a", "cpu": {"load": 1.5, "count": 2}, "up": True, "tags": ["x", "y"], "note": None},
    {"name": "B", "cpu": {"load": 10, "count": 4}, "up": False, "tags": []},
    {"name": "c", "up": True},
]


def names(**given: list[str]) -> str:
    chosen, _ = query_options.read(given).choose(ITEMS)
    return "".join(item["name"] for item in chosen)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["name:a"], "a"),
        (["name!:a"], "Bc"),
        (["name~:b"], "B"),
        (["up:true"], "ac"),
        (["up:True", "name:c"], "c"),
        (["cpu.load>:2"], "B"),
        (["cpu.load<:1.5"], "a"),
        (["cpu.count:2"], "a"),
        (["cpu.count:two"], ""),
        (["cpu.count!:2"], "Bc"),
        (["tags:y"], "a"),
        (["note:null"], "a"),
        (["missing:x"], ""),
        (["name:a:b"], ""),
    ],
)
def test_filters(filters: list[str], expected: str) -> None:
    """A filter compares a member as the member's own type; all filters must fit."""
    assert names(filter=filters) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"filter": ["name"]}, {"filter": [":a"]}, {"filter": [""]}, {"limit": ["0"]}, {"limit": ["x"]},
        {"limit": ["1", "2"]}, {"limit": ["9" * 30]}, {"limit": ["\u0663"]}, {"offset": ["-1"]},
        {"fields": [""]}, {"fields": ["a..b"]}, {"fields": ["a,"]},
    ],
)  # fmt: skip
def test_malformed(given: dict[str, list[str]]) -> None:
    """What is malformed is refused by name."""
    with pytest.raises(InvalidArgument) as caught:
        query_options.read(given)
    assert caught.value.facts["argument"] in given


def test_members() -> None:
    """Only the wanted members are shown, inner ones in their place; absent ones are left out."""
    options = query_options.read({"fields": ["name,cpu.count"]})
    assert [options.cut(item) for item in ITEMS] == [
        {"name": "a", "cpu": {"count": 2}},
        {"name": "B", "cpu": {"count": 4}},
        {"name": "c"},
    ]
    assert query_options.read({"fields": ["cpu.count,cpu"]}).cut(ITEMS[0]) == {"cpu": ITEMS[0]["cpu"]}
    assert ITEMS[0]["cpu"] == {"load": 1.5, "count": 2}


def test_over_http(served: Served, client: RestClient) -> None:
    """A collection is filtered first, then paged; the reply has the total and the neighbouring pages."""
    for number in range(5):
        lamp_id = f"22222222-2222-4222-8222-{number:012}"
        served.host.call("Lamp.create", lamp={"lampID": lamp_id, "name": f"n{number}", "watts": number})
    page = client.get("/api/lamps?filter=name~:n&filter=watts%3E:1&limit=2&offset=1&fields=name")
    assert page.json == [{"name": "n2"}, {"name": "n3"}]
    assert page["Total-Count"] == "4"
    links = dict(reversed(link.split("; rel=")) for link in page["Link"].split(", "))  # type: ignore[misc]
    assert links.keys() == {'"prev"', '"next"'}
    assert client.get(links['"next"'].strip("<>")).json == [{"name": "n4"}]
    assert client.get(links['"prev"'].strip("<>")).json == [{"name": "n1"}, {"name": "n2"}]
    assert client.get("/api/lamps")["Total-Count"] == "6"
    assert client.get(f"/api/lamps/{LAMP}?fields=name,colour").json == {"name": "first", "colour": "red"}
    assert client.get(f"/api/lamps?filter={quote('name:')}").json == []
